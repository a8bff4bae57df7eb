# SPDX-License-Identifier: Apache-2.0
"""The small networks that the examples quantize: plain PyTorch, nothing of quantization in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters ("option A" of the ResNet paper)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.extra = (channels - in_channels) // 2  # zero channels on each side of the shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1 or self.extra:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(y + x)


class ResNet20(nn.Module):
    """ResNet-20 for 32x32 images: 269,722 parameters. (N, 3, 32, 32) to logits (N, 10)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1)
        self.layer2 = self._stage(16, 32, 2)
        self.layer3 = self._stage(32, 64, 2)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
        first = BasicBlock(in_channels, channels, stride)
        return nn.Sequential(
            first, BasicBlock(channels, channels, 1), BasicBlock(channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


class DigitsNet(nn.Module):
    """About 24,000 parameters for 8x8 digits: three convolutions, BatchNorm, a residual."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(channels * 4 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_bn(self.stem(x)))
        y = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(y)) + x)
        return self.linear(torch.flatten(self.pool(x), 1))


class FashionNet(nn.Module):
    """A small CNN for 28x28 grey images: four convolutions, BatchNorm, a residual."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * width)
        self.conv4 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.bn4 = nn.BatchNorm2d(2 * width)
        self.linear = nn.Linear(2 * width * 3 * 3, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        y = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(y)) + x)
        return self.linear(torch.flatten(F.max_pool2d(x, 2), 1))


class DSCNN(nn.Module):
    """MLPerf Tiny's keyword network: depthwise-separable, 64 channels, batch norms after all.

    (N, 1, 49, 10) features to logits (N, classes); 23,756 parameters for 12 classes.
    """

    def __init__(self, classes: int = 12, channels: int = 64) -> None:
        super().__init__()

        def norm() -> nn.BatchNorm2d:
            return nn.BatchNorm2d(channels, eps=1e-3)

        self.conv0 = nn.Conv2d(1, channels, (10, 4), stride=2)
        self.conv0_bn = norm()
        for i in range(1, 5):
            depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
            self.add_module(f"dw{i}", depthwise)
            self.add_module(f"dw{i}_bn", norm())
            self.add_module(f"pw{i}", nn.Conv2d(channels, channels, 1))
            self.add_module(f"pw{i}_bn", norm())
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 4, 5))  # TensorFlow's SAME at stride 2: one row more below than above
        x = F.relu(self.conv0_bn(self.conv0(x)))
        for i in range(1, 5):
            for layer in (f"dw{i}", f"pw{i}"):
                x = getattr(self, layer)(x)
                x = F.relu(getattr(self, f"{layer}_bn")(x))
        return self.fc(x.mean(dim=(2, 3)))
