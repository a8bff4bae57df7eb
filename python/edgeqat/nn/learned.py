# SPDX-License-Identifier: Apache-2.0
"""Quantizers whose step size is a parameter of the model: LSQ, LSQ+, PACT, power-of-two steps, with EWGS on request."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from edgeqat import functional
from edgeqat.nn import initial_step
from edgeqat.nn.activations import Activation, activate
from edgeqat.nn.quantizers import ActivationQuantizer, WeightQuantizer
from edgeqat.quantization.spec import QuantSpec

Rule = Literal["lsq", "power_of_two", "pact"]
Initialisation = Literal["mse", "lsq"]


def _check_choice(owner: str, argument: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"{owner}: {argument} must be one of {', '.join(choices)}, found {value!r}"
        )


def _check_delta(owner: str, delta: float) -> None:
    if not 0.0 <= delta < math.inf:
        raise ValueError(f"{owner}: delta must be finite and at least 0, found {delta}")


def _mirrored(step: Tensor, negative: Tensor, spec: QuantSpec, rule: Rule) -> Tensor:
    """Offsets, one step in use where `negative`, that turn the codes -8..7 into -7..8.

    Their gradient is one of the step: a weight above the grid is worth 8 steps then, not 7.
    """
    in_use = functional.learned_step(step.detach(), spec.qmin, spec.qmax, rule=rule)
    magnitude = step.abs()
    one = magnitude * (in_use / magnitude.detach().clamp_min(2.0**-100))
    return torch.where(negative, one * -(spec.qmin + spec.qmax), 0.0)


class LearnedWeightQuantizer(WeightQuantizer):
    """Fake-quantizes a weight with a step that training learns, one a tensor, channel or group.

    Formula: `functional.lsq_fake_quantize` of the weight with the parameter `step`; the weight itself is what backward
    keeps, so nothing else is saved. The gradient of the step is scaled by ``1 / sqrt(n * qmax)``, n values to a step.

    Args:
        spec: format, symmetric.
        shape: of the weight.
        rule: "lsq", or "power_of_two": the step in use is the next power of two above the parameter.
        delta: EWGS: how strongly the gradient follows the distance to the grid; 0 is the clipped straight-through estimator.
        initialisation: "mse" (least squared error) or "lsq" (``2 * mean|w| / sqrt(qmax)``).

    Attributes:
        damping: weight of the pull towards the grid that is added to the gradient of the weight, for oscillation control.

    Shape: weight -> the same shape and dtype.

    Source: Esser et al., Learned Step Size Quantization, ICLR 2020; Lee, Kim, Ham, EWGS, CVPR 2021.

    Example:
        >>> quantizer = LearnedWeightQuantizer(QuantSpec(4, granularity="channel", axis=0), (2, 3))
        >>> weight = torch.tensor([[0.7, -0.2, 0.4], [0.0, 0.1, 0.3]])
        >>> quantizer.initialize(weight)
        >>> bool((quantizer(weight) - weight).abs().max() < 0.03)
        True
    """

    step: Tensor

    def __init__(
        self,
        spec: QuantSpec,
        shape: tuple[int, ...],
        rule: Rule = "lsq",
        delta: float = 0.0,
        initialisation: Initialisation = "mse",
    ) -> None:
        if not spec.symmetric:
            raise ValueError("LearnedWeightQuantizer: weights are symmetric, found an affine spec")
        _check_choice("LearnedWeightQuantizer", "rule", rule, ("lsq", "power_of_two"))
        _check_choice("LearnedWeightQuantizer", "initialisation", initialisation, ("mse", "lsq"))
        _check_delta("LearnedWeightQuantizer", delta)
        super().__init__(spec, shape)
        self.rule: Rule = rule
        self.delta = delta
        self.damping = 0.0
        self.initialisation: Initialisation = initialisation
        self.step = nn.Parameter(torch.ones_like(self.scale))

    def _rows(self, weight: Tensor) -> Tensor:
        """One row for each step. Shape: weight -> [scale.numel(), n]."""
        axis, group = self.spec.axis, self.spec.group_size
        if axis is None:
            return weight.reshape(1, -1)
        if group is None:
            return weight.movedim(axis, 0).flatten(1)
        grouped = weight.unflatten(axis, (-1, group))  # type: ignore[no-untyped-call]
        return grouped.movedim(axis % weight.dim() + 1, -1).reshape(-1, group)  # type: ignore[no-any-return]

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """Start the step from `weight`."""
        rows = self._rows(weight.detach().float())
        if self.initialisation == "lsq":
            step = initial_step.lsq_step(rows, self.spec.qmax)
        else:
            step = initial_step.mse_step(rows, self.spec.qmin, self.spec.qmax)
        self.step.copy_(step.reshape(self.step.shape))
        self.choose(weight)

    def choose(self, weight: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The step in use and zero point 0, which also become the buffers."""
        with torch.no_grad():
            step = functional.learned_step(
                self.step.detach(), self.spec.qmin, self.spec.qmax, rule=self.rule
            )
            if not torch.compiler.is_exporting():
                self.scale.copy_(step)
        return step, self.zero_point

    @property
    def rounds_again(self) -> bool:
        """As the base class's."""
        return self.training and self.enabled

    def learned(self) -> tuple[Tensor, ...]:
        """The step."""
        return (self.step,)

    def rounding(
        self, weight: Tensor, gamma: Tensor | None = None, axis: int = 0
    ) -> Callable[..., Tensor]:
        """The call as a function of the weight and the step.

        Where `gamma` is negative, the codes -8..7 become -7..8. Rounding -w and changing the sign back is rounding w to
        the mirrored grid, since ties go to even on both sides of 0; an offset of one step mirrors the grid. Unlike the
        product, of which backward would keep 4 bytes a weight, the weight itself is there anyway. With one step for
        channels of both signs there is no such offset.
        """
        spec, rule, delta, damping = self.spec, self.rule, self.delta, self.damping
        per_tensor = spec.granularity == "tensor"
        negative = signs = None
        if gamma is not None and per_tensor:
            signs = self.signs(weight, gamma, axis)
        elif gamma is not None:
            negative = (gamma.detach() < 0).reshape([-1] + [1] * (self.step.dim() - 1))

        def again(weight: Tensor, step: Tensor) -> Tensor:
            value = functional.lsq_fake_quantize(
                weight if signs is None else weight * signs,
                step,
                spec.qmin,
                spec.qmax,
                axis=spec.axis,
                group_size=spec.group_size,
                offset=None if negative is None else _mirrored(step, negative, spec, rule),
                rule=rule,
                delta=delta,
                damping=damping,
                save="exact",
            )
            return value if signs is None else value * signs

        return again

    def forward(self, weight: Tensor, gamma: Tensor | None = None, axis: int = 0) -> Tensor:
        if not self.enabled:
            return weight
        if not self.training:
            self.choose(weight)
        return self.rounding(weight, gamma, axis)(weight, self.step)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.rule}"


