# SPDX-License-Identifier: Apache-2.0
"""BiasRounder: the student in eval mode has the biases that the deployed network will have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgeqat
from edgeqat import _C
from edgeqat.graph.lower import lower
from edgeqat.nn.bias import BiasRounder


def net(batch_norm: bool) -> nn.Module:
    """Weights and scales so coarse that half a bias step is far above float32 rounding."""
    torch.manual_seed(3)
    layers: list[nn.Module] = [nn.Conv2d(2, 4, 3, padding=1, bias=not batch_norm)]
    if batch_norm:
        norm = nn.BatchNorm2d(4)
        nn.init.uniform_(norm.weight, -1.5, 1.5)  # negative factors too
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        layers.append(norm)
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


COARSE = edgeqat.Recipe(4, 4, first_last_bits=None, input_bits=4, output_bits=8)


def prepared(batch_norm: bool) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(256, 2, 6, 6)
    model = net(batch_norm)
    student = edgeqat.prepare(model, edgeqat.plan(model, (x[:2],), recipe=COARSE))
    return edgeqat.calibrate(student, [x]).eval(), x


def rounders(model: nn.Module) -> list[BiasRounder]:
    return [m for m in model.modules() if isinstance(m, BiasRounder)]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_student_in_eval_mode_equals_the_converted_model(batch_norm: bool) -> None:
    student, x = prepared(batch_norm)
    converted = edgeqat.convert(student)
    assert len(rounders(student)) == 1, "one without state serves every layer"
    assert not rounders(converted)
    with torch.no_grad():
        deployed, simulated = converted(x), student(x)
        for rounder in rounders(student):
            rounder.enabled = False
        unrounded = student(x)
    step = float(student.get_submodule(f"quantizers.{4 if batch_norm else 3}.output").scale)
    differing = ((deployed - simulated).abs() > step / 2).float().mean()
    without = ((deployed - unrounded).abs() > step / 2).float().mean()
    assert without > 0.05
    assert differing < 0.01


def test_the_change_equals_the_formula() -> None:
    rng = np.random.default_rng(0)
    y, bias, beta, mean = (rng.normal(size=s).astype(np.float32) for s in ((2, 5, 3), 5, 5, 5))
    gamma = np.array([1.0, -0.5, 2.0, 0.0, 0.25], np.float32)
    variance = rng.uniform(0.5, 2, 5).astype(np.float32)
    input_scale, weight_scale = np.float32([0.05]), rng.uniform(0.05, 0.2, 5).astype(np.float32)
    factor = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + 1e-3)
    offset = bias * factor + beta - mean * factor
    scale = (weight_scale.astype(np.float64) * np.abs(factor)).astype(np.float32)
    step = 0.05000000074505806 * np.where(scale == 0, 1, scale).astype(np.float64)
    expected = y + (np.rint(offset / step) * step - offset).reshape(1, 5, 1)
    rounder = BiasRounder().eval()
    tensors = [input_scale, weight_scale, bias, gamma, beta, mean, variance]
    result = rounder(torch.from_numpy(y), 1, 1e-3, *map(torch.from_numpy, tensors))
    np.testing.assert_allclose(result.numpy(), expected, atol=2e-6)
    assert float((result - torch.from_numpy(y)).abs().max()) > 1e-3  # it did something


def test_nothing_changes_while_training_or_off() -> None:
    y, scale, bias = torch.randn(4, 3), torch.ones(1), torch.full((3,), 0.3)
    rounder = BiasRounder()
    assert rounder.train()(y, -1, 0.0, scale, scale, bias) is y
    assert not torch.equal(rounder.eval()(y, -1, 0.0, scale, scale, bias), y)
    student, x = prepared(batch_norm=True)
    edgeqat.enable_quantizers(student, weights=False, activations=False)
    torch.testing.assert_close(student(x), net(batch_norm=True)(x), atol=1e-5, rtol=1e-5)
    edgeqat.enable_quantizers(student)
    assert all(r.enabled for r in rounders(student))


def test_a_bias_beyond_int32_stays_as_it_is() -> None:
    y, tiny = torch.zeros(1, 2), torch.tensor([1e-9])
    rounder = BiasRounder().eval()
    assert torch.equal(rounder(y, -1, 0.0, torch.ones(1), tiny, torch.tensor([1e9, 0.3])), y)


@pytest.mark.parametrize("groups", [1, 3])
def test_a_grouped_transposed_convolution_equals_the_integer_reference(groups: int) -> None:
    """Its groups share the scales of out / groups channels, its biases are one a channel."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.ConvTranspose2d(6, 9, 3, stride=2, groups=groups))
    nn.init.uniform_(model[0].bias, -0.4, 0.4)
    x = torch.randn(64, 6, 5, 5)
    student = edgeqat.prepare(model, edgeqat.plan(model, (x[:2],), recipe=COARSE))
    student = edgeqat.calibrate(student, [x]).eval()
    document, constants = lower(edgeqat.convert(student))
    (codes,) = _C.run_reference(_C.Graph.parse(document), constants, {"input": x.numpy()}).values()
    quantizer = student.get_submodule("quantizers.0.output")
    step = float(quantizer.scale)
    deployed = (codes.astype(np.int64) - int(quantizer.zero_point)) * step
    with torch.no_grad():
        simulated = student(x).numpy()
        rounders(student)[0].enabled = False
        unrounded = student(x).numpy()
    assert (np.abs(deployed - simulated) > step / 2).mean() < 1e-3
    assert (np.abs(deployed - unrounded) > step / 2).mean() > 0.05
