# SPDX-License-Identifier: Apache-2.0
"""Importing the package: silent, quick, offline; and one clear ImportError when its libraries cannot load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import edgeqat
from edgeqat import _loader

PACKAGE = Path(edgeqat.__file__).parent


def python(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


WATCHED = """
import json, socket, sys, time
class NoSocket(socket.socket):
    def __init__(self, *arguments, **options): raise AssertionError("a socket at import")
import torch
socket.socket = NoSocket
modules, start = set(sys.modules), time.process_time()
import edgeqat
seconds = time.process_time() - start
print(json.dumps([seconds, sorted(set(sys.modules) - modules)]))
"""


def test_silent_quick_and_offline() -> None:
    """At most 0.5 s of CPU beyond torch (0.2 s measured), and none of the optional packages."""
    done = python("-W", "error::UserWarning", "-c", WATCHED)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1, "the script's own line and no other"
    seconds, modules = json.loads(done.stdout)
    assert seconds <= 0.5
    optional = {"onnx", "onnxscript", "onnxruntime", "matplotlib", "sklearn", "safetensors"}
    assert not optional & {name.split(".")[0] for name in modules}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the installed package that a test may damage."""
    target = tmp_path / "edgeqat"
    skip = shutil.ignore_patterns("__pycache__", "*.a", "include", "*.so")
    shutil.copytree(PACKAGE, target, ignore=skip)
    for library in _loader.library_dir().glob("*.so"):
        shutil.copy(library, target)
    return target


def remove_operators(package: Path) -> None:
    (package / "libedgeqat_ops.so").unlink()


def break_operators(package: Path) -> None:
    (package / "libedgeqat_ops.so").write_bytes(b"this is no library")


def remove_module(package: Path) -> None:
    next(package.glob("_C.*.so")).unlink()


def break_module(package: Path) -> None:
    next(package.glob("_C.*.so")).write_bytes(b"this is no library")


@pytest.mark.parametrize(
    ("damage", "library", "reason"),
    [
        (remove_operators, "libedgeqat_ops.so", "the file is missing"),
        (break_operators, "libedgeqat_ops.so", "libedgeqat_ops.so: "),
        pytest.param(remove_module, "_C", "No module named 'edgeqat._C'", marks=pytest.mark.full),
        pytest.param(break_module, "_C", "_C.", marks=pytest.mark.full),
    ],
)
def test_one_clear_import_error(
    copied: Path, damage: Callable[[Path], None], library: str, reason: str
) -> None:
    damage(copied)
    done = python("-c", "import edgeqat", path=copied.parent)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: edgeqat cannot load its operators: ")
    for part in (reason, f"library {library} in", str(copied), "torch 2.", "Python 3.", "einstall"):
        assert part in message


def test_info_explains_itself_without_the_library(copied: Path) -> None:
    break_operators(copied)
    done = python("-m", "edgeqat", "info", "--json", path=copied.parent)
    assert done.returncode == 1, done.stderr
    facts = json.loads(done.stdout)
    assert facts["operators_loaded"] is False
    assert facts["compiler"] is not None
    assert "libedgeqat_ops.so" in facts["problem"]
    assert "Traceback" not in done.stderr


@pytest.mark.full
def test_other_commands_say_the_reason_in_one_line(copied: Path) -> None:
    remove_module(copied)
    done = python("-m", "edgeqat", "inspect", "file", path=copied.parent)
    assert done.returncode == 1
    assert done.stderr.startswith("edgeqat: edgeqat cannot load its operators: ")
    assert "Traceback" not in done.stderr


def test_headers_and_cmake_folder() -> None:
    assert (Path(edgeqat.get_include()) / "edgeqat/qparams.h").is_file()
    assert Path(edgeqat.cmake_prefix_path) == _loader.library_dir()