class LearnedActivationQuantizer(ActivationQuantizer):
    """Fake-quantizes an activation with a step that training learns, and with an offset for LSQ+.

    Without an offset, codes start at 0 for values that are never negative (behind a ReLU) and are symmetric otherwise.
    `calibrate` sets the first step: the one of least squared error, averaged over the batches; without calibration the first
    training batch does. Afterwards nothing is observed.

    Args:
        spec: format, granularity "tensor".
        rule: "lsq", "power_of_two" or "pact" (the parameter is then the clipping value alpha; a tensor with negative values,
            for which PACT has no rule, follows LSQ).
        offset: learn the offset too (LSQ+); the zero point in use is ``round(-offset / step)``, an integer, so that the
            deployed network can hold it.
        delta: EWGS, see `LearnedWeightQuantizer`.
        save: "compact" keeps 1 byte an element for backward, "exact" a reference to the input.

    Shape: any -> the same shape and dtype.

    Source: Esser et al., ICLR 2020; Bhalgat et al., LSQ+, CVPRW 2020; Choi et al., PACT, 2018.

    Example:
        >>> quantizer = LearnedActivationQuantizer(QuantSpec(4, symmetric=False))
        >>> y = quantizer(torch.tensor([0.0, 0.5, 1.5]))  # the first batch sets the step
        >>> quantizer.step.shape, quantizer.signed
        (torch.Size([1]), False)
    """

    step: Tensor
    offset: Tensor | None
    steps_seen: Tensor

    def __init__(
        self,
        spec: QuantSpec,
        rule: Rule = "lsq",
        offset: bool = False,
        delta: float = 0.0,
        save: Literal["compact", "exact"] = "compact",
    ) -> None:
        super().__init__(spec)
        _check_choice("LearnedActivationQuantizer", "rule", rule, get_args(Rule))
        _check_choice("LearnedActivationQuantizer", "save", save, ("compact", "exact"))
        _check_delta("LearnedActivationQuantizer", delta)
        if offset and spec.symmetric:
            raise ValueError("LearnedActivationQuantizer: an offset needs an affine spec")
        if offset and rule == "pact":
            raise ValueError("LearnedActivationQuantizer: PACT clips at 0 and has no offset")
        self.wanted_rule: Rule = rule
        self.delta = delta
        self.save: Literal["compact", "exact"] = save
        self.signed = True
        self.shared = (
            False  # `prepare` sets it where the target wants one scale for several tensors
        )
        self.step = nn.Parameter(torch.ones(1))
        self.register_parameter("offset", nn.Parameter(torch.zeros(1)) if offset else None)
        self.register_buffer("steps_seen", torch.zeros(1, dtype=torch.int64))

    @property
    def _code_range(self) -> tuple[int, int]:
        """The range of codes when 0 is code 0: -8..7, or 0..15 where no value is negative."""
        spec = self.spec
        low = spec.qmin if self.signed or self.offset is not None else 0
        return low, low + spec.qmax - spec.qmin

    @property
    def rule(self) -> Rule:
        """The rule in use."""
        return "lsq" if self.wanted_rule == "pact" and self.signed else self.wanted_rule

    def reset(self) -> None:
        """Forget the range and the first step."""
        super().reset()
        self.steps_seen.zero_()

    @torch.no_grad()
    def _learn_from(self, x: Tensor) -> None:
        """Take one batch into the average of best steps."""
        super()._observe(x)
        values = initial_step.sample(x)
        if not values.numel():
            return
        signed = self.spec.symmetric or bool(self.min_val < 0)
        if signed != self.signed:
            self.signed = signed
            self.steps_seen.zero_()  # steps of the other range of codes do not count
        low, high = self._code_range
        if self.offset is not None:
            step, offset = initial_step.mse_step_and_offset(values, low, high)
        else:
            step, offset = initial_step.mse_step(values.reshape(1, -1), low, high), None
        if self.rule == "pact":
            step = step * (high - low)
        self.steps_seen += 1
        seen = int(self.steps_seen)
        self.step.copy_(step if seen == 1 else torch.lerp(self.step, step, 1.0 / seen))
        if offset is not None and self.offset is not None:
            self.offset.copy_(offset if seen == 1 else torch.lerp(self.offset, offset, 1.0 / seen))
        self._synchronise()

    @torch.no_grad()
    def _synchronise(self) -> None:
        """Bring `scale` and `zero_point`, which convert and the report read, in step with the parameters."""
        low, high = self._code_range
        scale = functional.learned_step(self.step.detach(), low, high, rule=self.rule)
        if self.offset is None:
            zero_point = torch.full_like(self.zero_point, self.spec.qmin - low)
        else:
            zero_point = torch.round(-self.offset.detach() / scale).clamp(low, high).int()
        if not torch.compiler.is_exporting():
            self.scale.copy_(scale)
            self.zero_point.copy_(zero_point)

    def train(self, mode: bool = True) -> LearnedActivationQuantizer:
        """As nn.Module.train; entering eval mode brings `scale` and `zero_point` in step with what was learned."""
        super().train(mode)
        if not mode and self._seen:
            self._synchronise()
        return self

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any, **keywords: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments, **keywords)
        self.signed = self.spec.symmetric or bool(self.min_val < 0) or not self._seen

    def forward(self, x: Tensor, activation: Activation | None = None) -> Tensor:
        fresh = not self._seen and self.training and not torch.compiler.is_compiling()
        if fresh and self.shared and not self.calibrating:
            raise RuntimeError(
                "edgeqat: several tensors share an activation quantizer, and its first step must have seen all of them; call "
                "edgeqat.calibrate(student, batches) before training"
            )
        if self.calibrating or fresh:
            self._learn_from(activate(x.detach(), activation))
            self._seen = bool(self.steps_seen)  # a batch without finite values is no first batch
        if not self.enabled:
            return activate(x, activation)
        if not (self._seen or fresh or self.calibrating):
            raise RuntimeError(
                "edgeqat: an activation quantizer has seen no data, so its step means nothing; call "
                "edgeqat.calibrate(student, batches), or train first"
            )
        if not self.training:
            self._synchronise()
        low, high = self._code_range
        features = max(1, x.numel() // max(1, x.shape[0] if x.dim() else 1))
        return functional.lsq_fake_quantize(
            x,
            self.step,
            low,
            high,
            offset=self.offset,
            activation=activation,
            rule=self.rule,
            grad_scale=None if self.rule == "pact" else 1.0 / math.sqrt(features * high),
            delta=self.delta,
            save="exact" if activation == "hardswish" else self.save,
        )

    def extra_repr(self) -> str:
        kind = self.rule if self.offset is None else "lsq+"
        return f"{super().extra_repr()}, {kind}"
