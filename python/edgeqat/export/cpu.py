# SPDX-License-Identifier: Apache-2.0
"""Whether this CPU has the instructions that make 8-bit products of ONNX Runtime exact."""

from __future__ import annotations

import platform
from pathlib import Path

_VNNI_FLAGS = frozenset({"avx_vnni", "avx512_vnni", "avx512vnni", "avxvnni"})


def cpu_flags(cpuinfo: str | Path = "/proc/cpuinfo") -> frozenset[str]:
    """The feature flags in `cpuinfo`; empty where the file or the line is missing.

    Example:
        >>> cpu_flags("/nonexistent")
        frozenset()
    """
    path = Path(cpuinfo)
    if not path.exists():
        return frozenset()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def has_vnni(cpuinfo: str | Path = "/proc/cpuinfo") -> bool:
    """Whether the CPU sums four 8-bit products in 32 bits (AVX-VNNI or AVX512-VNNI).

    Without it ONNX Runtime on x86 adds two products in 16 bits, which saturate with full-range 8-bit weights (up to 19 LSB
    wrong in half of the outputs, measured under an emulated Haswell): see `check_saturation`.

    Example:
        >>> isinstance(has_vnni(), bool)
        True
    """
    return bool(_VNNI_FLAGS & cpu_flags(cpuinfo))


def integer_products_are_exact(cpuinfo: str | Path = "/proc/cpuinfo") -> bool:
    """Whether ONNX Runtime's 8-bit kernels cannot saturate on this CPU: VNNI, or not x86.

    Example:
        >>> has_vnni() <= integer_products_are_exact()
        True
    """
    return platform.machine().lower() not in ("x86_64", "amd64", "i686") or has_vnni(cpuinfo)
