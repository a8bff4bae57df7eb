# SPDX-License-Identifier: Apache-2.0
"""Files for edge runtimes: one function, one exporter per format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from edgeqat.export.cpu import has_vnni
from edgeqat.export.onnx import export_onnx
from edgeqat.export.saturation import SaturationRisk, check_saturation

__all__ = ["FORMATS", "SaturationRisk", "check_saturation", "export", "export_onnx", "has_vnni"]

# Suffix of the file -> exporter; a target names the suffix of the format that it loads.
FORMATS: dict[str, Callable[..., Path]] = {".onnx": export_onnx}
_TARGETS = {"onnx": ".onnx", "onnxruntime": ".onnx"}


def export(
    student: nn.Module, path: str | os.PathLike[str], *, target: str | None = None, **options: Any
) -> Path:
    """Write `student` as a file that an edge runtime loads; the format follows from the suffix, or from `target`.

    Args:
        student: a model from `edgeqat.prepare`, or what `edgeqat.convert` made of it.
        path: the file to write; it appears whole or not at all.
        target: "onnxruntime" (or "onnx"); needed only if the suffix does not tell.
        options: those of the format's exporter (ONNX: `export_onnx`).

    Returns:
        The path that was written.

    Raises:
        ValueError: no exporter for this suffix or target; the message lists those there are.
        ImportError: a package that the exporter needs is missing.

    Example:
        >>> import edgeqat, tempfile, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> student = edgeqat.calibrate(student, [torch.randn(8, 4)])
        >>> edgeqat.export(student, tempfile.mkdtemp() + "/model.onnx").name
        'model.onnx'
    """
    suffix = Path(path).suffix.lower()
    if target is not None:
        if target not in _TARGETS:
            raise ValueError(
                f"export: unknown target {target!r}; known targets: {', '.join(sorted(_TARGETS))}"
            )
        wanted = _TARGETS[target]
        if suffix in FORMATS and suffix != wanted:
            raise ValueError(
                f"export: target {target!r} loads {wanted} files, found {Path(path).name!r}; change one of them"
            )
        suffix = wanted
    if suffix not in FORMATS:
        raise ValueError(
            f"export: no format has the suffix {suffix!r} of {Path(path).name!r}; known suffixes: "
            f"{', '.join(sorted(FORMATS))}; name the file accordingly or give target="
        )
    from edgeqat.quantization.convert import convert

    return FORMATS[suffix](convert(student), path, **options)
