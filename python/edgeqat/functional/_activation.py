# SPDX-License-Identifier: Apache-2.0
"""The names of the activations that quantizers fuse, and the integers that the operators take."""

from __future__ import annotations

from typing import Literal

#: "none" may also be spelled None.
Activation = Literal["none", "relu", "relu6", "hardswish"] | None

HARDSWISH = 3
_CODES = {None: 0, "none": 0, "relu": 1, "relu6": 2, "hardswish": HARDSWISH}


def activation_code(activation: Activation) -> int:
    """The `activation` argument of the operators for a name.

    Raises:
        ValueError: another name.
    """
    try:
        return _CODES[activation]
    except (KeyError, TypeError):
        raise ValueError(
            'edgeqat: activation must be "none", "relu", "relu6" or "hardswish" (None is "none"), '
            f"found {activation!r}. Apply any other activation before the quantizer."
        ) from None
