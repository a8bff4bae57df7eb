# SPDX-License-Identifier: Apache-2.0
"""The check for saturating 16-bit sums against an emulation of them, and the CPU flags it goes with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgeqat
from edgeqat.export import check_saturation, has_vnni
from edgeqat.export.saturation import worst_pairs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512_vnni\n", True),
        ("flags : avx2 avx_vnni\n", True),
        ("flags : fpu avx2 avx512f\n", False),
        ("Features : fp asimd\n", False),
        ("", False),
    ],
)
def test_vnni_is_read_from_cpuinfo(text: str, expected: bool, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert has_vnni(path) is expected
    assert has_vnni(tmp_path / "missing") is False


def test_worst_pairs_bound_every_input() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (5, 6))
    bound = worst_pairs(torch.from_numpy(codes), 255).numpy()
    reached = np.zeros_like(bound)
    for x in [
        *rng.integers(0, 256, (200, 6)),
        *np.array(np.meshgrid(*[[0, 255]] * 6)).reshape(6, -1).T,
    ]:
        products = codes * x
        reached = np.maximum(reached, np.abs(products[:, 0::2] + products[:, 1::2]))
    np.testing.assert_array_equal(reached, bound)  # the bound holds, and some input reaches it


def converted(
    weight_bits: int, activation_bits: int, groups: int = 1, reduce_range: bool = False
) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=groups), nn.Flatten(), nn.Linear(64, 3))
    recipe = edgeqat.Recipe(
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        input_bits=activation_bits,
        first_last_bits=None,
        reduce_range=reduce_range,
    )
    x = torch.randn(8, 4, 6, 6)
    return edgeqat.convert(
        edgeqat.calibrate(edgeqat.prepare(model, edgeqat.plan(model, x, recipe=recipe)), [x])
    )


def test_layers_at_risk_are_listed() -> None:
    risks = {risk.weight: risk for risk in check_saturation(converted(8, 8))}
    assert set(risks) == {"0.weight", "2.weight"}
    assert all(risk.worst > 32767 and 0 < risk.pairs < 1 for risk in risks.values())
    assert "reduce_range" in str(risks["0.weight"])


@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(7, 8), (4, 8), (8, 7), (8, 4)])
def test_narrower_operands_cannot_saturate(weight_bits: int, activation_bits: int) -> None:
    assert check_saturation(converted(weight_bits, activation_bits)) == []


def test_reduced_range_and_depthwise_are_safe() -> None:
    assert check_saturation(converted(8, 8, reduce_range=True)) == []
    assert [risk.weight for risk in check_saturation(converted(8, 8, groups=4))] == ["2.weight"]
