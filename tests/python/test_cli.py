# SPDX-License-Identifier: Apache-2.0
"""The command line: what it prints and with which exit code it leaves."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import edgeqat
from edgeqat.cli.commands import main


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeqat", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    plan = edgeqat.plan(model, torch.randn(2, 64), recipe=edgeqat.Recipe(weight_bits=4))
    student = edgeqat.calibrate(edgeqat.prepare(model, plan), [torch.randn(16, 64)])
    path = tmp_path_factory.mktemp("cli") / "model.safetensors"
    edgeqat.save(student, path)
    return path


def test_info_names_every_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for fact in (edgeqat.__version__, torch.__version__, platform.python_version(), np.__version__):
        assert fact in text
    assert "operators        loaded" in text
    assert "problem" not in text


def test_info_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["stable_abi"] == "2.10"
    assert facts["operators_loaded"] is True
    assert facts["isa_active"] in facts["isa_available"]
    assert facts["torch_cuda"] == torch.version.cuda
    assert facts["packages"]["onnx"] is None or facts["packages"]["onnx"][0].isdigit()
    assert facts["problem"] is None


@pytest.mark.full
def test_info_in_a_process_of_its_own_tells_the_forced_instruction_set() -> None:
    done = run("info", "--json", EDGEQAT_CPU_ISA="baseline")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["isa_active"] == "baseline"
    done = run("info", EDGEQAT_CPU_ISA="no-such-set")
    assert done.returncode == 1
    assert "problem: " in done.stdout
    assert "no-such-set" in done.stdout


def test_inspect_prints_plan_tensors_and_graph(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(checkpoint), "--check-data"]) == 0
    text = capsys.readouterr().out
    assert "lsb-first-v1" in text
    assert f"{checkpoint.stat().st_size:,} bytes" in text
    assert "9,640 bytes" in text  # 64*32 + 32 + 32*10 + 10 values of 4 bytes
    assert "0.weight" in text
    assert "linear" in text


def test_inspect_as_json(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(checkpoint), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    tensors = {tensor["name"]: tensor for tensor in content["tensors"]}
    assert tensors["0.weight"]["shape"] == [32, 64]
    assert tensors["0.weight"]["bytes"] == 32 * 64 * tensors["0.weight"]["bits"] // 8
    assert [node["op"] for node in content["graph"]["nodes"]] == ["quantize", "linear", "linear"]
    assert content["plan"]["recipe"]["weight_bits"] == 4


def test_bad_files_give_3_and_one_line(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    data = bytearray(checkpoint.read_bytes())
    data[-1] ^= 0xFF
    damaged.write_bytes(data)
    text = tmp_path / "text.safetensors"
    text.write_text("no tensors here")
    for arguments in (
        [str(tmp_path / "absent.safetensors")],
        [str(text)],
        [str(damaged), "--check-data"],
        [str(tmp_path)],
    ):
        assert main(["inspect", *arguments]) == 3
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("edgeqat inspect: ")
        assert Path(arguments[0]).name in captured.err
    assert main(["inspect", str(damaged)]) == 0  # the header alone is good


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["inspect"], ["info", "--xml"]])
def test_wrong_usage_gives_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    assert "usage: edgeqat" in capsys.readouterr().err
