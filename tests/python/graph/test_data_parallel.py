# SPDX-License-Identifier: Apache-2.0
"""Two processes under DistributedDataParallel take the step that one takes on the whole batch."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

import models
from edgeqat.graph import QuantizedModel, capture


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    case = models.ZOO["dict_output"]
    student = QuantizedModel(capture(case.model(), case.inputs(1)))
    parallel = nn.parallel.DistributedDataParallel(student)
    train(parallel, case.inputs(8)[rank * 4 : rank * 4 + 4])
    torch.save(student.state_dict(), f"{folder}/{rank}.pt")
    # The reducer must be gone before its process group; both sit in reference cycles.
    del parallel, student
    gc.collect()
    distributed.barrier()
    distributed.destroy_process_group()


def train(model: nn.Module, x: torch.Tensor) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(x)["logits"].square().mean().backward()
        optimizer.step()


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file store needs POSIX")
def test_two_ranks_equal_one(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(models.__file__).parent)}
    ranks = [
        subprocess.Popen([sys.executable, __file__, str(r), str(tmp_path)], env=environment)
        for r in range(2)
    ]
    try:
        assert [process.wait(180) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
    case = models.ZOO["dict_output"]
    single = case.model()
    train(single, case.inputs(8))
    states = [torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in range(2)]
    for name, value in single.state_dict().items():
        assert torch.equal(states[0][name], states[1][name])
        torch.testing.assert_close(states[0][name], value, rtol=1e-5, atol=1e-7)


if __name__ == "__main__":
    worker(int(sys.argv[1]), sys.argv[2])
