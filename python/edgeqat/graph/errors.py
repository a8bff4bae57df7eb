# SPDX-License-Identifier: Apache-2.0
"""The exception that every refusal to capture a model raises."""

from __future__ import annotations


class CaptureError(RuntimeError):
    """The model cannot be turned into one graph; the message names the source line and what to do next.

    Example:
        >>> raise CaptureError("model.py:12 reads the value of a tensor")
        Traceback (most recent call last):
        ...
        edgeqat.graph.errors.CaptureError: model.py:12 reads the value of a tensor
    """
