# SPDX-License-Identifier: Apache-2.0
"""Small networks that every Python test shares, with a maker of inputs for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNet(nn.Module):
    """Convolution, batch normalization, residual sum, pooling, dropout: all as modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(x + self.bn2(self.conv2(x)))
        return self.fc(self.dropout(torch.flatten(self.pool(x), 1)))


class FunctionalConvNet(nn.Module):
    """The same arithmetic as ConvNet, with functions instead of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)
        for i in (1, 2):
            self.register_parameter(f"gamma{i}", nn.Parameter(torch.ones(8)))
            self.register_parameter(f"beta{i}", nn.Parameter(torch.zeros(8)))
            self.register_buffer(f"mean{i}", torch.zeros(8))
            self.register_buffer(f"var{i}", torch.ones(8))

    def norm(self, x: Tensor, i: int) -> Tensor:
        mean, var = getattr(self, f"mean{i}"), getattr(self, f"var{i}")
        gamma, beta = getattr(self, f"gamma{i}"), getattr(self, f"beta{i}")
        return F.batch_norm(x, mean, var, gamma, beta, training=self.training)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv1(x), 1))
        x = torch.relu(torch.add(x, self.norm(self.conv2(x), 2)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(F.dropout(x, 0.3, training=self.training))


class BasicBlock(nn.Module):
    """Residual block with the parameter-free shortcut (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.half = (outputs - inputs) // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.half, self.half))
        y += x
        return F.relu(y)


class ResNet20(nn.Module):
    """ResNet for CIFAR-10, `depth` blocks a stage (3: ResNet-20); keys as in the published weights."""

    def __init__(self, depth: int = 3, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._stage(depth, width, width, 1)
        self.layer2 = self._stage(depth, width, 2 * width, 2)
        self.layer3 = self._stage(depth, 2 * width, 4 * width, 2)
        self.linear = nn.Linear(4 * width, 10)

    @staticmethod
    def _stage(depth: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
        first = BasicBlock(inputs, outputs, stride)
        return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(depth - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.avg_pool2d(x, x.size()[3])
        return self.linear(x.view(x.size(0), -1))


class DepthwiseNet(nn.Module):
    """Depthwise-separable blocks with ReLU6 and hardswish."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.Hardswish(),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 16, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU6(inplace=True),
        )
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class SharedReluNet(nn.Module):
    """One in-place ReLU module and one convolution, each called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(x))
        x = self.relu(self.conv(x))
        return self.fc(x.mean((2, 3)))


class DictOutputNet(nn.Module):
    """Nested outputs: a dict with a tuple inside."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Any]:
        hidden = torch.tanh(self.body(x))
        return {"logits": self.head(hidden), "hidden": (hidden, hidden.sum(1))}


class KeywordNet(nn.Module):
    """Keyword-only, optional and nested arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(
        self,
        x: Tensor,
        scale: float = 1.0,
        extra: dict[str, Tensor] | None = None,
        *,
        mask: Tensor | None = None,
        double: bool = False,
    ) -> Tensor:
        y = self.fc(x) * scale
        if extra is not None:
            y = y + extra["bias"]
        if mask is not None:
            y = y.masked_fill(mask, 0.0)
        return y * 2 if double else y


class TinyLM(nn.Module):
    """Language model whose output layer shares the embedding's weight; causal attention by hand."""

    def __init__(self, vocabulary: int = 20, width: int = 8, context: int = 6) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(context, width) * 0.1)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.position[: ids.shape[1]]
        batch, length, width = x.shape
        q, k, v = (
            t.reshape(batch, length, 2, width // 2).transpose(1, 2)
            for t in self.qkv(self.norm(x)).chunk(3, dim=-1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(batch, length, width))
        return self.lm_head(x)


class Encoder(nn.Module):
    """torch.nn's transformer encoder: multi-head attention, GELU, layer norm."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, dropout=dropout, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x)[:, 0])


class PatchTransformer(nn.Module):
    """ViT-like: patches by convolution, class token, self-written attention with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.cls = nn.Parameter(torch.zeros(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.head((x + self.mlp(x))[:, 0])


class Recurrent(nn.Module):
    """Bidirectional two-layer LSTM or GRU with dropout between the layers."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU] = nn.LSTM) -> None:
        super().__init__()
        self.rnn = kind(4, 5, 2, batch_first=True, bidirectional=True, dropout=0.2)
        self.fc = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x)[0][:, -1])


class AudioNet(nn.Module):
    """One-dimensional convolutions with batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(2, 6, 5, stride=2, padding=2)
        self.bn1 = nn.BatchNorm1d(6)
        self.conv2 = nn.Conv1d(6, 6, 3, padding="same", dilation=2)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.bn1(self.conv1(x)), 0.1)
        return self.fc(F.max_pool1d(self.conv2(x), 2).mean(-1))


class UpNet(nn.Module):
    """Transposed convolution, concatenated skip, sigmoid output."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, 2, 1)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2)
        self.out = nn.Conv2d(7, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.up(F.relu(self.down(x))))
        return torch.sigmoid(self.out(torch.cat([x, y], 1)))


class VolumeNet(nn.Module):
    """Three spatial dimensions: convolution, depthwise and transposed, batch normalization, all poolings, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 6, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm3d(6)
        self.depthwise = nn.Conv3d(6, 6, (1, 3, 3), padding=(0, 1, 1), groups=6)
        self.up = nn.ConvTranspose3d(6, 4, 2, 2)
        self.dropout = nn.Dropout3d(0.1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv(x)))
        x = F.max_pool3d(F.relu(x + self.depthwise(x)), 2)
        x = self.dropout(F.relu(self.up(x)))
        x = F.avg_pool3d(x, (1, 2, 2))
        return self.fc(F.adaptive_avg_pool3d(x, (2, 1, 1)).flatten(1))


class ModeBranchNet(nn.Module):
    """Hostile: computes something else in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if self.training:
            y = y * 3.0
        return y


class ValueBranchNet(nn.Module):
    """Hostile: Python control flow on a tensor's value."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return self.fc(x)
        return -self.fc(x)


@dataclass(frozen=True)
class Case:
    """A model to test: `build()` is deterministic, `inputs(batch)` are arguments of its forward.

    exact: the captured graph computes the same bits (fused attention is written out, so it does not).
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    exact: bool = True
    integers: int = 0

    def model(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        model = self.build()
        with (
            torch.no_grad()
        ):  # statistics that differ from a fresh layer's, so that a swap would show
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.running_mean.uniform_(-0.3, 0.3)
                    module.running_var.uniform_(0.5, 1.5)
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.uniform_(-0.2, 0.2)
        return model

    def inputs(self, batch: int = 4, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if self.integers:
            return torch.randint(self.integers, (batch, *self.shape), generator=generator)
        return torch.randn(batch, *self.shape, generator=generator)


ZOO: dict[str, Case] = {
    "conv": Case(ConvNet, (3, 8, 8)),
    "functional": Case(FunctionalConvNet, (3, 8, 8)),
    "resnet20": Case(ResNet20, (3, 16, 16)),
    "depthwise": Case(DepthwiseNet, (3, 8, 8)),
    "shared_relu": Case(SharedReluNet, (3, 8, 8)),
    "dict_output": Case(DictOutputNet, (6,)),
    "tiny_lm": Case(TinyLM, (6,), exact=False, integers=20),
    "encoder": Case(Encoder, (5, 8), exact=False),
    "vit": Case(PatchTransformer, (3, 8, 8), exact=False),
    "lstm": Case(Recurrent, (6, 4)),
    "gru": Case(lambda: Recurrent(nn.GRU), (6, 4)),
    "audio": Case(AudioNet, (2, 16)),
    "up": Case(UpNet, (3, 8, 8)),
    "volume": Case(VolumeNet, (2, 4, 8, 8)),
}
