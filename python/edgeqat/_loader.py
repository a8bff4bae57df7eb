# SPDX-License-Identifier: Apache-2.0
"""Loads the operator libraries that lie beside `_C`, once, and explains in one ImportError when that fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

MINIMUM_TORCH = (2, 10)


def library_dir() -> Path:
    """The folder of the built libraries (in an editable install not the folder of this file)."""
    from edgeqat import _C

    return Path(str(_C.__file__)).resolve().parent


def _torch_version() -> tuple[int, int]:
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def _fail(path: Path, reason: str, advice: str) -> ImportError:
    return ImportError(
        f"edgeqat cannot load its operators: {reason} (library {path.name} in {path.parent}, torch "
        f"{torch.__version__}, Python {sys.version.split()[0]}). {advice}"
    )


def load() -> None:
    """Load libedgeqat_ops and, where torch has CUDA, libedgeqat_cuda.

    Raises:
        ImportError: names the library, the reason, the versions found and the next step.
    """
    if os.name != "posix":
        raise ImportError(f"edgeqat supports Linux; this is {sys.platform}")
    ops = library_dir() / "libedgeqat_ops.so"
    if _torch_version() < MINIMUM_TORCH:
        raise _fail(ops, "torch is too old", "Install torch 2.10 or newer: pip install 'torch>=2.10'.")
    if not ops.exists():
        raise _fail(ops, "the file is missing", "Reinstall edgeqat: pip install --force-reinstall --no-deps edgeqat.")
    try:
        torch.ops.load_library(str(ops))
    except OSError as error:
        raise _fail(ops, str(error), "Reinstall edgeqat for this torch and Python.") from error
    cuda = cuda_library()
    if cuda is not None and torch.version.cuda is not None:
        try:
            torch.ops.load_library(str(cuda))
        except OSError as error:
            raise _fail(cuda, str(error), "Reinstall edgeqat, or remove this file to run on the CPU only.") from error


def cuda_library() -> Path | None:
    """The CUDA operator library if this build has one."""
    path = library_dir() / "libedgeqat_cuda.so"
    return path if path.exists() else None
