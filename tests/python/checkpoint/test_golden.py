# SPDX-License-Identifier: Apache-2.0
"""Files that version 0.1.0 wrote: every later version reads them, and computes what they computed then."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import edgeqat
from edgeqat import Plan
from edgeqat.checkpoint import read_checkpoint, read_header

# What the integer model of the file gave when it was written.
EXPECTED = [
    [0.27508771419525146, 0.5336366891860962, 0.19127553701400757],
    [0.2764652967453003, 0.5409141182899475, 0.18262049555778503],
]


class Net(nn.Module):
    """The architecture in the file: grouped, 3-bit and float weights, a folded BatchNorm, a fixed range."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.head = nn.Linear(8, 3)
        self.tail = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.bn(self.conv(x)))
        h = torch.cat([h.mean((2, 3)), torch.sigmoid(h).amax((2, 3))], 1)
        return torch.nn.functional.softmax(self.head(self.tail(h)), 1)


def same(plan: Plan, text: str) -> bool:
    """Whether the plan says what the text says; its recipe may have fields that the text does not know."""
    old, new = json.loads(text), json.loads(plan.to_json())
    old_recipe, new_recipe = old.pop("recipe"), new.pop("recipe")
    return old == new and {**new_recipe, **old_recipe} == new_recipe


@pytest.fixture
def golden(repository):
    return repository / "tests/corpus/golden"


def test_plan_of_version_1(golden) -> None:
    text = (golden / "plan_v1.json").read_text()
    plan = Plan.from_json(text)
    assert same(plan, text)
    assert (plan.target, plan.mode, plan.dynamic_batch) == ("npu_int8", "graph", False)
    assert plan.shared_groups == [["1", "2"]]
    assert plan.recipe == edgeqat.Recipe()
    weight = plan.layers["0"].weight
    assert (weight.bits, weight.granularity, weight.axis, weight.shape) == (
        8,
        "channel",
        0,
        (2, 2, 1, 1),
    )
    assert weight.narrow_range
    assert [t.status for t in plan.tensors] == [
        "quantized",
        "quantized",
        "fused",
        "quantized",
        "quantized",
        "fused",
    ]
    plan.check(strict=True)


def test_checkpoint_of_version_1(golden) -> None:
    path = golden / "checkpoint_v1.safetensors"
    plan = Plan.from_json(read_header(path).plan)
    assert same(plan, read_checkpoint(path).plan)
    assert plan.recipe.overrides == (
        ("tail", {"weight_bits": 3, "activation_bits": 6}),
        ("head", {"weight_bits": None}),
    )
    assert (plan["tail"].weight.bits, plan["tail"].weight.group_size) == (3, 4)
    assert plan["sigmoid"].output.fixed_range == (0.0, 1.0)
    assert [t.name for t in plan.unquantized()] == ["head.weight", "softmax"]
    model = edgeqat.load(path, Net())
    x = torch.linspace(-1, 1, 2 * 2 * 6 * 6).reshape(2, 2, 6, 6)
    with torch.no_grad():
        # another order of summation in torch's float kernels may move a sum on a tie by one code
        torch.testing.assert_close(model(x), torch.tensor(EXPECTED), rtol=0, atol=0.01)
