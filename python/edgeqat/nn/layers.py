# SPDX-License-Identifier: Apache-2.0
"""Quantized forms of torch.nn layers for module mode; each keeps the parameters and names of the float layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeqat.nn.quantizers import ActivationQuantizer, WeightQuantizer
from edgeqat.ops import _recompute


class _Quantized(nn.Module):
    weight: Tensor
    weight_quantizer: WeightQuantizer | None
    input_quantizer: ActivationQuantizer | None

    def _weight(self) -> Tensor:
        return self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)

    def _input(self, x: Tensor) -> Tensor:
        return x if self.input_quantizer is None else self.input_quantizer(x)

    def __repr__(self) -> str:
        helpers = [
            m.extra_repr() for m in (self.weight_quantizer, self.input_quantizer) if m is not None
        ]
        return f"{type(self).__name__}({self.extra_repr()}; {'; '.join(helpers)})"


class QuantizedLinear(_Quantized, nn.Linear):
    """`nn.Linear` over rounded input and weight. Shape: [..., in_features] -> [..., out_features]."""

    def forward(self, x: Tensor) -> Tensor:
        x = self._input(x)
        if self.weight_quantizer is None:
            return F.linear(x, self.weight, self.bias)
        linear = torch.ops.aten.linear.default
        return _recompute.weighted(linear, self.weight_quantizer, (self.weight,), x, self.bias)


class _QuantizedConv(_Quantized):
    _conv_forward: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(self._input(x), self._weight(), self.bias)


class QuantizedConv1d(_QuantizedConv, nn.Conv1d):
    """`nn.Conv1d` over rounded input and weight. Shape: [N, C, L] -> [N, C', L']."""


class QuantizedConv2d(_QuantizedConv, nn.Conv2d):
    """`nn.Conv2d` over rounded input and weight. Shape: [N, C, H, W] -> [N, C', H', W']."""


class QuantizedConv3d(_QuantizedConv, nn.Conv3d):
    """`nn.Conv3d` over rounded input and weight. Shape: [N, C, D, H, W] -> [N, C', D', H', W']."""


class _QuantizedConvTranspose(_Quantized):
    _function: ClassVar[Callable[..., Tensor]]
    _output_padding: Callable[..., list[int]]
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: str | tuple[int, ...]
    kernel_size: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        padding = self._output_padding(
            x,
            output_size,
            self.stride,
            self.padding,
            self.kernel_size,
            len(self.kernel_size),
            self.dilation,
        )
        return self._function(
            self._input(x),
            self._weight(),
            self.bias,
            self.stride,
            self.padding,
            padding,
            self.groups,
            self.dilation,
        )


class QuantizedConvTranspose1d(_QuantizedConvTranspose, nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` over rounded input and weight. Shape: [N, C, L] -> [N, C', L']."""

    _function = staticmethod(F.conv_transpose1d)


class QuantizedConvTranspose2d(_QuantizedConvTranspose, nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` over rounded input and weight. Shape: [N, C, H, W] -> [N, C', H', W']."""

    _function = staticmethod(F.conv_transpose2d)


class QuantizedConvTranspose3d(_QuantizedConvTranspose, nn.ConvTranspose3d):
    """`nn.ConvTranspose3d` over rounded input and weight. Shape: [N, C, D, H, W] -> [N, C', D', H', W']."""

    _function = staticmethod(F.conv_transpose3d)


class QuantizedEmbedding(_Quantized, nn.Embedding):
    """`nn.Embedding` over a rounded table. Shape: [...] indices -> [..., embedding_dim]."""

    def forward(self, indices: Tensor) -> Tensor:
        return F.embedding(
            indices,
            self._weight(),
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )


QUANTIZED_LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: QuantizedLinear,
    nn.Conv1d: QuantizedConv1d,
    nn.Conv2d: QuantizedConv2d,
    nn.Conv3d: QuantizedConv3d,
    nn.ConvTranspose1d: QuantizedConvTranspose1d,
    nn.ConvTranspose2d: QuantizedConvTranspose2d,
    nn.ConvTranspose3d: QuantizedConvTranspose3d,
    nn.Embedding: QuantizedEmbedding,
}
