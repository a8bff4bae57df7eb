# SPDX-License-Identifier: Apache-2.0
"""The activations that the quantization kernels compute in the same pass, and their unfused forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Activation = Literal["relu", "relu6", "hardswish"]

#: Name in the ops -> the function that computes it alone.
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
}


def activate(x: Tensor, activation: Activation | None) -> Tensor:
    """The activation called `activation` of `x`, or `x` itself for None.

    Example:
        >>> import torch
        >>> activate(torch.tensor([-1.0, 7.0]), "relu6")
        tensor([0., 6.])
    """
    return x if activation is None else ACTIVATIONS[activation](x)
