# SPDX-License-Identifier: Apache-2.0
"""Checks what a release wheel holds: all that a user needs, nothing of the build, tests or other Pythons."""

from __future__ import annotations

import fnmatch
import sys
import sysconfig
import zipfile

MODULE = f"edgeqat/_C{sysconfig.get_config_var('EXT_SUFFIX')}"
REQUIRED = [
    MODULE,
    "edgeqat/_C.pyi",
    "edgeqat/py.typed",
    "edgeqat/__main__.py",
    "edgeqat/libedgeqat_ops.so",
    "edgeqat/include/edgeqat/qparams.h",
    "edgeqat/include/edgeqat/packing.h",
    "edgeqat/lib/libedgeqat_core.a",
    "edgeqat/share/cmake/edgeqat/edgeqatConfig.cmake",
    "edgeqat/share/cmake/edgeqat/edgeqatConfigVersion.cmake",
    "edgeqat/share/cmake/edgeqat/edgeqatTargets.cmake",
    "edgeqat-*.dist-info/entry_points.txt",
    "edgeqat-*.dist-info/licenses/LICENSE",
]
ALLOWED = ["edgeqat/*.py", "edgeqat/include/edgeqat/*.h", "edgeqat/share/cmake/edgeqat/*.cmake"]
ALLOWED += ["edgeqat.libs/*.so*", "edgeqat/libedgeqat_cuda.so", "edgeqat-*.dist-info/*"]
FOREIGN = ["edgeqat.libs/libtorch*", "edgeqat.libs/libc10*", "edgeqat.libs/libcuda*"]
MOST_BYTES = 100_000_000  # of all files; larger means that torch or CUDA came along


def complaints(wheel: str) -> list[str]:
    """What is missing from the wheel, or has no place in it."""
    with zipfile.ZipFile(wheel) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
    names = [info.filename for info in files]
    found = [f"{p} is missing" for p in REQUIRED if not fnmatch.filter(names, p)]
    known = [*REQUIRED, *ALLOWED]
    for name in names:
        if not any(fnmatch.fnmatch(name, pattern) for pattern in known):
            found.append(f"{name} has no place in a wheel")
        if any(fnmatch.fnmatch(name, pattern) for pattern in FOREIGN):
            found.append(f"{name} belongs to torch")
    size = sum(info.file_size for info in files)
    if size > MOST_BYTES:
        found.append(f"{size:,} bytes unpacked, expected at most {MOST_BYTES:,}")
    return found


if __name__ == "__main__":
    problems = complaints(sys.argv[1])
    for problem in problems:
        sys.stderr.write(f"wheel: {problem}\n")
    sys.exit(bool(problems))
