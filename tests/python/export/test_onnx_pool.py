# SPDX-License-Identifier: Apache-2.0
"""Average pooling in the exported file: windows over the end, divisors, adaptive pooling of volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import edgeqat
from edgeqat.export.onnx import to_onnx

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
EXTENTS = (8, 9, 7)  # with stride 2 the last window of 3 reaches over the end of 8


class Pooled(nn.Module):
    """A pooling between two convolutions, which makes it a quantized one."""

    def __init__(self, count: int, options: dict[str, object], batched: bool = True) -> None:
        super().__init__()
        self.first, self.last = CONVS[count](2, 3, 1), CONVS[count](3, 2, 1)
        self.pool, self.options, self.batched = POOLS[count], options, batched

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) if self.batched else self.first(x).sum(0)
        x = self.pool(x, **self.options)
        return self.last(x if self.batched else x.unsqueeze(0))


def student(model: nn.Module, x: Tensor) -> nn.Module:
    torch.manual_seed(0)
    plan = edgeqat.plan(model, x[:4], recipe="w4a8")
    return edgeqat.calibrate(edgeqat.prepare(model, plan), [x]).eval()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "ceil_mode": True},
        {"kernel_size": 3, "stride": 2, "ceil_mode": True, "padding": 1},
        {"kernel_size": 4, "stride": 3, "ceil_mode": True, "padding": 2},
        {
            "kernel_size": 3,
            "stride": 2,
            "ceil_mode": True,
            "padding": 1,
            "count_include_pad": False,
        },
        {"kernel_size": 2, "stride": 3, "padding": 1},
    ],
    ids=lambda o: " ".join(f"{k.split('_')[0]}={v}" for k, v in o.items()),
)
def test_the_file_pools_as_the_integer_reference(
    count: int, options: dict[str, object], tmp_path: Path
) -> None:
    x = torch.randn(32, 2, *EXTENTS[:count], generator=torch.Generator().manual_seed(1))
    trained = student(Pooled(count, options), x)
    path = edgeqat.export(trained, tmp_path / "model.onnx")
    report = edgeqat.verify(trained, path, [x], latency=False)
    assert report.ok, report
    pool = next(t for t in report.tensors if t.operator == "avg_pool")
    assert (pool.max_lsb, pool.differing) == (0, 0.0)
    assert any(n.op_type == "AveragePool" for n in onnx.load(path).graph.node)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2, "divisor_override": 3},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "divisor_override": 5},
        {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    ],
)
@pytest.mark.parametrize("batched", [True, False])
def test_divisors_and_single_images(count: int, options: dict[str, object], batched: bool) -> None:
    x = torch.randn(8, 2, *EXTENTS[:count], generator=torch.Generator().manual_seed(1))
    converted = edgeqat.convert(student(Pooled(count, options, batched), x))
    model = to_onnx(converted)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {model.graph.input[0].name: x.numpy()})[0]
    expected = converted(x).detach().numpy()
    step = float(converted.get_buffer("last_scale"))
    assert np.abs(found - expected).max() <= 1.01 * step
    assert (np.abs(found - expected) > step / 2).mean() <= 0.02


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 4), (3, 4, 5), (None, 5, 1), (5, 7, 9)])
def test_adaptive_pooling_of_volumes(size: tuple[int | None, ...], tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.AdaptiveAvgPool3d(size), nn.Conv3d(4, 2, 1))
    x = torch.randn(16, 3, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    trained = student(model, x)
    path = edgeqat.export(trained, tmp_path / "model.onnx")
    ops = [node.op_type for node in onnx.load(path).graph.node]
    assert ("AveragePool" in ops) == (size == (2, 3, 4)), ops
    report = edgeqat.verify(trained, path, [x], latency=False)
    assert report.ok, report
    pool = next(t for t in report.tensors if t.operator == "adaptive_avg_pool")
    assert pool.max_lsb <= 1
    assert pool.differing <= 1e-3
