# SPDX-License-Identifier: Apache-2.0
"""The committed type stub of the compiled module is the one that the module gives today."""

from __future__ import annotations

import difflib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeqat import _C

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "python/edgeqat/_C.pyi"


def test_the_stub_is_fresh(tmp_path: Path) -> None:
    for package in ("pybind11_stubgen", "ruff"):
        pytest.importorskip(package, reason="the generator is in the extra 'dev'")
    fresh = tmp_path / "fresh.pyi"
    done = subprocess.run(
        [str(ROOT / "scripts/stubs"), str(fresh)],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    old, new = STUB.read_text().splitlines(), fresh.read_text().splitlines()
    difference = "\n".join(difflib.unified_diff(old, new, "committed", "fresh", lineterm=""))
    assert not difference, f"run make stubs:\n{difference}"


def test_the_stub_names_everything_and_no_machine() -> None:
    text = STUB.read_text()
    public = [name for name in vars(_C) if not name.startswith("_")]
    assert len(public) >= 25
    for name in public:
        keyword = "class" if inspect.isclass(getattr(_C, name)) else "def"
        assert f"{keyword} {name}" in text, name
    assert not any(folder in text for folder in ("/home/", "/usr/", "/tmp/", str(ROOT)))


def test_arguments_have_names() -> None:
    for line in STUB.read_text().splitlines():
        operator = any(f"def {name}(" in line for name in ("__eq__", "__setstate__"))
        assert "arg0" not in line or operator, line
