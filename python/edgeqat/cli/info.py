# SPDX-License-Identifier: Apache-2.0
"""What was built and what is running; gathers each fact on its own, so that it works when the rest does not."""

from __future__ import annotations

import importlib
import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from edgeqat import _loader

OPTIONAL = (
    "onnx",
    "onnxscript",
    "onnxruntime",
    "ml_dtypes",
    "safetensors",
    "matplotlib",
    "scikit-learn",
)


def collect(problem: str | None = None) -> dict[str, Any]:
    """The facts, ready for JSON.

    Args:
        problem: why the libraries could not be loaded, if so.

    Example:
        >>> collect()["stable_abi"]
        '2.10'
    """
    facts: dict[str, Any] = {
        "edgeqat": installed_version("edgeqat"),
        "python": platform.python_version(),
        "torch": installed_version("torch"),
        "numpy": installed_version("numpy"),
        "platform": platform.platform(),
        "stable_abi": ".".join(map(str, _loader.MINIMUM_TORCH)),
        "libraries": str(_loader.library_dir()),
    }
    facts.update(_built())
    facts.update(_running())
    facts["packages"] = {name: installed_version(name) for name in OPTIONAL}
    facts["problem"] = problem or facts.pop("isa_problem", None)
    return facts


def installed_version(package: str) -> str | None:
    """The version of an installed package, without importing it; None if it is absent."""
    module = sys.modules.get(package)
    if module is not None and hasattr(module, "__version__"):
        return str(module.__version__)
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _built() -> dict[str, Any]:
    try:
        library = importlib.import_module("edgeqat._C")
    except ImportError:
        return {"compiler": None, "isa_active": None, "isa_available": []}
    facts: dict[str, Any] = {
        "edgeqat": library.version(),
        "compiler": library.compiler(),
        "isa_available": library.available_isas(),
    }
    try:
        facts["isa_active"] = library.active_isa()
    except (ValueError, NotImplementedError) as error:  # EDGEQAT_CPU_ISA names another one
        facts.update(isa_active=None, isa_problem=str(error))
    return facts


def _running() -> dict[str, Any]:
    """Which libraries are in the process; torch is asked only if it is already there."""
    torch = sys.modules.get("torch")
    loaded = {Path(path).name for path in torch.ops.loaded_libraries} if torch else set()
    return {
        "operators_loaded": "libedgeqat_ops.so" in loaded,
        "cuda_built": _loader.cuda_library() is not None,
        "cuda_loaded": "libedgeqat_cuda.so" in loaded,
        "torch_cuda": torch.version.cuda if torch else None,
        "torch_threads": torch.get_num_threads() if torch else None,
    }


def render(facts: dict[str, Any], *, as_json: bool = False) -> str:
    """The facts as JSON, or as one line each."""
    if as_json:
        return json.dumps(facts, indent=2)
    cuda = "loaded" if facts["cuda_loaded"] else "built, not loaded (this torch has no CUDA)"
    rows = [
        ("edgeqat", facts["edgeqat"] or "not installed"),
        ("torch", f"{facts['torch'] or 'not installed'} (CUDA: {facts['torch_cuda'] or 'none'})"),
        ("Python", facts["python"]),
        ("NumPy", facts["numpy"] or "not installed"),
        ("platform", facts["platform"]),
        ("compiler", facts["compiler"] or "unknown: the module _C cannot be loaded"),
        ("instruction set", _instruction_set(facts)),
        ("operators", "loaded" if facts["operators_loaded"] else "NOT loaded"),
        ("CUDA library", cuda if facts["cuda_built"] else "not built"),
        (
            "stable ABI",
            f"LibTorch {facts['stable_abi']}: runs with torch {facts['stable_abi']} and newer",
        ),
        ("threads", str(facts["torch_threads"] or "unknown")),
        ("libraries in", facts["libraries"]),
    ]
    rows += [(name, version or "not installed") for name, version in facts["packages"].items()]
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:<{width}}{value}" for name, value in rows]
    if facts["problem"]:
        lines += ["", f"problem: {facts['problem']}"]
    return "\n".join(lines)


def _instruction_set(facts: dict[str, Any]) -> str:
    available = ", ".join(facts["isa_available"]) or "unknown"
    return f"{facts['isa_active'] or 'none'} (available: {available})"
