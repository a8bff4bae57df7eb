# SPDX-License-Identifier: Apache-2.0
"""Oscillation: watches weights that jump between two codes, damps and freezes them."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from tabulate import tabulate
from torch import Tensor, nn

from edgeqat import functional
from edgeqat.graph.model import QuantizedModel
from edgeqat.nn.learned import LearnedWeightQuantizer
from edgeqat.nn.quantizers import WeightQuantizer
from edgeqat.nn.weight_rules import DorefaWeightQuantizer, TernaryWeightQuantizer

#: A weight with a higher frequency than this counts as oscillating in reports (Nagel et al. 2022, table 1).
OSCILLATING = 0.005


@dataclass(frozen=True)
class LayerOscillation:
    """What `Oscillation.report` says about one weight: shares of its elements, 0 to 1.

    Example:
        >>> LayerOscillation("fc.weight", 100, 0.25, 0.0)
        LayerOscillation(name='fc.weight', elements=100, oscillating=0.25, frozen=0.0)
    """

    name: str
    elements: int
    oscillating: float
    frozen: float


class OscillationReport(list[LayerOscillation]):
    """One row a weight; prints as a table.

    Example:
        >>> print(OscillationReport([LayerOscillation("fc.weight", 100, 0.25, 0.0)]))
        weight       elements  oscillating    frozen
        ---------  ----------  -------------  --------
        fc.weight         100  25.00 %        0.00 %
    """

    def __str__(self) -> str:
        rows = [
            (r.name, r.elements, f"{100 * r.oscillating:.2f} %", f"{100 * r.frozen:.2f} %")
            for r in self
        ]
        return tabulate(rows, ["weight", "elements", "oscillating", "frozen"])


class _WeightState(nn.Module):
    """Counters of one weight, buffers of its shape."""

    codes: Tensor
    direction: Tensor
    frequency: Tensor
    mean_code: Tensor
    frozen: Tensor

    def __init__(self, weight: Tensor, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes.clone())
        self.register_buffer("direction", torch.zeros_like(codes))
        self.register_buffer("frequency", torch.zeros_like(weight, dtype=torch.float32))
        self.register_buffer("mean_code", codes.float())
        self.register_buffer("frozen", torch.zeros_like(codes, dtype=torch.bool))


def _cosine(ends: float | tuple[float, float], progress: float) -> float:
    if isinstance(ends, (int, float)):
        return float(ends)
    start, end = ends
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * progress))


def _checked(name: str, value: Any, most: float) -> Any:
    """`value`, a number or a pair of numbers from 0 to `most`; a pair as a tuple."""
    pair = isinstance(value, (tuple, list))
    ends = tuple(value) if pair else (value,)
    if len(ends) != 1 + pair or not all(
        isinstance(end, (int, float)) and not isinstance(end, bool) and 0.0 <= end <= most
        for end in ends
    ):
        limits = "finite and 0 or more" if most > 1.0 else f"0 to {most:g}"
        raise ValueError(
            f"Oscillation: {name} must be a number or a (start, end) pair, {limits}, found {value!r}"
        )
    return ends if pair else value


class Oscillation(nn.Module):
    """Counts, damps and freezes oscillating weights of a prepared model; call `step` after every optimizer step.

    A weight oscillates when its integer code changes against the direction of its last change. Its frequency is a moving
    average of that event; above the threshold of `freeze` the weight stays at its mean code for the rest of training.

    Args:
        model: from `prepare`; every weight of fewer than 8 bits is watched whose code is ``round(weight / step)``, so not
            those of DoReFa and ternary weights. The steps of 8 bits are so fine that plain learning turns their codes back
            and forth, and freezing would stop it.
        momentum: weight of the last step in frequencies and mean codes.
        freeze: frequency above which a weight is frozen; None never freezes. A pair (start, end) follows a cosine over
            `total_steps`; the paper uses (0.04, 0.01) for 4 bits and (0.02, 0.01) for 3.
        dampen: weight of the pull of every weight towards its grid point, added to its gradient; a number or a pair
            (start, end), usually (0.0, 1e-3). Needs learned weight quantizers. Under `torch.compile` give a number: it is a
            constant of the compiled code, and a pair, which changes at every step, would compile at every step.
        total_steps: optimizer steps of the whole training; needed for pairs.

    Raises:
        ValueError: the model has no such weights, a pair without `total_steps`, a number out of range, or `dampen` without a
            learned weight quantizer.

    Source: Nagel et al., Overcoming Oscillations in Quantization-Aware Training, ICML 2022.

    Example:
        >>> import edgeqat, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> recipe = edgeqat.Recipe(weight_bits=4, first_last_bits=None)
        >>> student = edgeqat.prepare(model, recipe, torch.randn(2, 4))
        >>> _ = edgeqat.calibrate(student, [torch.randn(8, 4)])
        >>> oscillation = Oscillation(student, freeze=(0.04, 0.01), total_steps=100)
        >>> optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
        >>> student(torch.randn(8, 4)).square().sum().backward()
        >>> optimizer.step()
        >>> oscillation.step()
        >>> [row.name for row in oscillation.report()]
        ['0.weight']
    """

    steps: int
    _watched: dict[str, Watched]

    def __init__(
        self,
        model: nn.Module,
        *,
        momentum: float = 0.01,
        freeze: float | tuple[float, float] | None = None,
        dampen: float | tuple[float, float] = 0.0,
        total_steps: int | None = None,
    ) -> None:
        super().__init__()
        freeze = None if freeze is None else _checked("freeze", freeze, 1.0)
        dampen = _checked("dampen", dampen, sys.float_info.max)
        if total_steps is None and (isinstance(freeze, tuple) or isinstance(dampen, tuple)):
            raise ValueError("Oscillation: a (start, end) pair needs total_steps")
        if total_steps is not None and not (isinstance(total_steps, int) and total_steps >= 1):
            raise ValueError(
                f"Oscillation: total_steps must be a whole number from 1 on, found {total_steps}"
            )
        if not 0.0 < momentum <= 1.0:
            raise ValueError(f"Oscillation: momentum must be in (0, 1], found {momentum}")
        self.momentum, self.freeze, self.dampen = momentum, freeze, dampen
        self.total_steps = total_steps
        self.steps = 0  # not a buffer: asking a device for it would wait for the device
        # a plain dict keeps the model out of this module's own parameters and state_dict
        self.__dict__["_watched"] = {
            name: watched
            for name, watched in watched_weights(model).items()
            if watched.quantizer.spec.bits < 8
            and not isinstance(watched.quantizer, (DorefaWeightQuantizer, TernaryWeightQuantizer))
        }
        if not self._watched:
            raise ValueError(
                "Oscillation: the model has no quantized weights of fewer than 8 bits on a uniform grid; call edgeqat.prepare "
                "first, with weight_quantizer 'minmax', 'lsq' or 'power_of_two'"
            )
        self.states = nn.ModuleDict()
        for name, watched in self._watched.items():
            value, _ = watched.value()
            codes, _, _ = watched.quantizer.codes(value)
            self.states[name.replace(".", "/")] = _WeightState(value, codes)
        self._set_damping(0.0)

    def _state(self, name: str) -> _WeightState:
        return self.states[name.replace(".", "/")]  # type: ignore[return-value]

    @property
    def progress(self) -> float:
        """Share of `total_steps` that is done, 0 to 1."""
        return min(1.0, self.steps / self.total_steps) if self.total_steps else 0.0

    def get_extra_state(self) -> Tensor:
        """The steps taken, for `state_dict`."""
        return torch.tensor([self.steps])

    def set_extra_state(self, state: Tensor) -> None:
        """The steps taken, from `load_state_dict`; schedules go on from there."""
        self.steps = int(state)
        self._set_damping(self.progress)

    def _set_damping(self, progress: float) -> None:
        damping = _cosine(self.dampen, progress)
        quantizers = [watched.quantizer for watched in self._watched.values()]
        learned = [q for q in quantizers if isinstance(q, LearnedWeightQuantizer)]
        if damping and not learned:
            raise ValueError(
                "Oscillation: dampen needs learned weight quantizers (weight_quantizer='lsq' in the recipe)"
            )
        for quantizer in learned:
            quantizer.damping = damping

    @torch.no_grad()
    def step(self) -> None:
        """Take the weights as the optimizer left them into the counters, and freeze those that oscillate too often."""
        self.steps += 1
        progress = self.progress
        threshold = None if self.freeze is None else _cosine(self.freeze, progress)
        for name, watched in self._watched.items():
            state, quantizer = self._state(name), watched.quantizer
            value, signs = watched.value()
            scale, zero_point = quantizer.choose(value)
            functional.oscillation_update_(
                value,
                scale,
                zero_point,
                quantizer.spec.qmin,
                quantizer.spec.qmax,
                state.codes,
                state.direction,
                state.frequency,
                state.mean_code,
                state.frozen,
                axis=quantizer.spec.axis,
                group_size=quantizer.spec.group_size,
                momentum=self.momentum,
                freeze_threshold=threshold,
            )
            if signs is not None:
                watched.weight.copy_(
                    value * signs
                )  # the frozen ones are held, also after `freeze` ended
        self._set_damping(progress)

    def report(self) -> OscillationReport:
        """The share of elements of every weight that oscillate (frequency above 0.005, not frozen) and that are frozen."""
        rows = OscillationReport()
        for name in self._watched:
            state = self._state(name)
            active = (state.frequency > OSCILLATING) & ~state.frozen
            rows.append(
                LayerOscillation(
                    name,
                    state.codes.numel(),
                    float(active.double().mean()),
                    float(state.frozen.double().mean()),
                )
            )
        return rows


class Watched(NamedTuple):
    """A weight whose codes can be counted."""

    weight: nn.Parameter
    quantizer: WeightQuantizer
    gamma: Tensor | None  # of the BatchNorm behind: where it is negative, -weight is rounded
    axis: int  # of the weight's output channels

    def value(self) -> tuple[Tensor, Tensor | None]:
        """What the quantizer rounds, and the signs that the weight was multiplied by."""
        weight = self.weight.detach()
        if self.gamma is None:
            return weight, None
        signs = self.quantizer.signs(weight, self.gamma, self.axis)
        return weight * signs, signs


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside torch.compile's and the data-parallel wrappers, so that names do not depend on them."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def watched_weights(model: nn.Module) -> dict[str, Watched]:
    """The parameters of `model` that a weight quantizer reads, by name.

    Weights that are multiplied by a BatchNorm's factor before they are rounded (batch_norm="folded") are left out: their
    code belongs to the product.
    """
    model = _unwrapped(model)
    parameters = dict(model.named_parameters())
    computed: set[str] = set()
    gammas: dict[str, tuple[Tensor, int]] = {}
    prefixes: dict[str, str] = {}  # of quantizers in a prepared model that is part of a larger one
    for name, part in model.named_modules():
        prefix = f"{name}." if name else ""
        for node in part.graph.nodes if isinstance(part, QuantizedModel) else ():
            if node.op != "call_module" or not node.args:
                continue
            path = f"{prefix}{node.target}"
            prefixes[path] = prefix
            if getattr(node.args[0], "op", "") != "get_attr":
                computed.add(path)
            elif len(node.args) > 1 and getattr(node.args[1], "op", "") == "get_attr":
                gamma, axis = node.args[1:]
                gammas[path] = attrgetter(str(gamma.target))(part), axis
    found: dict[str, Watched] = {}
    for path, module in model.named_modules():
        if not isinstance(module, WeightQuantizer) or path in computed:
            continue
        if path in prefixes:
            prefix = prefixes[path]
            name = prefix + path.removeprefix(f"{prefix}quantizers.")
        else:  # module mode: layer.weight_quantizer
            name = f"{path.rpartition('.')[0]}.weight".lstrip(".")
        if name in parameters:
            found[name] = Watched(parameters[name], module, *gammas.get(path, (None, 0)))
    return found
