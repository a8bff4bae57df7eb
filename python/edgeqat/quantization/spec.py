# SPDX-License-Identifier: Apache-2.0
"""QuantSpec: the number format of one tensor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Granularity = Literal["tensor", "channel", "group"]
MIN_BITS, MAX_BITS = 2, 8


@dataclass(frozen=True)
class QuantSpec:
    """Signed integer codes ``q`` in ``[qmin, qmax]`` that stand for ``(q - zero_point) * scale``.

    Args:
        bits: width of a code, 2 to 8.
        symmetric: the zero point is 0 and the range is centred on it.
        granularity: one scale for the tensor, for each index of ``axis`` ("channel"), or for each
            run of ``group_size`` values along ``axis`` ("group").
        axis: the channel or group axis; None for "tensor".
        group_size: values that share one scale; only for "group".
        narrow_range: leave out the lowest code, so that the range is symmetric: -127..127, -7..7.

    Raises:
        ValueError: a field is out of range or contradicts another one.

    Example:
        >>> spec = QuantSpec(bits=4, granularity="channel", axis=0)
        >>> spec.qmin, spec.qmax
        (-8, 7)
    """

    bits: int
    symmetric: bool = True
    granularity: Granularity = "tensor"
    axis: int | None = None
    group_size: int | None = None
    narrow_range: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or not MIN_BITS <= self.bits <= MAX_BITS:
            raise ValueError(f"QuantSpec: bits must be an integer in 2..8, found {self.bits!r}")
        if self.granularity not in ("tensor", "channel", "group"):
            raise ValueError(
                "QuantSpec: granularity must be 'tensor', 'channel' or 'group', "
                f"found {self.granularity!r}"
            )
        if (self.axis is None) != (self.granularity == "tensor"):
            raise ValueError(
                f"QuantSpec: granularity {self.granularity!r} and axis {self.axis!r} contradict each "
                "other; give an axis for 'channel' and 'group', none for 'tensor'"
            )
        if (self.group_size is None) == (self.granularity == "group"):
            raise ValueError(
                f"QuantSpec: granularity {self.granularity!r} and group_size {self.group_size!r} "
                "contradict each other; give group_size for 'group' only"
            )
        if self.group_size is not None and self.group_size < 1:
            raise ValueError(f"QuantSpec: group_size must be at least 1, found {self.group_size}")

    @property
    def qmin(self) -> int:
        """The lowest code."""
        return -(1 << (self.bits - 1)) + int(self.narrow_range)

    @property
    def qmax(self) -> int:
        """The highest code."""
        return (1 << (self.bits - 1)) - 1

    def scale_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the scale of a tensor of `shape`: [1], [C], or grouped (see `fake_quantize`)."""
        if self.axis is None:
            return (1,)
        size = shape[self.axis]
        if self.group_size is None:
            return (size,)
        if size % self.group_size:
            raise ValueError(
                f"QuantSpec: group_size {self.group_size} does not divide axis {self.axis} of size "
                f"{size}; choose a divisor"
            )
        grouped = list(shape)
        grouped[self.axis] = size // self.group_size
        return tuple(grouped)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `QuantSpec(**d)` restores it."""
        return asdict(self)
