# SPDX-License-Identifier: Apache-2.0
"""Loads the operator libraries that lie beside `_C`, once, and explains in one ImportError when that fails."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

MINIMUM_TORCH = (2, 10)  # also the version of the stable ABI that the libraries are built for


def library_dir() -> Path:
    """The folder of the built libraries (in an editable install not the folder of this file)."""
    spec = importlib.util.find_spec("edgeqat._C")
    built = spec.origin if spec is not None else None
    return Path(built or __file__).resolve().parent


def cuda_library() -> Path | None:
    """The CUDA operator library if this build has one."""
    path = library_dir() / "libedgeqat_cuda.so"
    return path if path.exists() else None


def get_include() -> str:
    """The folder for the compiler's -I: the C++ headers are `edgeqat/*.h` in it.

    Example:
        >>> import pathlib, edgeqat
        >>> (pathlib.Path(edgeqat.get_include()) / "edgeqat/packing.h").exists()
        True
    """
    installed = library_dir() / "include"
    in_source_tree = Path(__file__).resolve().parents[2] / "include"
    return str(installed if installed.exists() else in_source_tree)


def cmake_prefix_path() -> str:
    """For CMAKE_PREFIX_PATH, so that find_package(edgeqat CONFIG) finds the installed wheel."""
    return str(library_dir())


def load() -> None:
    """Load `_C`, libedgeqat_ops and, where torch has CUDA, libedgeqat_cuda.

    Raises:
        ImportError: names the library, the reason, the versions found and the next step.
    """
    try:
        _load_libraries()
    except ImportError as error:
        from edgeqat.cli.startup import answer_command_line

        answer_command_line(error)
        raise


def _load_libraries() -> None:
    if os.name != "posix":
        raise ImportError(f"edgeqat supports Linux; this is {sys.platform}")
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(
            f"edgeqat needs torch {_dotted(MINIMUM_TORCH)} or newer, which cannot be imported: {error}. "
            "Install it: pip install 'torch>=2.10'."
        ) from error
    ops = library_dir() / "libedgeqat_ops.so"
    if _version(torch) < MINIMUM_TORCH:
        advice = "Install torch 2.10 or newer: pip install 'torch>=2.10'."
        raise _failure(torch, ops, "torch is too old", advice)
    try:
        importlib.import_module("edgeqat._C")
    except ImportError as error:
        advice = (
            "Reinstall edgeqat for this Python: pip install --force-reinstall --no-deps edgeqat."
        )
        raise _failure(torch, library_dir() / "_C", str(error), advice) from error
    if not ops.exists():
        advice = "Reinstall edgeqat: pip install --force-reinstall --no-deps edgeqat."
        raise _failure(torch, ops, "the file is missing", advice)
    _load_into(torch, ops, "Reinstall edgeqat for this torch and Python.")
    cuda = cuda_library()
    if cuda is not None and torch.version.cuda is not None:
        _load_into(torch, cuda, "Reinstall edgeqat, or remove this file to run on the CPU only.")


def _load_into(torch: Any, path: Path, advice: str) -> None:
    try:
        torch.ops.load_library(str(path))
    except OSError as error:  # torch's own text hides the loader's, which it chains
        raise _failure(torch, path, str(error.__cause__ or error), advice) from error


def _version(torch: Any) -> tuple[int, int]:
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _failure(torch: Any, path: Path, reason: str, advice: str) -> ImportError:
    return ImportError(
        f"edgeqat cannot load its operators: {reason} (library {path.name} in {path.parent}, torch "
        f"{torch.__version__}, Python {sys.version.split()[0]}). {advice}"
    )
