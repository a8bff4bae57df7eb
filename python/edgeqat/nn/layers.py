# SPDX-License-Identifier: Apache-2.0
"""Quantized forms of torch.nn layers for module mode; each keeps the parameters and names of the float layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgeqat.nn.quantizers import ActivationQuantizer, WeightQuantizer


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
        return F.linear(self._input(x), self._weight(), self.bias)


class QuantizedConv1d(_Quantized, nn.Conv1d):
    """`nn.Conv1d` over rounded input and weight. Shape: [N, C, L] -> [N, C', L']."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(self._input(x), self._weight(), self.bias)
        return y


class QuantizedConv2d(_Quantized, nn.Conv2d):
    """`nn.Conv2d` over rounded input and weight. Shape: [N, C, H, W] -> [N, C', H', W']."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(self._input(x), self._weight(), self.bias)
        return y


class QuantizedConvTranspose1d(_Quantized, nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` over rounded input and weight. Shape: [N, C, L] -> [N, C', L']."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        padding = self._output_padding(
            x,
            output_size,
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.kernel_size,  # type: ignore[arg-type]
            1,
            self.dilation,  # type: ignore[arg-type]
        )
        return F.conv_transpose1d(
            self._input(x),
            self._weight(),
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            padding,
            self.groups,
            self.dilation,
        )


class QuantizedConvTranspose2d(_Quantized, nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` over rounded input and weight. Shape: [N, C, H, W] -> [N, C', H', W']."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        padding = self._output_padding(
            x,
            output_size,
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            self.kernel_size,  # type: ignore[arg-type]
            2,
            self.dilation,  # type: ignore[arg-type]
        )
        return F.conv_transpose2d(
            self._input(x),
            self._weight(),
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            padding,
            self.groups,
            self.dilation,
        )


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
    nn.ConvTranspose1d: QuantizedConvTranspose1d,
    nn.ConvTranspose2d: QuantizedConvTranspose2d,
    nn.Embedding: QuantizedEmbedding,
}
