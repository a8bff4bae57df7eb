# SPDX-License-Identifier: Apache-2.0
"""The modules that simulate integers: one for a weight, one for an activation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgeqat import functional
from edgeqat.nn.activations import Activation, activate
from edgeqat.quantization.spec import QuantSpec


def _recomputing() -> bool:
    """Whether this forward runs inside a backward pass, as `torch.utils.checkpoint` does to recompute.

    Ranges seen then were seen before: counting them twice would change the moving average.
    """
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


class Quantizer(nn.Module):
    """What both quantizers share: a spec, `scale` and `zero_point` of fixed shape, and an on/off switch.

    `flags` is a buffer, so that a checkpoint restores the switches; Python attributes mirror it, because a value read
    from a tensor in `forward` would break the compiled graph.

    Example:
        >>> quantizer = WeightQuantizer(QuantSpec(4), (2, 3))
        >>> quantizer.set_flags(enabled=False)
        >>> quantizer
        WeightQuantizer(int4, symmetric, per tensor, off)
    """

    scale: Tensor
    zero_point: Tensor
    flags: Tensor

    def __init__(self, spec: QuantSpec, scale_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("scale", torch.ones(scale_shape, dtype=torch.float32))
        self.register_buffer("zero_point", torch.zeros(scale_shape, dtype=torch.int32))
        self.register_buffer("flags", torch.ones(2, dtype=torch.uint8))
        self.enabled = True
        self.observing = True
        self._limits = (spec.qmin, spec.qmax)  # computed properties of the spec: 0.5 us a call

    def set_flags(self, *, enabled: bool | None = None, observing: bool | None = None) -> None:
        """Switch rounding (`enabled`) and range tracking (`observing`) on or off."""
        self.enabled = self.enabled if enabled is None else enabled
        self.observing = self.observing if observing is None else observing
        self.flags.copy_(torch.tensor([self.enabled, self.observing], dtype=torch.uint8))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any, **keywords: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments, **keywords)
        self.enabled, self.observing = (bool(flag) for flag in self.flags.tolist())

    def extra_repr(self) -> str:
        where = "" if self.spec.axis is None else f", axis={self.spec.axis}"
        group = "" if self.spec.group_size is None else f", group_size={self.spec.group_size}"
        off = "" if self.enabled else ", off"
        kind = "symmetric" if self.spec.symmetric else "affine"
        return f"int{self.spec.bits}, {kind}, per {self.spec.granularity}{where}{group}{off}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


class WeightQuantizer(Quantizer):
    """Fake-quantizes a weight; the scale follows the weight's largest magnitude at every call.

    Formula: ``scale = max|w| / ((qmax - qmin) / 2)`` over the tensor, channel or group, then `functional.fake_quantize`.

    Args of forward: the weight; where a BatchNorm follows, its gamma and the axis of the weight's output channels, along
    which the codes -8..7 become -7..8 where gamma is negative, so that gamma can be folded into the scale.

    Shape: weight -> the same shape and dtype.

    Example:
        >>> quantizer = WeightQuantizer(QuantSpec(8, granularity="channel", axis=0, narrow_range=True), (2, 3))
        >>> quantizer(torch.tensor([[127.0, 0.4, 0.6], [0.0, 0.0, 0.0]]))
        tensor([[127.,   0.,   1.],
                [  0.,   0.,   0.]])
    """

    def __init__(self, spec: QuantSpec, shape: tuple[int, ...]) -> None:
        super().__init__(spec, spec.scale_shape(tuple(shape)))
        # where the fused op writes the range of one call; no state, so not in the state_dict
        scales = self.scale.numel() if spec.group_size is None else 0
        self.register_buffer("_low", torch.full((scales,), math.inf), persistent=False)
        self.register_buffer("_high", torch.full((scales,), -math.inf), persistent=False)
        self.register_buffer("_count", torch.zeros(2, dtype=torch.int64), persistent=False)

    def _ranges(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        axis, group = self.spec.axis, self.spec.group_size
        if axis is None:
            low, high = torch.aminmax(weight)
        elif group is None:
            low, high = torch.aminmax(weight.movedim(axis, 0).flatten(1), dim=1)
        else:
            grouped = weight.unflatten(axis, (-1, group))  # type: ignore[no-untyped-call]
            low, high = torch.aminmax(grouped, dim=axis % weight.dim() + 1)
        shape = self.scale.shape
        return low.float().reshape(shape), high.float().reshape(shape)

    def choose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point for `weight`, which also become the buffers."""
        with torch.no_grad():
            low, high = self._ranges(weight.detach())
            scale, zero_point = functional.choose_qparams(
                low, high, self.spec.qmin, self.spec.qmax, symmetric=self.spec.symmetric
            )
            if not torch.compiler.is_exporting():
                self.scale.copy_(scale)
                self.zero_point.copy_(zero_point)
        return scale, zero_point

    @staticmethod
    def signs(weight: Tensor, gamma: Tensor, axis: int) -> Tensor:
        """-1 where `gamma`, the factor that BatchNorm will fold into the scale, is negative, else 1.

        `axis` is that of the output channels, which the groups of a linear layer do not lie along. Shape: of `weight`
        with every other axis 1.
        """
        shape = [1] * weight.dim()
        shape[axis] = -1
        return torch.where(gamma.detach() < 0, -1.0, 1.0).to(weight.dtype).reshape(shape)

    def _quantize(self, weight: Tensor) -> Tensor:
        """Rounds to the grid of the weight's own range."""
        spec = self.spec
        low, high = self._limits
        if spec.group_size is not None or torch.compiler.is_compiling():
            scale, zero_point = self.choose(weight)
            return functional.fake_quantize(
                weight, scale, zero_point, low, high, axis=spec.axis, group_size=spec.group_size
            )
        # one op instead of nine; without a range, it takes that of what it quantizes
        state = self._buffers
        lowest, highest = state["_low"], state["_high"]
        lowest.fill_(math.inf)  # type: ignore[union-attr]
        highest.fill_(-math.inf)  # type: ignore[union-attr]
        return functional.observe_fake_quantize_(
            weight,
            lowest,  # type: ignore[arg-type]
            highest,  # type: ignore[arg-type]
            state["_count"],  # type: ignore[arg-type]
            state["scale"],  # type: ignore[arg-type]
            state["zero_point"],  # type: ignore[arg-type]
            low,
            high,
            spec.symmetric,
            axis=spec.axis,
        )

    @property
    def rounds_again(self) -> bool:
        """Whether `rounding` can repeat a call: while training, for the rules that have such a function."""
        return self.training and self.enabled and type(self) is WeightQuantizer

    def learned(self) -> tuple[Tensor, ...]:
        """What training learns beside the weight."""
        return ()

    def rounding(
        self, weight: Tensor, gamma: Tensor | None = None, axis: int = 0
    ) -> Callable[..., Tensor]:
        """The call that was just made as a function of the weight and of `learned`, to be repeated in backward.

        It holds copies of all else, so that it does not change when the module does.
        """
        spec, (low, high) = self.spec, self._limits
        scale, zero_point = self.scale.clone(), self.zero_point.clone()
        signs = None if gamma is None else self.signs(weight, gamma, axis)

        def again(weight: Tensor) -> Tensor:
            value = functional.fake_quantize(
                weight if signs is None else weight * signs,
                scale,
                zero_point,
                low,
                high,
                axis=spec.axis,
                group_size=spec.group_size,
            )
            return value if signs is None else value * signs

        return again

    def forward(self, weight: Tensor, gamma: Tensor | None = None, axis: int = 0) -> Tensor:
        if not self.enabled:
            return weight
        # Codes -8..7 are not symmetric: folding a negative gamma would turn -8 into +8, so sign(gamma) * w is rounded.
        signs = None if gamma is None else self.signs(weight, gamma, axis)
        if signs is None:
            return self._quantize(weight)
        return self._quantize(weight * signs) * signs

    def codes(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Integer codes of `weight` (int8), with their scale and zero point."""
        return self.codes_on(weight, *self.choose(weight))

    def codes_on(
        self, weight: Tensor, scale: Tensor, zero_point: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same on a grid that is given, such as that of a file."""
        spec = self.spec
        codes = functional.quantize(
            weight,
            scale,
            zero_point,
            spec.qmin,
            spec.qmax,
            axis=spec.axis,
            group_size=spec.group_size,
        )
        return codes, scale, zero_point


class ActivationQuantizer(Quantizer):
    """Fake-quantizes an activation with a range that it tracks while training or calibrating.

    While training the range is a moving average (weight `averaging` for a new batch), and a batch is quantized with the
    range of the batches before it, the first one with its own: `functional.observe_fake_quantize_`, one read of the
    tensor. `calibrate` uses the plain minimum and maximum. In `eval()` the range stands still. Non-finite values are
    skipped and counted.

    Args:
        spec: format, granularity "tensor".
        averaging: weight of a new batch in the moving average.
        fixed_range: (lowest, highest value) known beforehand, such as (0, 1) for softmax; then nothing is tracked.

    Args of forward: the tensor, and "relu", "relu6" or "hardswish" for an activation to compute in the same pass.

    Shape: any -> the same shape and dtype.

    Example:
        >>> quantizer = ActivationQuantizer(QuantSpec(8, symmetric=False), fixed_range=(0.0, 1.0))
        >>> quantizer(torch.tensor([0.5]))
        tensor([0.5000])
    """

    min_val: Tensor
    max_val: Tensor
    count: Tensor

    def __init__(
        self,
        spec: QuantSpec,
        averaging: float = 0.01,
        fixed_range: tuple[float, float] | None = None,
    ) -> None:
        if spec.granularity != "tensor":
            raise ValueError(
                f"ActivationQuantizer: granularity must be 'tensor', found {spec.granularity!r}"
            )
        super().__init__(spec, (1,))
        self.averaging = averaging
        self.fixed_range = fixed_range
        self.calibrating = False
        self._seen = (
            fixed_range is not None
        )  # `ready` without reading a tensor, which would break a compiled graph
        self.register_buffer("min_val", torch.full((1,), math.inf))
        self.register_buffer("max_val", torch.full((1,), -math.inf))
        self.register_buffer("count", torch.zeros(2, dtype=torch.int64))
        if fixed_range is not None:
            # [0, 1] has the step 1 / 2^bits (not 1 / (2^bits - 1)): a power of two, as TFLite fixes it for softmax
            low, high = fixed_range
            self.scale.fill_((high - low) / (1 << spec.bits))
            self.zero_point.fill_(spec.qmin if low == 0.0 else 0)
            self.observing = False
            self.set_flags()

    @property
    def ready(self) -> bool:
        """Whether a range is known."""
        return self.fixed_range is not None or int(self.count[0]) > 0

    def reset(self) -> None:
        """Forget the range."""
        if self.fixed_range is None:
            self.min_val.fill_(math.inf)
            self.max_val.fill_(-math.inf)
            self.count.zero_()
            self._seen = False

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any, **keywords: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments, **keywords)
        self._seen = self.ready

    def _observe(self, x: Tensor) -> None:
        with torch.no_grad():
            functional.observe_minmax_(
                x.detach(),
                self.min_val,
                self.max_val,
                self.count,
                averaging=None if self.calibrating else self.averaging,
            )
            scale, zero_point = functional.choose_qparams(
                self.min_val,
                self.max_val,
                self.spec.qmin,
                self.spec.qmax,
                symmetric=self.spec.symmetric,
            )
            self.scale.copy_(scale)
            self.zero_point.copy_(zero_point)

    def _observe_and_quantize(self, x: Tensor, activation: Activation | None) -> Tensor:
        state = self._buffers  # Module.__getattr__ costs 0.5 us for each of the five
        low, high = self._limits
        if not self._seen:
            self._seen = True
        return functional.observe_fake_quantize_(
            x,
            state["min_val"],  # type: ignore[arg-type]
            state["max_val"],  # type: ignore[arg-type]
            state["count"],  # type: ignore[arg-type]
            state["scale"],  # type: ignore[arg-type]
            state["zero_point"],  # type: ignore[arg-type]
            low,
            high,
            self.spec.symmetric,
            self.averaging,
            activation=activation,
        )

    def forward(self, x: Tensor, activation: Activation | None = None) -> Tensor:
        if self.observing and (self.training or self.calibrating) and not _recomputing():
            if self.enabled and not self.calibrating:
                return self._observe_and_quantize(x, activation)
            self._observe(activate(x.detach(), activation))
            self._seen = True
        if not self.enabled:
            return activate(x, activation)
        if not self._seen:
            raise RuntimeError(
                "edgeqat: an activation quantizer has seen no data, so its scale means nothing; call "
                "edgeqat.calibrate(student, batches), or train first"
            )
        return functional.fake_quantize(
            x,
            self.scale,
            self.zero_point,
            self.spec.qmin,
            self.spec.qmax,
            activation=activation,
        )
