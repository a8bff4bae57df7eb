# SPDX-License-Identifier: Apache-2.0
"""Written-out attention against torch's fused one, in double precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeqat.graph import QuantizedModel, capture


class Attention(nn.Module):
    """Fused attention with fixed options."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, mask, **self.options)


def tensors(heads: int, length: int, batch: int = 3) -> Tensor:
    return torch.randn(batch, heads, length, 4, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}, {"enable_gqa": True}])
def test_plain_attention(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    heads = 1 if options.get("enable_gqa") else 2
    q, k, v = tensors(2, 5), tensors(heads, 5), tensors(heads, 5)
    check(Attention(**options), (q, k, v))


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masked_attention(kind: str) -> None:
    torch.manual_seed(0)
    q, k, v = tensors(2, 5), tensors(2, 7), tensors(2, 7)
    mask = torch.rand(3, 1, 5, 7) > 0.4
    mask[0, 0, 2] = False  # a row that sees nothing: torch gives 0, plain softmax NaN
    if kind == "float":
        mask = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf)
    check(Attention(), (q, k, v, mask))


def check(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    captured = capture(model, inputs)
    targets = [str(n.target) for n in captured.graph.nodes]
    assert targets.count("aten.matmul.default") == 2
    assert not any("scaled_dot_product" in t for t in targets)
    want, have = model(*inputs), QuantizedModel(captured)(*inputs)
    torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-12)
    leaves = [t for t in inputs if t.requires_grad]
    expected = torch.autograd.grad(want.square().sum(), leaves)
    for a, b in zip(torch.autograd.grad(have.square().sum(), leaves), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_dropout_rate_is_kept_and_follows_the_mode() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    model = Net()
    student = QuantizedModel(capture(model, torch.randn(1, 3, 4)))
    x = torch.randn(2000, 3, 4)
    torch.testing.assert_close(student.eval()(x), model.eval()(x))
    assert torch.equal(student(x), student(x))
    student.train()
    assert not torch.equal(student(x), student(x))
    node = next(n for n in student.graph.nodes if n.target is torch.ops.aten.dropout.default)
    assert node.args[1] == 0.5
    assert node.args[2].target == "attention.training"
    student.attention.eval()
    assert torch.equal(student(x), student(x))
