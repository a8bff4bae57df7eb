# SPDX-License-Identifier: Apache-2.0
"""QuantSpec, the number format of one tensor, is a class of the C++ core."""

from __future__ import annotations

from typing import Literal

from edgeqat._C import QuantSpec

Granularity = Literal["tensor", "channel", "group"]

__all__ = ["Granularity", "QuantSpec"]
