# SPDX-License-Identifier: Apache-2.0
"""Quantizers with learned steps: initial values, gradients, state, what is deployed."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor, nn

from edgeqat import QuantSpec
from edgeqat.nn import LearnedActivationQuantizer, LearnedWeightQuantizer, initial_step

INT4 = QuantSpec(4)
CHANNELS = QuantSpec(4, granularity="channel", axis=0)
AFFINE = QuantSpec(4, symmetric=False)


def lsq(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """LSQ in float64 with autograd: clip, then round straight through."""
    clipped = (x / step).clamp(low, high)
    return (clipped + (torch.round(clipped) - clipped).detach()) * step


def test_weight_gradients_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 40)
    quantizer = LearnedWeightQuantizer(CHANNELS, (5, 40))
    quantizer.initialize(weight)
    with torch.no_grad():
        quantizer.step.mul_(0.93)  # clips some weights, and none sits exactly on the outermost code
    w = weight.clone().requires_grad_()
    seed = torch.randn(5, 40)
    (quantizer(w) * seed).sum().backward()
    reference, step = weight.double().requires_grad_(), quantizer.step.detach().double()
    step.requires_grad_()
    (lsq(reference, step[:, None], -8, 7) * seed.double()).sum().backward()
    torch.testing.assert_close(w.grad, reference.grad.float())
    scaled = step.grad.float() / math.sqrt(40 * 7)
    torch.testing.assert_close(quantizer.step.grad, scaled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("save", ["exact", "compact"])
def test_activation_gradients_are_those_of_the_paper(save: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(6, 50) * 4
    quantizer = LearnedActivationQuantizer(AFFINE, save=save)  # type: ignore[arg-type]
    quantizer(x)
    value = x.clone().requires_grad_()
    seed = torch.randn(6, 50)
    quantizer.step.grad = None
    (quantizer(value) * seed).sum().backward()
    reference, step = x.double().requires_grad_(), quantizer.step.detach().double()
    step.requires_grad_()
    (lsq(reference, step, 0, 15) * seed.double()).sum().backward()
    torch.testing.assert_close(value.grad, reference.grad.float())
    bound = 0.0 if save == "exact" else float(seed.abs().sum()) / 506
    factor = 1 / math.sqrt(50 * 15)  # 50 features to a sample
    difference = float((quantizer.step.grad - step.grad.float() * factor).abs())
    assert difference <= factor * bound + 1e-5


def test_fused_relu_is_relu_then_the_quantizer() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 33, requires_grad=True)
    first = LearnedActivationQuantizer(AFFINE)
    first(torch.relu(x.detach()))
    second = copy.deepcopy(first)
    first(x, "relu").square().sum().backward()
    fused, x.grad = x.grad, None
    second(torch.relu(x)).square().sum().backward()
    assert torch.equal(fused, x.grad)
    torch.testing.assert_close(first.step.grad, second.step.grad)


def test_first_step_minimises_the_squared_error() -> None:
    torch.manual_seed(1)
    values = torch.randn(1, 20000)
    chosen = initial_step.mse_step(values, -2, 1)

    def error(step: float) -> float:
        return float(((values / step).round().clamp(-2, 1) * step - values).square().sum())

    best = min(error(0.02 * i) for i in range(1, 150))
    assert error(float(chosen)) <= 1.03 * best


def test_lsq_rule() -> None:
    rows = torch.tensor([[1.0, -3.0], [0.0, 0.0]])
    assert initial_step.lsq_step(rows, 4).tolist() == [2.0, 1.0]


def test_offset_of_an_asymmetric_activation() -> None:
    torch.manual_seed(0)
    x = torch.rand(1000) * 3 - 0.6  # such as hard-swish: a little below zero, much above
    quantizer = LearnedActivationQuantizer(AFFINE, offset=True)
    error = (quantizer(x) - x).abs().max()
    assert error <= 0.6 * float(quantizer.scale)
    quantizer.eval()(x)
    assert -8 < int(quantizer.zero_point) < 0
    y = quantizer(x).detach()
    codes = y / quantizer.scale + quantizer.zero_point
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-4)


def test_values_below_zero_make_the_codes_signed() -> None:
    positive, mixed = LearnedActivationQuantizer(AFFINE), LearnedActivationQuantizer(AFFINE)
    positive(torch.rand(100))
    mixed(torch.randn(100))
    assert not positive.signed
    assert mixed.signed
    positive.eval()(torch.rand(4))
    mixed.eval()(torch.rand(4))
    assert positive.zero_point.item() == -8
    assert mixed.zero_point.item() == 0


def test_steps_stay_positive() -> None:
    quantizer = LearnedWeightQuantizer(INT4, (3,))
    with torch.no_grad():
        quantizer.step.fill_(-0.5)
    quantizer.eval()(torch.randn(3))
    assert quantizer.scale.item() == 0.5
    with torch.no_grad():
        quantizer.step.zero_()
    assert torch.isfinite(quantizer(torch.randn(3))).all()
    assert quantizer.scale.item() > 0


def test_power_of_two_steps() -> None:
    quantizer = LearnedWeightQuantizer(INT4, (3,), rule="power_of_two")
    with torch.no_grad():
        quantizer.step.fill_(0.3)
    quantizer.eval()(torch.randn(3))
    assert quantizer.scale.item() == 0.5


def test_pact_clips_at_alpha() -> None:
    quantizer = LearnedActivationQuantizer(AFFINE, rule="pact")
    quantizer(torch.rand(100))
    with torch.no_grad():
        quantizer.step.fill_(3.0)
    x = torch.tensor([[0.1, 2.9, 3.5, 9.0]], requires_grad=True)
    y = quantizer(x)
    y.backward(torch.tensor([[1.0, 1.0, 1.0, 2.0]]))
    assert y[0, 2:].tolist() == [3.0, 3.0]
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    assert quantizer.step.grad.tolist() == [3.0]  # the sum over what is clipped, no factor


def test_state_survives_pickle_copy_and_state_dict() -> None:
    quantizer = LearnedActivationQuantizer(AFFINE)
    quantizer(torch.rand(50))
    quantizer.eval()
    x = torch.rand(20)
    fresh = LearnedActivationQuantizer(AFFINE)
    fresh.load_state_dict(quantizer.state_dict())
    for other in (copy.deepcopy(quantizer), pickle.loads(pickle.dumps(quantizer)), fresh.eval()):
        assert torch.equal(other(x), quantizer(x))


def test_unseen_quantizer_is_refused_in_eval() -> None:
    with pytest.raises(RuntimeError, match="has seen no data"):
        LearnedActivationQuantizer(AFFINE).eval()(torch.rand(3))


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="weights are symmetric"):
        LearnedWeightQuantizer(AFFINE, (3,))
    with pytest.raises(ValueError, match="an offset needs an affine spec"):
        LearnedActivationQuantizer(INT4, offset=True)
    with pytest.raises(ValueError, match="PACT clips at 0"):
        LearnedActivationQuantizer(AFFINE, rule="pact", offset=True)
    with pytest.raises(ValueError, match="rule must be one of lsq, power_of_two, found 'pact'"):
        LearnedWeightQuantizer(QuantSpec(4), (2, 2), rule="pact")
    with pytest.raises(ValueError, match="initialisation must be one of mse, lsq, found 'max'"):
        LearnedWeightQuantizer(QuantSpec(4), (2, 2), initialisation="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="delta must be finite and at least 0, found -3"):
        LearnedWeightQuantizer(QuantSpec(4), (2, 2), delta=-3)
    with pytest.raises(ValueError, match="rule must be one of lsq, power_of_two, pact"):
        LearnedActivationQuantizer(AFFINE, rule="lsq+")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="save must be one of compact, exact, found 'x'"):
        LearnedActivationQuantizer(AFFINE, save="x")  # type: ignore[arg-type]


def test_a_checkpointed_step_is_the_plain_one() -> None:
    """The quantizer is fresh: the forward pass sets its step, the recomputation must not set it again."""
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 8), torch.randn(4, 8)
    plain, checkpointed = LearnedActivationQuantizer(AFFINE), LearnedActivationQuantizer(AFFINE)
    plain(layer(x)).square().sum().backward()
    expected, layer.weight.grad = layer.weight.grad, None
    y = torch.utils.checkpoint.checkpoint(lambda v: checkpointed(layer(v)), x, use_reentrant=False)
    y.square().sum().backward()
    assert torch.equal(layer.weight.grad, expected)
    assert torch.equal(checkpointed.step, plain.step)
    assert torch.equal(checkpointed.step.grad, plain.step.grad)
    assert int(checkpointed.steps_seen) == int(checkpointed.count[0]) == 1


@pytest.mark.parametrize("rule", ["mse", "lsq"])
def test_every_group_starts_with_a_step_of_its_own(rule: str) -> None:
    spec = QuantSpec(4, granularity="group", axis=1, group_size=4)
    weight = torch.arange(1.0, 9.0).reshape(2, 4).repeat_interleave(4, 1)  # each group one value
    quantizer = LearnedWeightQuantizer(spec, (2, 16), initialisation=rule)  # type: ignore[arg-type]
    quantizer.initialize(weight)
    assert quantizer.scale.shape == (2, 4)
    torch.testing.assert_close(
        quantizer.scale / quantizer.scale[0, 0], torch.arange(1.0, 9.0).reshape(2, 4)
    )


GROUPS = QuantSpec(3, granularity="group", axis=1, group_size=5)


@pytest.mark.parametrize(
    "spec", [CHANNELS, GROUPS, QuantSpec(2), QuantSpec(2, granularity="channel", axis=1)]
)
@pytest.mark.parametrize("rule", ["lsq", "power_of_two"])
@pytest.mark.parametrize("delta", [0.0, 0.3])
def test_negative_gammas_round_the_mirrored_weight(
    spec: QuantSpec, rule: str, delta: float
) -> None:
    """The values that the product rounds to, forward and backward, without keeping the product."""
    torch.manual_seed(0)
    weight = torch.randn(6, 15)
    axis = 1 if spec.axis == 1 and spec.granularity == "channel" else 0
    gamma = torch.randn(weight.shape[axis])
    signs = torch.where(gamma < 0, -1.0, 1.0).unsqueeze(1 - axis)
    found, wanted = (LearnedWeightQuantizer(spec, (6, 15), rule, delta) for _ in range(2))  # type: ignore[arg-type]
    results = []
    for quantizer in (found, wanted):
        quantizer.initialize(weight)
        quantizer.damping = 0.1
        with torch.no_grad():
            quantizer.step.mul_(0.8)  # clips on both sides
        w = weight.clone().requires_grad_()
        saved: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, s=saved: s.append(t) or t, lambda t: t
        ):
            y = quantizer(w, gamma, axis) if quantizer is found else quantizer(w * signs) * signs
        (y * torch.linspace(-2.0, 3.0, 90).reshape(6, 15)).sum().backward()
        results.append((y.detach(), w.grad, quantizer.step.grad))
        large = [t for t in saved if t.numel() == w.numel()]
        if quantizer is found and spec.granularity != "tensor":
            assert {t.data_ptr() for t in large} == {w.data_ptr()}
    for a, b in zip(results[0][:2], results[1][:2], strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-5, atol=1e-6)
