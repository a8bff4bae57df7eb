# SPDX-License-Identifier: Apache-2.0
"""`cmake --install`, then a C++ project of its own that finds the package, links the core and runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import edgeqat

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/dev"

pytestmark = pytest.mark.full


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        env={k: v for k, v in os.environ.items() if k != "CMAKE_PREFIX_PATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_consumer_finds_links_and_runs(tmp_path: Path) -> None:
    if shutil.which("cmake") is None or not (BUILD / "cmake_install.cmake").exists():
        pytest.skip("needs cmake and the development build (make build)")
    prefix, consumer = tmp_path / "prefix", tmp_path / "consumer"
    run("cmake", "--install", BUILD, "--component", "development", "--prefix", prefix)
    shutil.copytree(ROOT / "tests/cpp/install", tmp_path / "source")
    run("cmake", "-S", tmp_path / "source", "-B", consumer, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", consumer)
    # 4 / 255 as float32; round(-128 + 63.75) = -64; the codes 1, -2, 7 as nibbles, low first
    expected = f"{edgeqat.__version__} 0.0156862754 -64 e107 1 1\n"
    assert run(consumer / "consumer") == expected
