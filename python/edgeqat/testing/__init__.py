# SPDX-License-Identifier: Apache-2.0
"""What a project built on edgeqat needs for tests: bit-exact comparison, hostile samples, layouts.

Example:
    >>> import torch
    >>> from edgeqat.testing import LAYOUTS, assert_bit_equal, values
    >>> x = values((3, 5), torch.float32, scale=0.25, seed=0)
    >>> assert_bit_equal(x + 0, LAYOUTS["transposed"](x) + 0)
"""

from __future__ import annotations

from edgeqat.testing._compare import assert_bit_equal
from edgeqat.testing._isa import isas
from edgeqat.testing._samples import (
    LAYOUTS,
    RANGES,
    SHAPES,
    SPECIAL_VALUES,
    QParams,
    layouts_of,
    qparams,
    values,
)

__all__ = [
    "LAYOUTS",
    "RANGES",
    "SHAPES",
    "SPECIAL_VALUES",
    "QParams",
    "assert_bit_equal",
    "isas",
    "layouts_of",
    "qparams",
    "values",
]
