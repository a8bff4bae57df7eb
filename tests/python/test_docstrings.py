# SPDX-License-Identifier: Apache-2.0
"""Public names are documented with an example, every example runs, and the reference lists all of them."""

from __future__ import annotations

import doctest
import importlib
import inspect
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgeqat

PACKAGE = Path(edgeqat.__file__).parent
# The modules whose __all__ is the public API, and names that they return but do not list.
PUBLIC = ("", ".functional", ".nn", ".checkpoint", ".export", ".graph", ".testing", ".verification")
RETURNED = (
    "edgeqat.graph.converted.ConvertedModel",
    "edgeqat.quantization.plan.LayerPlan",
    "edgeqat.quantization.plan.Selection",
    "edgeqat.quantization.oscillation.LayerOscillation",
    "edgeqat.quantization.oscillation.OscillationReport",
    "edgeqat.quantization.plan.TensorPlan",
)


def modules() -> list[str]:
    """Every Python module of the package; compiled ones and the command line's entry apart."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "__main__.py":
            parts = ("edgeqat", *path.relative_to(PACKAGE).with_suffix("").parts)
            found.append(".".join(p for p in parts if p != "__init__"))
    return found


def public_names() -> dict[str, object]:
    """Qualified name -> object, for everything in the public modules."""
    found: dict[str, object] = {}
    for suffix in PUBLIC:
        module = importlib.import_module(f"edgeqat{suffix}")
        found |= {f"edgeqat{suffix}.{name}": getattr(module, name) for name in module.__all__}
    for name in RETURNED:
        module_name, _, attribute = name.rpartition(".")
        found[name] = getattr(importlib.import_module(module_name), attribute)
    return found


DOCUMENTED = {n: v for n, v in public_names().items() if inspect.isclass(v) or callable(v)}


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_a_public_name_has_a_docstring_with_an_example(name: str) -> None:
    value = DOCUMENTED[name]
    text = inspect.getdoc(value) or ""
    assert text, f"{name} has no docstring"
    compiled = getattr(value, "__module__", "") in ("edgeqat", "edgeqat._C")
    if inspect.isclass(value) and issubclass(value, Exception) and compiled:
        return  # raised by compiled code: nobody constructs it
    assert doctest.DocTestParser().get_examples(text), f"{name}: the docstring has no example"
    assert "+SKIP" not in text, f"{name}: the example does not run"


def overrides(kind: type, name: str) -> bool:
    """Whether a base of another package documents `name`, such as nn.Module.forward."""
    bases = [base for base in kind.__mro__ if not base.__module__.startswith("edgeqat")]
    return any(hasattr(base, name) for base in bases) or (
        issubclass(kind, nn.Module) and name == "forward"
    )


def test_methods_of_public_classes_have_docstrings() -> None:
    missing = [
        f"{owner}.{name}"
        for owner, kind in DOCUMENTED.items()
        if inspect.isclass(kind)
        for name, member in vars(kind).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, (property, staticmethod)))
        and not overrides(kind, name)
        and not getattr(kind, name).__doc__
        and f"    {name}: "
        not in (kind.__doc__ or "")  # a field, described in the class's docstring
    ]
    assert not missing


@pytest.mark.parametrize("name", modules())
def test_examples_of_a_module_run(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what an example that forgets its seed would use
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder().find(importlib.import_module(name), name):
        runner.run(test, out=_collector(said))
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
    assert not any(tmp_path.iterdir()), "an example wrote into the working folder"


def _collector(said: list[str]) -> Callable[[str], object]:
    return said.append


def test_the_reference_lists_every_public_name(repository: Path) -> None:
    page = (repository / "docs" / "api.md").read_text()
    listed = set(re.findall(r"^\.\. (?:auto\w+|py:data):: (?:\S+\.)?(\w+)$", page, re.M))
    wanted = {n.rpartition(".")[2] for n, v in public_names().items() if not inspect.ismodule(v)}
    assert wanted == listed


def test_the_cpp_reference_lists_every_header(repository: Path) -> None:
    page = (repository / "docs" / "cpp.md").read_text()
    include = repository / "include"
    listed = re.findall(r"^```\{literalinclude\} \.\./include/(\S+)$", page, re.M)
    assert sorted(listed) == sorted(str(p.relative_to(include)) for p in include.rglob("*.h"))
