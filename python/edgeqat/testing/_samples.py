# SPDX-License-Identifier: Apache-2.0
"""Sample tensors that break kernels: odd shapes, every memory layout, ties, denormals, Inf."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

#: Lengths around the vector widths (4 to 64 elements), every rank up to 8, size-1 dimensions.
SHAPES: tuple[tuple[int, ...], ...] = (
    *((n,) for n in (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 67, 127, 257, 1023, 1025)),
    *((1, 1), (1, 5), (5, 1), (3, 7), (8, 8), (4, 16), (16, 3), (2, 65), (33, 31), (10, 100)),
    *((2, 3, 4), (1, 8, 1), (3, 5, 7), (2, 16, 9), (4, 1, 6), (6, 5, 4), (1, 32, 2)),
    *((2, 3, 4, 5), (1, 16, 7, 7), (2, 8, 3, 3), (4, 3, 8, 8), (8, 1, 3, 3), (1, 3, 9, 9)),
    *((2, 4, 4, 4), (3, 2, 1, 5), (2, 3, 2, 3, 2), (1, 4, 2, 5, 3), (2, 8, 3, 2, 2)),
    *((2, 1, 3, 2, 2, 2), (1, 2, 1, 2, 1, 2, 3), (2, 2, 2, 2, 2, 2, 2, 2)),
)

#: Code ranges of INT8, UINT8, narrow INT8, and the 4- and 2-bit types.
RANGES: tuple[tuple[int, int], ...] = (
    *((-128, 127), (0, 255), (-127, 127)),
    *((-8, 7), (0, 15), (-7, 7), (-2, 1), (0, 3)),
)

#: NaN, infinities, both zeros, denormals, and the largest and smallest normal float32.
SPECIAL_VALUES: tuple[float, ...] = (
    *(math.nan, math.inf, -math.inf, 0.0, -0.0),
    *(1e-45, -1e-45, 1e-39, -1e-39, 1.17549435e-38, 3.4028235e38, -3.4028235e38),
    *(1e14, -1e14, 2.0**24, -(2.0**31), 2.0**31),
)


def values(shape: tuple[int, ...], dtype: torch.dtype, scale: float, seed: int) -> Tensor:
    """Random values over and beyond 300 steps of `scale`; a quarter are ties, a few are special.

    A tie is `(k + 0.5) * scale`, which stays exact where `scale` is a power of two.

    Example:
        >>> values((2, 2), torch.bfloat16, scale=0.5, seed=0).dtype
        torch.bfloat16
    """
    generator = torch.Generator().manual_seed(seed)
    n = math.prod(shape)
    steps = torch.empty(n).uniform_(-300.0, 300.0, generator=generator)
    steps *= torch.rand(n, generator=generator)
    choice = torch.rand(n, generator=generator)
    steps = torch.where(choice < 0.25, steps.floor() + 0.5, steps)
    x = steps * scale
    special = torch.tensor(SPECIAL_VALUES)
    picked = special[torch.randint(len(special), (n,), generator=generator)]
    return torch.where(choice > 0.95, picked, x).reshape(shape).to(dtype)


@dataclass(frozen=True)
class QParams:
    """Arguments of the quantization ops for one tensor, except the mask.

    Example:
        >>> import edgeqat
        >>> q = QParams(torch.tensor([0.5]), torch.tensor([0], dtype=torch.int32), -8, 7, None, None)
        >>> edgeqat.functional.fake_quantize(torch.tensor([0.7]), *q.positional(), **q.options())
        tensor([0.5000])
    """

    scale: Tensor
    zero_point: Tensor
    qmin: int
    qmax: int
    axis: int | None
    group_size: int | None

    def positional(self) -> tuple[Tensor, Tensor, int, int]:
        """scale, zero_point, qmin, qmax."""
        return self.scale, self.zero_point, self.qmin, self.qmax

    def options(self) -> dict[str, int | None]:
        """axis and group_size by name."""
        return {"axis": self.axis, "group_size": self.group_size}


def qparams(shape: tuple[int, ...], granularity: str, seed: int) -> QParams:
    """Valid quantization parameters for `shape`: "tensor", "channel" or "group".

    The seed walks over the code ranges, the axes (from both ends) and power-of-two scales.

    Example:
        >>> qparams((4, 6), "channel", seed=1).axis
        -1
    """
    generator = torch.Generator().manual_seed(seed)
    qmin, qmax = RANGES[seed % len(RANGES)]
    axis = seed % len(shape) if seed % 2 == 0 else -1 - seed // 2 % len(shape)
    divisors = [d for d in range(1, shape[axis] + 1) if shape[axis] % d == 0]
    group_size = divisors[seed % len(divisors)]
    grouped = list(shape)
    grouped[axis] //= group_size
    qshape = {"tensor": (1,), "channel": (shape[axis],), "group": tuple(grouped)}[granularity]
    scale = torch.empty(qshape).uniform_(-6.0, 0.0, generator=generator).exp2()
    if seed % 3 == 0:
        scale = scale.log2().round().exp2()
    zero_point = torch.randint(qmin, qmax + 1, qshape, generator=generator, dtype=torch.int32)
    if seed % 4 == 0:
        zero_point = torch.zeros_like(zero_point)
    return QParams(
        scale,
        zero_point,
        qmin,
        qmax,
        axis=None if granularity == "tensor" else axis,
        group_size=group_size if granularity == "group" else None,
    )


def _step_two(x: Tensor) -> Tensor:
    wide = x.new_zeros(*x.shape[:-1], 2 * x.shape[-1])
    wide[..., ::2] = x
    return wide[..., ::2]


def _offset(x: Tensor) -> Tensor:
    # 3 elements: neither 16, 32 nor 64 bytes, so vector loads are not aligned
    storage = torch.cat([x.new_zeros(3), x.reshape(-1)])
    return storage[3:].view(x.shape)


def _padded_rows(x: Tensor) -> Tensor:
    wide = x.new_zeros(*x.shape[:-1], x.shape[-1] + 3)
    wide[..., 1:-2] = x
    return wide[..., 1:-2]


def _memory_order(x: Tensor, order: list[int]) -> Tensor:
    inverse = [order.index(i) for i in range(x.ndim)]
    return x.permute(order).contiguous().permute(inverse)


def _channels_last(x: Tensor) -> Tensor:
    return _memory_order(x, [0, *range(2, x.ndim), 1])


#: Name -> the same tensor in another memory layout ("expanded_*": its first slice, repeated).
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "offset": _offset,
    "step_two": _step_two,
    "padded_rows": _padded_rows,
    "expanded_first": lambda x: x[:1].expand(x.shape),
    "expanded_last": lambda x: x[..., :1].expand(x.shape),
    "transposed": lambda x: _memory_order(x, list(range(x.ndim))[::-1]),
    "last_first": lambda x: _memory_order(x, [x.ndim - 1, *range(x.ndim - 1)]),
    "channels_last": _channels_last,
}
_MINIMUM_RANK = {"expanded_last": 2, "transposed": 2, "last_first": 3, "channels_last": 3}


def layouts_of(shape: tuple[int, ...]) -> Iterator[str]:
    """Names of the layouts that differ for this rank: 5 for vectors, 7 for matrices, else 9.

    Example:
        >>> len(list(layouts_of((2, 3, 4))))
        9
    """
    return (name for name in LAYOUTS if len(shape) >= _MINIMUM_RANK.get(name, 1))
