# SPDX-License-Identifier: Apache-2.0
"""Every instruction set gives the same bits for every op; a wrong name is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeqat import _C
from edgeqat.testing import isas
from op_digest import SIZES, digests

TESTS = Path(__file__).resolve().parents[2]


def run(isa: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGEQAT_CPU_ISA": isa, "PYTHONPATH": str(TESTS)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("size", ["short", pytest.param("full", marks=pytest.mark.full)])
def test_same_bits_in_every_instruction_set(size: str) -> None:
    expected = digests(full=size == "full")
    assert len(SIZES) >= 100
    total = int(expected["cases"])
    for isa in sorted(set(isas()) - {_C.active_isa()}):
        process = run(isa, str(TESTS / "op_digest.py"), size)
        assert process.returncode == 0, process.stderr
        found = json.loads(process.stdout)
        assert found.pop("isa") == isa
        assert found == expected
        total += int(found["cases"])
    if size == "full" and len(isas()) == 3:
        assert total >= 25_000


def test_every_level_of_this_machine_is_listed() -> None:
    assert isas()[0] == "baseline"
    assert set(isas()) <= {"baseline", "v3", "v4"}


@pytest.mark.parametrize("isa", ["avx1024", pytest.param("V4", marks=pytest.mark.full)])
def test_unknown_names_are_refused(isa: str) -> None:
    program = (
        "import torch, edgeqat; edgeqat.functional.fake_quantize(torch.ones(1), 1.0, 0, -8, 7)"
    )
    process = run(isa, "-c", program)
    assert process.returncode != 0
    assert "EDGEQAT_CPU_ISA must be one of baseline, v3, v4" in process.stderr
    assert isa in process.stderr
