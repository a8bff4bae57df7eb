# SPDX-License-Identifier: Apache-2.0
"""Says in three lines why torch could not capture a model: the user's line, torch's reason, the next step."""

from __future__ import annotations

import linecache
import traceback

from torch import nn

from edgeqat.graph import naming

_DATA_DEPENDENT = ("data-dependent", "data dependent", "datadependent", ".numpy()", "faketensor")
_DYNAMIC_SHAPES = ("constraint", "dynamic_shapes", "specialized")


def explain(model: nn.Module, error: BaseException) -> str:
    """The message of the CaptureError for `error`, raised while `model` was being captured."""
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not naming.is_library_file(f.filename) and f.lineno is not None
    ]
    place = type(model).__name__
    if frames:
        last = frames[-1]
        code = linecache.getline(last.filename, last.lineno or 0).strip()
        place = f"{last.filename}:{last.lineno}: `{code}`"
    return (
        f"the model cannot be captured as one graph at {place}\n"
        f"  torch: {_reason(error)}\n"
        f"  next step: {_next_step(error)}, or use mode='module'"
    )


def _next_step(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".lower()
    if any(sign in text for sign in _DATA_DEPENDENT):
        return "rewrite this line without Python control flow on tensor values (torch.where, masks)"
    if any(sign in text for sign in _DYNAMIC_SHAPES):
        return "the model fixes a size that was to vary: give example inputs of that size and dynamic_batch=False"
    if "not a known type" in text:
        return "return tensors, tuples, dicts or dataclasses (torch.export.register_dataclass)"
    return "check that model(*example_inputs) runs; if it does, torch.export cannot trace this line"


def _reason(error: BaseException) -> str:
    for line in str(error).splitlines():
        if line.strip():
            return f"{type(error).__name__}: {line.strip()[:300]}"
    return type(error).__name__
