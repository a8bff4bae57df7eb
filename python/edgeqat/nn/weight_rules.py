# SPDX-License-Identifier: Apache-2.0
"""Weight quantizers whose grid follows the weight by a rule of its own: DoReFa and ternary weights."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeqat import functional
from edgeqat.nn.quantizers import WeightQuantizer
from edgeqat.quantization.spec import QuantSpec


class DorefaWeightQuantizer(WeightQuantizer):
    """DoReFa-style weights: squashed by tanh to [-1, 1], then rounded with the step ``1 / qmax``.

    Formula: `functional.dorefa_fake_quantize`. The values are those of the squashed weight, so the layer needs a BatchNorm
    behind it, or training, to find its scale again.

    Source: Zhou et al., DoReFa-Net, 2016.

    Example:
        >>> quantizer = DorefaWeightQuantizer(QuantSpec(2, narrow_range=True), (1, 3))
        >>> quantizer(torch.tensor([[0.1, -0.4, 2.0]]))
        tensor([[0., 0., 1.]])
    """

    def choose(self, weight: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The constant step ``1 / qmax``."""
        with torch.no_grad():
            scale = torch.full_like(self.scale, 1.0 / self.spec.qmax)
            if not torch.compiler.is_exporting():
                self.scale.copy_(scale)
        return scale, self.zero_point

    def forward(self, weight: Tensor, gamma: Tensor | None = None, axis: int = 0) -> Tensor:
        if not self.enabled:
            return weight
        self.choose(weight)
        spec = self.spec
        signs = None if gamma is None else self.signs(weight, gamma, axis)
        value = functional.dorefa_fake_quantize(
            weight if signs is None else weight * signs,
            spec.qmin,
            spec.qmax,
            axis=spec.axis,
            group_size=spec.group_size,
        )
        return value if signs is None else value * signs

    def codes(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Integer codes of the squashed weight, with their scale and zero point."""
        scale, zero_point = self.choose(weight)
        spec = self.spec
        value = functional.dorefa_fake_quantize(
            weight.detach(), spec.qmin, spec.qmax, axis=spec.axis, group_size=spec.group_size
        )
        return torch.round(value * spec.qmax).to(torch.int8), scale, zero_point


class TernaryWeightQuantizer(WeightQuantizer):
    """Weights of three values, ``-scale, 0, scale``: zero below 0.7 times the mean magnitude.

    Formula: `functional.ternary_fake_quantize`. Stored in 2 bits.

    Source: Li et al., Ternary Weight Networks, 2016.

    Example:
        >>> quantizer = TernaryWeightQuantizer(QuantSpec(2, narrow_range=True), (1, 4))
        >>> quantizer(torch.tensor([[1.0, -3.0, 0.5, 0.0]]))
        tensor([[ 2., -2.,  0.,  0.]])
    """

    def __init__(self, spec: QuantSpec, shape: tuple[int, ...]) -> None:
        if spec.bits != 2:
            raise ValueError(f"TernaryWeightQuantizer: three values take 2 bits, found {spec.bits}")
        super().__init__(spec, shape)

    def _ternary(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        value, scale = functional.ternary_fake_quantize(
            weight, axis=self.spec.axis, group_size=self.spec.group_size
        )
        if not torch.compiler.is_exporting():
            with torch.no_grad():
                self.scale.copy_(scale)
        return value, scale

    def forward(self, weight: Tensor, gamma: Tensor | None = None, axis: int = 0) -> Tensor:  # noqa: ARG002
        # the three values are symmetric: the sign of gamma, which BatchNorm folds into the scale, changes nothing
        return self._ternary(weight)[0] if self.enabled else weight

    def choose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The scale of `weight`, which also becomes the buffer."""
        return self._ternary(weight.detach())[1], self.zero_point

    def codes(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes -1, 0, 1 with their scale and zero point."""
        value, scale = self._ternary(weight.detach())
        return torch.sign(value).to(torch.int8), scale, self.zero_point
