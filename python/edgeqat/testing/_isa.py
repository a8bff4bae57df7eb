# SPDX-License-Identifier: Apache-2.0
"""The instruction sets that this machine can run."""

from __future__ import annotations

from edgeqat import _C


def isas() -> list[str]:
    """Names for the environment variable EDGEQAT_CPU_ISA, slowest first.

    The variable is read once per process, so a test of one instruction set starts a new process.

    Example:
        >>> isas()[0]
        'baseline'
    """
    return list(_C.available_isas())
