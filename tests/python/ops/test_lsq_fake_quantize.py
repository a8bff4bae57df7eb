# SPDX-License-Identifier: Apache-2.0
"""lsq_fake_quantize: forward equals fake_quantize, gradients equal float64 autograd of the formula."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from edgeqat import functional
from edgeqat.testing import LAYOUTS, assert_bit_equal
from lsq_formula import expand, lsq, step_of
from op_cases import DTYPES, GRANULARITIES, grid

RULES = ("lsq", "power_of_two", "pact")
ACTIVATIONS = (None, "relu", "relu6", "hardswish")
SHAPE = (6, 8, 5, 4)
PARAMETERS = {
    "tensor": (None, None, (1,)),
    "channel": (1, None, (8,)),
    "group": (1, 4, (6, 2, 5, 4)),
}


def problem(granularity: str, seed: int, *, offset: bool, qmin: int = -8, qmax: int = 7) -> Any:
    """x away from ties, so that float32 and float64 round alike; scales of both signs."""
    generator = torch.Generator().manual_seed(seed)
    axis, group_size, shape = PARAMETERS[granularity]
    scale = torch.rand(shape, generator=generator) * 0.3 + 0.1
    scale = torch.where(torch.rand(shape, generator=generator) < 0.3, -scale, scale)
    x = torch.randn(SHAPE, generator=generator) * 2.0
    shift = torch.randn(shape, generator=generator) * 0.5 if offset else None
    grad = torch.randn(SHAPE, generator=generator)
    options = {"axis": axis, "group_size": group_size, "offset": shift}
    return x, scale, grad, (qmin, qmax), options


def gradients(
    function: Any, x: Tensor, scale: Tensor, limits: Any, grad: Tensor, options: Any
) -> tuple[Tensor, ...]:
    leaves = [x.clone().requires_grad_(), scale.clone().requires_grad_()]
    if options.get("offset") is not None:
        leaves.append(options["offset"].clone().requires_grad_())
        options = {**options, "offset": leaves[2]}
    y = function(leaves[0], leaves[1], *limits, **options)
    y = y[0] if isinstance(y, tuple) else y
    return (y.detach(), *torch.autograd.grad(y, leaves, grad, allow_unused=True))


def in_double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def expected(x: Tensor, scale: Tensor, limits: Any, grad: Tensor, options: Any) -> Any:
    options = {k: in_double(v) for k, v in options.items()}
    return gradients(lsq, x.double(), scale.double(), limits, grad.double(), options)


def rounding(x: Tensor, scale: Tensor, limits: Any, grad: Tensor, options: Any) -> Tensor:
    """What float32 may cost the sums: half an ulp of x / step and of its product with g."""
    rule, axis, group_size = options.get("rule", "lsq"), options["axis"], options["group_size"]
    step = step_of(expand(scale, x, axis, group_size), *limits, rule)
    position = (x / step).abs().clamp_max(limits[1] - limits[0])
    return per_scale(grad.abs() * (1.0 + position), options, scale).double() * 2.0**-23


def assert_gradients(actual: Any, wanted: Any, slack: Tensor) -> None:
    torch.testing.assert_close(actual[0].double(), wanted[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(actual[1].double(), wanted[1], rtol=1e-5, atol=1e-6)
    for a, w in zip(actual[2:], wanted[2:], strict=True):
        error = (a.double() - w).abs()
        assert (error <= 1e-6 * w.abs() + slack).all(), (error.max(), slack)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("offset", [False, True])
def test_gradients_equal_autograd_of_the_formula(
    granularity: str, rule: str, activation: str | None, offset: bool
) -> None:
    if rule == "pact" and offset:
        return  # refused, see test_refusals
    for seed, limits in enumerate([(-8, 7), (0, 15), (-2, 1), (-127, 127)]):
        x, scale, grad, _, options = problem(granularity, seed, offset=offset)
        if rule == "pact":
            scale = scale * 8
        mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) < 0.7
        options |= {"rule": rule, "activation": activation, "delta": 0.3 * (seed % 2)}
        options["mask"] = mask if seed % 3 == 0 else None
        wanted = expected(x, scale, limits, grad, options)
        for save in ("exact", "compact"):
            if save == "compact" and activation == "hardswish":
                continue
            call = {**options, "grad_scale": 1.0, "save": save}
            actual = gradients(functional.lsq_fake_quantize, x, scale, limits, grad, call)
            slope = 2.0 if rule == "power_of_two" else 1.0  # d step / d scale is below 2
            slack = rounding(x, scale, limits, grad, options) * slope
            if save == "compact":
                levels = 500 if activation == "relu6" else 506
                slack = slack + per_scale(grad.abs(), options, scale).double() / levels * slope
                if options["delta"]:  # the residual's error shows in the gradient of x
                    torch.testing.assert_close(
                        actual[1].double(), wanted[1], rtol=0, atol=2 * 0.3 / limits[1] / levels * 5
                    )
                    actual = (actual[0], wanted[1], *actual[2:])
            assert_gradients(actual, wanted, slack)


def per_scale(values: Tensor, options: Any, scale: Tensor) -> Tensor:
    """Sum over the elements of each scale."""
    axis, group_size = options["axis"], options["group_size"]
    if axis is None:
        return values.sum().reshape(1)
    if group_size is None:
        return values.movedim(axis, 0).flatten(1).sum(1)
    return values.unflatten(axis, (-1, group_size)).sum(axis + 1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.full)])
def test_forward_is_fake_quantize_bit_for_bit(
    granularity: str, dtype: torch.dtype, full: bool
) -> None:
    for number, case in enumerate(grid(granularity, dtype, full=full)):
        q, rule = case.qparams, RULES[number % 3]
        scale = q.scale if number % 2 else -q.scale
        step = functional.learned_step(scale, q.qmin, q.qmax, rule)
        offset = -q.zero_point * step * 1.03 if rule != "pact" else None
        zero = torch.zeros_like(q.zero_point)
        if offset is not None:
            zero = (-offset / step).round().clamp(q.qmin, q.qmax).int()
        activation = ACTIVATIONS[number % 4]
        options = {**q.options(), "mask": case.mask, "activation": activation}
        wanted = functional.fake_quantize(case.x, step, zero, q.qmin, q.qmax, **options)
        actual = functional.lsq_fake_quantize(
            case.x, scale, q.qmin, q.qmax, offset=offset, rule=rule, **options
        )
        assert_bit_equal(actual, wanted, case.label)
        assert actual.stride() == torch.empty_like(case.x).stride(), case.label
        if activation != "hardswish":
            trained, residual = functional.lsq_fake_quantize_train(
                case.x, scale, q.qmin, q.qmax, offset=offset, rule=rule, **options
            )
            assert_bit_equal(trained, wanted, case.label)
            assert residual.stride() == wanted.stride(), case.label


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("save", ["exact", "compact"])
def test_gradients_in_every_layout_and_dtype(save: str, layout: str, dtype: torch.dtype) -> None:
    for granularity in GRANULARITIES:
        x, scale, grad, limits, options = problem(granularity, 3, offset=True)
        x, grad = LAYOUTS[layout](x.to(dtype)), grad.to(dtype)
        wanted = expected(x.float(), scale, limits, grad.float(), options)
        slack = per_scale(grad.float().abs(), options, scale).double() / 506
        noise = rounding(x.float(), scale, limits, grad.float(), options)
        # the gradient may lie in memory otherwise than x
        for gradient in (grad, grad.transpose(0, 1).contiguous().transpose(0, 1)):
            call = {**options, "grad_scale": 1.0, "save": save}
            y, grad_x, *rest = gradients(
                functional.lsq_fake_quantize, x, scale, limits, gradient, call
            )
            assert y.dtype == grad_x.dtype == dtype
            tolerance = {torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}[dtype]
            torch.testing.assert_close(y.double(), wanted[0], rtol=tolerance, atol=1e-6)
            torch.testing.assert_close(grad_x.double(), wanted[1], rtol=0, atol=0)
            for a, w in zip(rest, wanted[2:], strict=True):
                bound = 1e-6 * w.abs() + noise + (slack if save == "compact" else 0)
                assert ((a.double() - w).abs() <= bound).all()


def test_damping_is_the_gradient_of_the_squared_distance_to_the_grid() -> None:
    x, scale, grad, limits, options = problem("channel", 5, offset=False)
    leaf = x.double().requires_grad_()
    y, in_range = lsq(leaf, scale.double(), *limits, **options)
    loss = (y * grad).sum() + 0.7 * ((leaf - y.detach()) ** 2)[in_range].sum()
    (wanted,) = torch.autograd.grad(loss, leaf)
    options |= {"damping": 0.7, "grad_scale": 1.0}
    actual = gradients(functional.lsq_fake_quantize, x, scale, limits, grad, options)
    torch.testing.assert_close(actual[1].double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_default_gradient_scale_is_that_of_the_paper(granularity: str) -> None:
    x, scale, grad, limits, options = problem(granularity, 6, offset=True)
    n = x.numel() / scale.numel()
    plain = gradients(
        functional.lsq_fake_quantize, x, scale, limits, grad, {**options, "grad_scale": 1.0}
    )
    default = gradients(functional.lsq_fake_quantize, x, scale, limits, grad, options)
    for p, d in zip(plain[2:], default[2:], strict=True):
        torch.testing.assert_close(d, p / math.sqrt(n * 7), rtol=1e-6, atol=1e-8)


def test_numbers_and_arrays_are_refused_by_name() -> None:
    x, step = torch.randn(4), torch.ones(1)
    with pytest.raises(TypeError, match=r"lsq_fake_quantize: scale must be a tensor, found float"):
        functional.lsq_fake_quantize(x, 0.1, -8, 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"lsq_fake_quantize: x must be a tensor, found ndarray"):
        functional.lsq_fake_quantize(x.numpy(), step, -8, 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"lsq_fake_quantize: offset must be a tensor, found float"):
        functional.lsq_fake_quantize(x, step, 0, 15, offset=0.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"learned_step: scale must be a tensor, found float"):
        functional.learned_step(0.1, -8, 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"_multi: scale\[1\] must be a tensor, found float"):
        functional.lsq_fake_quantize_multi([x, x], [step, 0.1], [-8] * 2, [7] * 2)  # type: ignore[list-item]


@pytest.mark.parametrize("save", ["exact", "compact"])
def test_pact_has_the_gradient_of_its_paper(save: str) -> None:
    """The sum of g where x is at alpha or above (Choi et al. 2018, equation 3), no factor."""
    x = torch.tensor([0.2, 0.9, 1.5, 7.0], requires_grad=True)
    alpha = torch.tensor([1.0], requires_grad=True)
    y = functional.lsq_fake_quantize(x, alpha, 0, 15, rule="pact", save=save)
    y.backward(torch.tensor([10.0, 20.0, 3.0, 4.0]))
    assert alpha.grad is not None
    assert alpha.grad.item() == pytest.approx(7.0, rel=1e-6)


def test_nan_infinity_and_masks() -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.3], requires_grad=True)
    scale = torch.tensor([0.25], requires_grad=True)
    grad = torch.tensor([1.0, 2.0, 4.0, 8.0])
    for save, nan in (("exact", True), ("compact", False)):
        y = functional.lsq_fake_quantize(x, scale, -8, 7, grad_scale=1.0, save=save)
        assert_bit_equal(y, torch.tensor([math.nan, 1.75, -2.0, 0.25]))
        grad_x, grad_scale = torch.autograd.grad(y, [x, scale], grad)
        assert_bit_equal(grad_x, torch.tensor([1.0, 0.0, 0.0, 8.0]))
        if nan:
            assert grad_scale.isnan().all()
        else:
            assert grad_scale.item() == pytest.approx(14 - 32 - 8 * 0.2, abs=8 / 506)
        mask = torch.tensor([False, False, True, True])
        bad = torch.where(mask, grad, torch.tensor([math.nan, math.inf, 1.0, 1.0]))
        y = functional.lsq_fake_quantize(x, scale, -8, 7, mask=mask, grad_scale=1.0, save=save)
        assert_bit_equal(y, torch.tensor([0.0, 0.0, -2.0, 0.25]))
        grad_x, grad_scale = torch.autograd.grad(y, [x, scale], bad)
        assert_bit_equal(grad_x, torch.tensor([0.0, 0.0, 0.0, 8.0]))
        assert grad_scale.item() == pytest.approx(-32 - 8 * 0.2, abs=8 / 506)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0, 2)])
def test_empty_tensors(shape: tuple[int, ...]) -> None:
    for save in ("exact", "compact"):
        x = torch.empty(shape, requires_grad=True)
        scale = torch.ones(1, requires_grad=True)
        functional.lsq_fake_quantize(x, scale, -8, 7, save=save).sum().backward()
        assert x.grad is not None
        assert x.grad.shape == shape
        assert_bit_equal(scale.grad, torch.zeros(1))


def saved_by(function: Any) -> list[Tensor]:
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function()
    return [t for t in saved if t.numel() > 1]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bytes_saved_for_backward(dtype: torch.dtype) -> None:
    x = torch.randn(64, 128, dtype=dtype, requires_grad=True)
    scale = torch.tensor([0.1], requires_grad=True)
    compact = saved_by(lambda: functional.lsq_fake_quantize(x, scale, -8, 7, save="compact"))
    assert [(t.dtype, t.shape) for t in compact] == [(torch.int8, x.shape)]
    exact = saved_by(lambda: functional.lsq_fake_quantize(x, scale, -8, 7))
    assert [t.data_ptr() for t in exact] == [x.data_ptr()]
    assert saved_by(lambda: functional.lsq_fake_quantize(x.detach(), scale.detach(), -8, 7)) == []


def test_a_changed_input_is_noticed() -> None:
    x = torch.randn(8, requires_grad=True) * 1.0
    y = functional.lsq_fake_quantize(x, torch.tensor([0.1], requires_grad=True), -8, 7)
    with torch.no_grad():
        x.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_second_derivatives_are_refused() -> None:
    x = torch.randn(8, requires_grad=True)
    scale = torch.tensor([0.1], requires_grad=True)
    for save in ("exact", "compact"):
        y = functional.lsq_fake_quantize(x, scale, -8, 7, save=save)
        with pytest.raises(RuntimeError, match="second derivative"):
            torch.autograd.grad(y.square().sum(), x, create_graph=True)


def test_options_are_refused_by_name() -> None:
    x, scale = torch.randn(2, 8), torch.tensor([0.1])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"rule": "linear"}, 'rule must be "lsq"'),
        ({"save": "all"}, 'save must be "exact"'),
        ({"activation": "gelu"}, "activation must be"),
        ({"save": "compact", "damping": 1.0}, 'save must be "exact" for hardswish and for damping'),
        ({"save": "compact", "activation": "hardswish"}, 'save must be "exact"'),
        ({"offset": torch.zeros(2)}, r"offset must be of shape \[1\]"),
        ({"offset": torch.zeros(1), "rule": "pact"}, "offset must be None for the rule pact"),
        ({"offset": torch.tensor([math.nan])}, "offset must be finite"),
        ({"axis": 2}, "axis must be in"),
        ({"mask": torch.ones(2, 7, dtype=torch.bool)}, "mask must be of shape"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            functional.lsq_fake_quantize(x, scale, -8, 7, **options)
    for bad, message in [
        (torch.tensor([math.inf]), "scale must be finite"),
        (torch.ones(1).double(), "scale must be a float32 tensor"),
        (torch.ones(2), "scale must be one value"),
    ]:
        with pytest.raises(ValueError, match=message):
            functional.lsq_fake_quantize(x, bad, -8, 7)
    with pytest.raises(ValueError, match="around 0 without an offset"):
        functional.lsq_fake_quantize(x, scale, 1, 7)
    with pytest.raises(ValueError, match="x must be float32, float16 or bfloat16"):
        functional.lsq_fake_quantize(x.double(), scale, -8, 7)
    for name in ("delta", "damping"):
        leaf = x.clone().requires_grad_()
        with pytest.raises((ValueError, RuntimeError), match=f"{name} must be finite"):
            functional.lsq_fake_quantize(leaf, scale, -8, 7, **{name: -1.0}).sum().backward()


@pytest.mark.parametrize("save", ["exact", "compact"])
def test_second_derivatives_are_refused_in_every_way_of_calling(save: str) -> None:
    """torch.func and the operator itself gave zeros."""
    w, step = torch.randn(3, 5), torch.tensor([0.3])

    def loss(v: Tensor) -> Tensor:
        return functional.lsq_fake_quantize(v, step, -8, 7, save=save).square().sum()  # type: ignore[arg-type]

    with pytest.raises(RuntimeError, match="second derivative"):
        torch.func.grad(lambda v: torch.func.grad(loss)(v).sum())(w)
    w.requires_grad_()
    y = torch.ops.edgeqat.lsq_fake_quantize(w, step, -8, 7, save=int(save == "compact"))
    (first,) = torch.autograd.grad(y.square().sum(), w, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(first.sum(), w)


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize(
    "wrong", [{"delta": -1.0}, {"delta": torch.nan}, {"damping": -1.0}, {"grad_scale": torch.inf}]
)
def test_what_the_gradient_is_to_be_is_checked_in_forward(
    wrong: dict[str, float], requires_grad: bool
) -> None:
    x, step = torch.randn(8, requires_grad=requires_grad), torch.tensor([0.3])
    with pytest.raises(ValueError, match=f"lsq_fake_quantize: {next(iter(wrong))} must be finite"):
        functional.lsq_fake_quantize(x, step, -8, 7, **wrong)
    with pytest.raises(ValueError, match=f"_multi: {next(iter(wrong))} must be finite"):
        functional.lsq_fake_quantize_multi([x], [step], [-8], [7], **wrong)
