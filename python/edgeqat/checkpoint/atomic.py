# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all: temporary in the same directory, fsync, rename."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy.typing as npt

from edgeqat import _C

Bytes: TypeAlias = "bytes | bytearray | memoryview | npt.NDArray[Any]"


def atomic_write(path: str | os.PathLike[str], data: Bytes | Iterable[Bytes]) -> None:
    """Write bytes, or the buffers of an iterable one after the other, to `path`.

    Args:
        path: The file; a symbolic link is replaced, its target stays.
        data: bytes, a contiguous array, or an iterable of them (streamed: one is held at a time).

    Raises:
        OSError: the system refuses (disk full, no permission); the old file is unchanged.
        ValueError: `path` names a directory, device or pipe.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "weights.bin"
        >>> atomic_write(path, (bytes([i]) for i in range(3)))
        >>> path.read_bytes()
        b'\\x00\\x01\\x02'
    """
    _C.atomic_write(path, data)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path for a library that insists on a file name; rename it to `path` at the end.

    After an exception in the block the temporary is removed and `path` is unchanged. The temporary
    ends in ".tmp": tell the library the format where it would guess it from the suffix.

    Raises:
        OSError: the system refuses; the old file is unchanged.
        ValueError: `path` names a directory, device or pipe.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "report.txt"
        >>> with atomic_path(path) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> path.read_text()
        'whole'
    """
    writer = _C.AtomicWriter(path)
    try:
        yield Path(writer.temporary_path)
        writer.commit()
    finally:
        writer.abort()
