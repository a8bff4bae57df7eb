# SPDX-License-Identifier: Apache-2.0
"""torch.export with a dynamic batch: one node per op, equal results at other batch sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgeqat import functional
from edgeqat.testing import assert_bit_equal


class Layer(torch.nn.Module):
    """A linear layer with fake-quantized weight and input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(6, 8))
        self.register_buffer("weight_scale", torch.rand(6) + 0.05)
        self.register_buffer("weight_zero", torch.zeros(6, dtype=torch.int32))
        self.register_buffer("scale", torch.tensor([0.05]))
        self.register_buffer("zero", torch.tensor([3], dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.fake_quantize(x, self.scale, self.zero, -128, 127)
        weight = functional.fake_quantize(
            self.weight, self.weight_scale, self.weight_zero, -8, 7, axis=0
        )
        return torch.nn.functional.linear(x, weight)


class Converted(torch.nn.Module):
    """Codes through every other op."""

    def forward(self, x: torch.Tensor) -> Any:
        codes = functional.quantize(x, 0.1, 0, -8, 7)
        packed = functional.pack(codes, 4)
        restored = functional.unpack(packed, 4, x.shape, signed=True)
        scale, zero_point = functional.choose_qparams(x.amin(0), x.amax(0), -8, 7, symmetric=True)
        y = functional.dequantize(restored, scale, zero_point, axis=1)
        return codes, packed, y


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("module", [Layer, Converted])
def test_dynamic_batch(module: type[torch.nn.Module], strict: bool) -> None:
    model = module()
    shapes = ({0: torch.export.Dim("batch", min=2)},)
    program = torch.export.export(model, (torch.randn(4, 8),), dynamic_shapes=shapes, strict=strict)
    for candidate in (program, program.run_decompositions()):
        for n in (2, 3, 17):
            x = torch.randn(n, 8)
            actual, expected = candidate.module()(x), model(x)
            if isinstance(expected, torch.Tensor):
                actual, expected = (actual,), (expected,)
            for a, e in zip(actual, expected, strict=True):
                assert_bit_equal(a, e)


@pytest.mark.parametrize("strict", [True, False])
def test_fake_quantize_is_one_node_with_and_without_decompositions(strict: bool) -> None:
    program = torch.export.export(Layer(), (torch.randn(4, 8),), strict=strict)
    for candidate in (program, program.run_decompositions()):
        targets = [str(n.target) for n in candidate.graph.nodes if n.op == "call_function"]
        assert targets.count("edgeqat.fake_quantize.default") == 2
        assert not any("train" in target for target in targets)


def test_observer_in_an_exported_module() -> None:
    class Observer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("low", torch.tensor([torch.inf]))
            self.register_buffer("high", torch.tensor([-torch.inf]))
            self.register_buffer("count", torch.zeros(2, dtype=torch.int64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            functional.observe_minmax_(x, self.low, self.high, self.count)
            return x + 1

    program = torch.export.export(Observer(), (torch.zeros(4),))
    module = program.module()
    module(torch.tensor([1.0, -2.0, 3.0, 0.0]))
    assert (module.low.item(), module.high.item(), module.count.tolist()) == (-2.0, 3.0, [1, 0])


def test_saved_program_runs_again(tmp_path: Any) -> None:
    model, x = Layer(), torch.randn(4, 8)
    program = torch.export.export(model, (x,))
    torch.export.save(program, tmp_path / "layer.pt2")
    loaded = torch.export.load(tmp_path / "layer.pt2")
    assert_bit_equal(loaded.module()(x), model(x))
