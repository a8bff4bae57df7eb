# SPDX-License-Identifier: Apache-2.0
"""The built libraries as files: the operators know only the stable ABI of torch, `_C` knows no torch at all."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from edgeqat import _C, _loader

OPERATORS = _loader.library_dir() / "libedgeqat_ops.so"
MODULE = Path(str(_C.__file__))
SYSTEM = re.compile(r"lib(stdc\+\+|m|gcc_s|c|dl|rt|pthread|z)\.so\.\d+|ld-linux.*")
LINKER = {"_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__gmon_start__"}
PYTHON = re.compile(r"_?Py[A-Z_]")
# c10 and at as namespaces inside a mangled C++ name, and torch's own
TORCH_CXX = re.compile(r"_Z.*(3c10|2at\d|5torch)")


def run(tool: str, *arguments: str) -> list[str]:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} (binutils) is not installed")
    done = subprocess.run([path, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def symbols(library: Path, which: str) -> set[str]:
    return {line.split()[-1] for line in run("nm", "-D", which, str(library))}


def needed(library: Path) -> set[str]:
    lines = run("readelf", "-d", str(library))
    return {m.group(1) for line in lines if (m := re.search(r"NEEDED.*\[(.*)\]", line))}


def own_undefined(library: Path) -> set[str]:
    """Undefined symbols without a version: not those of glibc and libstdc++."""
    return {s for s in symbols(library, "--undefined-only") if "@" not in s} - LINKER


def test_operators_need_torch_by_name() -> None:
    """torch opens its libraries RTLD_LOCAL: without DT_NEEDED the shim's symbols are not found."""
    libraries = needed(OPERATORS)
    assert "libtorch_cpu.so" in libraries
    other = {n for n in libraries - {"libtorch_cpu.so"} if not SYSTEM.fullmatch(n)}
    assert {n for n in other if not n.startswith("libabsl_")} == set()


def test_operators_use_only_the_stable_shim() -> None:
    undefined = own_undefined(OPERATORS)
    shim = {s for s in undefined if s.startswith(("aoti_torch_", "torch_"))}
    assert len(shim) >= 10
    foreign = {s for s in undefined - shim if not re.match(r"_ZNK?4absl", s)}
    assert foreign == set()
    assert not any(TORCH_CXX.match(s) for s in undefined)


def test_operators_have_no_python_symbols() -> None:
    both = symbols(OPERATORS, "--undefined-only") | symbols(OPERATORS, "--defined-only")
    assert not any(PYTHON.match(s) for s in both)


def test_operators_export_nothing() -> None:
    """Registration runs at load; an exported symbol of the core could meet that of another version."""
    assert symbols(OPERATORS, "--defined-only") == set()


def test_the_module_exports_its_entry_alone() -> None:
    assert symbols(MODULE, "--defined-only") == {"PyInit__C"}


def test_the_module_knows_no_torch() -> None:
    assert not any("torch" in name or "c10" in name for name in needed(MODULE))
    undefined = own_undefined(MODULE)
    assert not any("torch" in s or TORCH_CXX.match(s) for s in undefined)
    assert any(PYTHON.match(s) for s in undefined)


def test_the_module_is_named_for_one_python() -> None:
    assert MODULE.name == f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"


def test_the_patterns_find_what_they_look_for() -> None:
    assert TORCH_CXX.match("_ZN3c1010TensorImplC1Ev")
    assert TORCH_CXX.match("_ZN2at6Tensor4dataEv")
    assert TORCH_CXX.match("_ZNK5torch8autograd4Node4nameEv")
    assert not TORCH_CXX.match("_ZN4absl7StrCatERKNS_8AlphaNumE")
    assert PYTHON.match("PyObject_Call")
    assert PYTHON.match("_Py_Dealloc")
