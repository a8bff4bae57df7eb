# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training for edge hardware: what is trained is what the exported file computes.

Example:
    >>> import torch, edgeqat
    >>> edgeqat.functional.fake_quantize(torch.tensor([0.26, 9.0]), 0.5, 0, -8, 7)
    tensor([0.5000, 3.5000])
"""

from __future__ import annotations

from edgeqat import _loader

_loader.load()

from edgeqat import _C, functional, nn, ops  # noqa: E402
from edgeqat._loader import get_include  # noqa: E402
from edgeqat.checkpoint.model import load, save  # noqa: E402
from edgeqat.export import export  # noqa: E402
from edgeqat.graph import CaptureError, QuantizedModel  # noqa: E402
from edgeqat.quantization.batch_norm import reestimate_batch_norm  # noqa: E402
from edgeqat.quantization.calibrate import calibrate, enable_quantizers, freeze_observers  # noqa: E402
from edgeqat.quantization.convert import convert  # noqa: E402
from edgeqat.quantization.oscillation import Oscillation  # noqa: E402
from edgeqat.quantization.parameters import parameter_groups  # noqa: E402
from edgeqat.quantization.plan import CoverageError, Plan  # noqa: E402
from edgeqat.quantization.planner import plan  # noqa: E402
from edgeqat.quantization.prepare import prepare  # noqa: E402
from edgeqat.quantization.recipe import Recipe  # noqa: E402
from edgeqat.quantization.spec import QuantSpec  # noqa: E402
from edgeqat.quantization.target import Target  # noqa: E402
from edgeqat.verification import verify  # noqa: E402

__version__: str = _C.version()
FormatError = _C.FormatError
cmake_prefix_path: str = _loader.cmake_prefix_path()

__all__ = [
    "CaptureError",
    "CoverageError",
    "FormatError",
    "Oscillation",
    "Plan",
    "QuantSpec",
    "QuantizedModel",
    "Recipe",
    "Target",
    "__version__",
    "calibrate",
    "cmake_prefix_path",
    "convert",
    "enable_quantizers",
    "export",
    "freeze_observers",
    "functional",
    "get_include",
    "load",
    "nn",
    "ops",
    "parameter_groups",
    "plan",
    "prepare",
    "reestimate_batch_norm",
    "save",
    "verify",
]
