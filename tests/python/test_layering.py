# SPDX-License-Identifier: Apache-2.0
"""Includes point one way: core <- cpu, cuda <- torch; core, cpu <- python; nothing foreign in headers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}

# What a folder of csrc may include from csrc; the public headers are open to all.
ALLOWED = {
    "core": {"core"},
    "cpu": {"core", "cpu"},
    "cuda": {"core", "cuda"},
    "torch": {"core", "cpu", "cuda", "torch"},
    "python": {"core", "cpu", "python"},
}
# Which folder may include a foreign library, by the beginning of the header's path.
FOREIGN = {
    "torch/": {"torch"},
    "ATen/": set(),
    "c10/": set(),
    "Python.h": {"python"},
    "pybind11/": {"python"},
    "absl/": {"core"},
    "nlohmann/": {"core"},
    "Eigen/": {"core", "python"},
    "cuda": {"cuda", "torch"},
}
STANDARD = re.compile(r"[a-z_0-9]+$")  # <vector>, <cstdint>: no slash, no suffix
SYSTEM = re.compile(r"(sys/)?[a-z_0-9]+(\.h)?$")  # also <fcntl.h>, <immintrin.h>, <sys/stat.h>


def sources(folder: str) -> list[Path]:
    return [f for f in sorted((ROOT / folder).rglob("*")) if f.suffix in SUFFIXES]


def includes(text: str) -> list[tuple[str, str]]:
    """(bracket, path) of every include line: '<' or '"'."""
    return re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', text, re.MULTILINE)


def violations(folder: str, text: str) -> list[str]:
    """Includes that a file of csrc/<folder> must not have."""
    found = []
    for bracket, path in includes(text):
        top = path.split("/")[0]
        if bracket == '"' and (top == "edgeqat" or top in ALLOWED):
            permitted = top == "edgeqat" or top in ALLOWED[folder]
        else:
            owners = [allowed for prefix, allowed in FOREIGN.items() if path.startswith(prefix)]
            known = bool(owners) or SYSTEM.match(path) is not None
            permitted = known and all(folder in allowed for allowed in owners)
        if not permitted:
            found.append(path)
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows(folder: str) -> None:
    files = sources(f"csrc/{folder}")
    assert files, f"csrc/{folder} has no sources"
    found = {str(f.relative_to(ROOT)): violations(folder, f.read_text()) for f in files}
    assert {name: bad for name, bad in found.items() if bad} == {}


def test_every_folder_of_csrc_is_known() -> None:
    assert {f.name for f in (ROOT / "csrc").iterdir() if f.is_dir()} == set(ALLOWED)


def test_public_headers_include_the_standard_library_and_each_other() -> None:
    for header in sources("include/edgeqat"):
        torch_header = header.parent.name == "torch"
        for bracket, path in includes(header.read_text()):
            own = bracket == '"' and path.startswith("edgeqat/")
            standard = bracket == "<" and STANDARD.match(path)
            assert own or standard or (torch_header and path.startswith("torch/")), (
                f"{header.relative_to(ROOT)} includes {path}"
            )
            if own and not torch_header:
                assert not path.startswith("edgeqat/torch/"), f"{header} needs LibTorch"


HEADERS = [h.relative_to(ROOT / "include") for h in sorted((ROOT / "include/edgeqat").glob("*.h"))]


@pytest.mark.parametrize("header", HEADERS, ids=str)
def test_a_public_header_compiles_alone(header: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler on the PATH")
    options = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c++", "-"]
    process = subprocess.run(
        [compiler, "-I", str(ROOT / "include"), *options],
        input=f'#include "{header}"\n',
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("core", '#include "cpu/target.h"'),
        ("core", "#include <torch/csrc/stable/tensor.h>"),
        ("cpu", '#include "cuda/grid.h"'),
        ("cpu", "#include <Eigen/Core>"),
        ("cpu", "  #  include <absl/strings/str_cat.h>"),
        ("cuda", '#include "torch/check.h"'),
        ("cuda", '#include "cpu/target.h"'),
        ("torch", "#include <ATen/ATen.h>"),
        ("torch", "#include <pybind11/pybind11.h>"),
        ("python", '#include "torch/check.h"'),
        ("python", "#include <torch/extension.h>"),
        ("core", "#include <boost/any.hpp>"),
    ],
)
def test_forbidden_includes_are_found(folder: str, line: str) -> None:
    assert len(violations(folder, f"// a file\n{line}\n#include <vector>\n")) == 1
