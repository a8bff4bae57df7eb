# SPDX-License-Identifier: Apache-2.0
"""Names the extra to install when a package that an exporter needs is missing."""

from __future__ import annotations

import importlib
from types import ModuleType

_EXTRA = {"onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx", "ml_dtypes": "onnx"}


def require(*packages: str) -> tuple[ModuleType, ...]:
    """Import `packages` and return them.

    Raises:
        ImportError: one of them is not installed or does not load; the message names what to install.

    Example:
        >>> require("json")[0].__name__
        'json'
    """
    modules = []
    for package in packages:
        try:
            modules.append(importlib.import_module(package))
        except ImportError as error:
            extra = _EXTRA.get(package)
            advice = f"pip install 'edgeqat[{extra}]'" if extra else f"pip install {package}"
            raise ImportError(
                f"edgeqat needs {package} for this: {error}. Install it with: {advice}"
            ) from error
    return tuple(modules)
