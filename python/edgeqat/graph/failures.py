# SPDX-License-Identifier: Apache-2.0
"""Says in three lines why torch could not capture a model: the user's line, torch's reason, the next step."""

from __future__ import annotations

import linecache
import traceback

from torch import nn

from edgeqat.graph import naming


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
        "  next step: rewrite this line without Python control flow on tensor values (torch.where, masks), or use "
        "mode='module'"
    )


def _reason(error: BaseException) -> str:
    for line in str(error).splitlines():
        if line.strip():
            return f"{type(error).__name__}: {line.strip()[:300]}"
    return type(error).__name__
