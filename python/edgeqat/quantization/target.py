# SPDX-License-Identifier: Apache-2.0
"""Target, what a runtime can execute, and the known ones are data of the C++ core."""

from __future__ import annotations

from edgeqat import _C
from edgeqat._C import Target

__all__ = ["TARGETS", "Target", "find_target"]

TARGETS: dict[str, Target] = {target.name: target for target in _C.targets()}


def find_target(name: str | Target) -> Target:
    """The target called `name`.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    return name if isinstance(name, Target) else _C.find_target(name)
