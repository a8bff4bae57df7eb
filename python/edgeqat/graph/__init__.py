# SPDX-License-Identifier: Apache-2.0
"""Capture of a model as one ATen graph, and the module that runs such a graph."""

from __future__ import annotations

from edgeqat.graph.capture import Captured, capture
from edgeqat.graph.errors import CaptureError
from edgeqat.graph.model import QuantizedModel

__all__ = ["CaptureError", "Captured", "QuantizedModel", "capture"]
