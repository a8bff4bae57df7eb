# SPDX-License-Identifier: Apache-2.0
"""Writes the corpus of the C++ fuzz test into a folder: valid and hostile checkpoints, golden files, graphs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from corpus.checkpoint_format import example  # noqa: E402
from corpus.hostile_checkpoints import hostile_files  # noqa: E402

MOST_BYTES = 65_536  # larger inputs make mutations slow and find nothing more


def contents() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file; the standard library suffices to build them."""
    file = example()
    yield "valid-checkpoint", file.build()
    yield "valid-graph", json.dumps(file.meta["graph"]).encode()
    for path in sorted((HERE / "golden").glob("*")):
        if path.is_file():
            yield f"valid-{path.name}", path.read_bytes()
    for number, kind in enumerate(hostile_files()):
        yield f"hostile-{number:03d}", kind.content


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.iterdir():
        stale.unlink()
    for name, content in contents():
        if len(content) <= MOST_BYTES:
            (folder / name).write_bytes(content)
