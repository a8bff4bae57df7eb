# SPDX-License-Identifier: Apache-2.0
"""One op = one name in every layer: a schema without reference, kernel, test or document fails here."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgeqat import functional
from edgeqat.ops._autocast import POLICY
from edgeqat.ops._autograd import NON_DIFFERENTIABLE
from op_cases import samples

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "csrc/torch/schema.cpp"

# Where the C++ function is not named after its op.
KERNELS = {
    "observe_minmax_": "observe_minmax",
    "observe_fake_quantize_": "observe_fake_quantize",
    "oscillation_update_": "oscillation_update",
    "fake_quantize_train": "fake_quantize",
    "lsq_fake_quantize_train": "lsq_fake_quantize",
    "choose_qparams": "ChooseQParams",
}
CUDA_KERNELS = {
    "observe_minmax_": "observe_minmax_update",
    "observe_fake_quantize_": "observe_fake_quantize_update",
    "oscillation_update_": "oscillation_update",
    "fake_quantize_train": "fake_quantize",
    "lsq_fake_quantize_train": "lsq_fake_quantize",
}
# Already scalar and host-only, so it has no second C++ version; the NumPy reference checks it.
SCALAR = {"choose_qparams"}


def schemas() -> dict[str, list[str]]:
    """Op name -> argument names, in the order of schema.cpp."""
    found = {}
    for block in SCHEMA.read_text().split("m.def(")[1:]:
        schema = "".join(re.findall(r'"([^"]*)"', block.split(");")[0]))
        name, rest = schema.split("(", 1)
        parts = [p.split("=")[0].split() for p in rest.rsplit(") ->", 1)[0].split(", ")]
        found[name] = [words[-1] for words in parts if words != ["*"]]
    return found


def text_of(*patterns: str) -> str:
    """All files that match the patterns, without comments, so that a mention is no implementation."""
    files = [f for p in patterns for f in sorted(ROOT.glob(p))]
    return re.sub(r"//[^\n]*", "", "\n".join(f.read_text() for f in files))


def kernel(op: str) -> str:
    return KERNELS.get(op, op)


def defines(op: str, *patterns: str) -> bool:
    """A function named like the op's kernel is defined: the parameter list is followed by a brace."""
    body = r"\((?:[^(){};]|\([^()]*\))*\)\s*(?:const\s*)?\{"
    return re.search(rf"\b{kernel(op)}{body}", text_of(*patterns)) is not None


def calls(function: str, *patterns: str) -> bool:
    return re.search(rf"\b{function}\(", text_of(*patterns)) is not None


def has_kernel(op: str, key: str) -> bool:
    if not hasattr(torch.ops.edgeqat, op):
        return False
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(f"edgeqat::{op}", key))


def documented(op: str) -> bool:
    doc = inspect.getdoc(getattr(functional, op, None)) or ""
    sections = ["Args:", "Raises:", "Example:"]
    example = doc.split("Example:")[-1]
    return all(s in doc for s in sections) and ">>> " in example and f"{op}(" in example


def typed(op: str) -> bool:
    function = getattr(functional, op, None)
    if function is None or op not in functional.__all__:
        return False
    hints = typing.get_type_hints(function)
    parameters = list(inspect.signature(function).parameters)
    return [*parameters, "return"] == list(hints) and parameters == schemas().get(op)


def python_test(op: str) -> bool:
    file = ROOT / f"tests/python/ops/test_{op}.py"
    return file.exists() and f"functional.{op}(" in file.read_text()


def vmap_rule(op: str) -> bool:
    return re.search(rf'"(edgeqat::)?{op}"', text_of("python/edgeqat/ops/_vmap.py")) is not None


def headings() -> list[str]:
    return re.findall(r"^## (\w+)$", (ROOT / "docs/ops.md").read_text(), re.MULTILINE)


def reference(op: str) -> bool:
    if op in SCALAR:
        return defines(op, "csrc/core/*.cpp")
    return calls(f"{kernel(op)}_ref", "csrc/core/reference/*.cpp")


LAYERS: dict[str, Callable[[str], bool]] = {
    "public header": lambda op: calls(kernel(op), "include/edgeqat/*.h"),
    "scalar reference": reference,
    "CPU kernel": lambda op: defines(op, "csrc/cpu/*.cpp", "csrc/core/*.cpp"),
    "CUDA kernel": lambda op: calls(CUDA_KERNELS.get(op, op), "csrc/cuda/*.cu"),
    "CPU registration": lambda op: f'm.impl("{op}"' in text_of("csrc/torch/cpu/*.cpp"),
    "CUDA registration": lambda op: f'm.impl("{op}"' in text_of("csrc/torch/cuda/*.cpp"),
    "CPU dispatch": lambda op: has_kernel(op, "CPU"),
    "fake kernel": lambda op: f'@fake("{op}")' in text_of("python/edgeqat/ops/_fake*.py"),
    "autograd": lambda op: (op in NON_DIFFERENTIABLE) != has_kernel(op, "Autograd"),
    "autocast policy": lambda op: op in POLICY,
    "vmap rule": vmap_rule,
    "typed wrapper": typed,
    "docstring with example": documented,
    "C++ test": lambda op: calls(kernel(op), "tests/cpp/core/*.cpp", "tests/cpp/cpu/*.cpp"),
    "CUDA test": lambda op: calls(CUDA_KERNELS.get(op, op), "tests/cpp/cuda/*.cpp"),
    "Python test": python_test,
    "document": lambda op: op in headings(),
}


def missing(op: str) -> list[str]:
    return [layer for layer, present in LAYERS.items() if not present(op)]


@pytest.mark.parametrize("op", schemas())
def test_every_layer_has_the_op(op: str) -> None:
    assert missing(op) == []
    assert len(samples(op)) >= 12


def test_an_op_that_does_not_exist_is_missing_everywhere() -> None:
    assert missing("no_such_op") == list(LAYERS)


def test_every_registered_op_is_in_the_schema_file_and_the_other_way_round() -> None:
    registered = {
        n.split("::")[1] for n in torch._C._dispatch_get_all_op_names() if n.startswith("edgeqat::")
    }
    assert registered == set(schemas())


def test_tables_follow_the_order_of_the_schemas() -> None:
    order = list(schemas())
    assert list(POLICY) == order
    assert [op for op in order if op in NON_DIFFERENTIABLE] == list(NON_DIFFERENTIABLE)
    assert headings() == order
    assert sorted(functional.__all__) == sorted(order)
