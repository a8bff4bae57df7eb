# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after a power cut: replays the recorded calls of a save and drops what was not synced."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass
class Inode:
    """A file's bytes: those that a sync made durable, and the writes since then."""

    durable: bytes = b""
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def cached(self) -> bytes:
        """What a reader sees while the power is on."""
        return _apply(self.durable, self.pending)

    def possible(self) -> set[bytes]:
        """What may be there after a cut: any subset of the pending writes, the last one perhaps in part, or only the
        size of them all (delayed allocation leaves zeros)."""
        found = {bytes(len(self.cached()))} if self.pending else set()
        for count in range(len(self.pending) + 1):
            for kept in itertools.combinations(self.pending, count):
                found.add(_apply(self.durable, kept))
                if kept:
                    offset, data = kept[-1]
                    half = (offset, data[: len(data) // 2])
                    found.add(_apply(self.durable, [*kept[:-1], half]))
        return found


def _apply(data: bytes, writes: Iterable[tuple[int, bytes]]) -> bytes:
    result = bytearray(data)
    for offset, piece in writes:
        result.extend(bytes(max(0, offset + len(piece) - len(result))))
        result[offset : offset + len(piece)] = piece
    return bytes(result)


class Disk:
    """One directory under the recorded changes (fault_shim.c, fault_record).

    Args:
        name, before: the file that is saved and its old bytes, durable; None: it does not exist.
    """

    def __init__(self, name: str, before: bytes | None) -> None:
        self.name = name
        self.inodes: dict[str, Inode] = {} if before is None else {"old": Inode(before)}
        self.entries: dict[str, str] = {} if before is None else {name: "old"}
        self.pending: list[list[str]] = []  # changes of the directory that are not durable

    def change(self, event: str) -> None:
        """Take over one line of the record."""
        kind, *rest = event.split()
        if kind == "create":
            self.inodes[rest[0]] = Inode()
            self.pending.append(["create", *rest])
        elif kind == "write":
            offset, data = int(rest[1]), bytes.fromhex(rest[2])
            self.inodes[rest[0]].pending.append((offset, data))
        elif kind in ("rename", "unlink"):
            self.pending.append([kind, *rest])
        elif kind == "sync" and rest[0] in self.inodes:
            inode = self.inodes[rest[0]]
            inode.durable, inode.pending = inode.cached(), []
        elif kind == "sync":  # the only directory there is
            self.entries, self.pending = self._entries(self.pending), []
        else:
            raise ValueError(f"unknown event {event!r}")

    def _entries(self, changes: Iterable[list[str]]) -> dict[str, str]:
        entries = dict(self.entries)
        for kind, first, *rest in changes:
            if kind == "create":
                entries[rest[0]] = first
            elif kind == "unlink":
                entries.pop(first, None)
            elif first in entries:
                entries[rest[0]] = entries.pop(first)
        return entries

    def after_cut(self) -> set[bytes | None]:
        """Every content that the file may have when the power comes back; None: it is not there."""
        found: set[bytes | None] = set()
        for kept in _subsets(self.pending):
            # a rename that is durable implies the name it moved: file systems order these two
            entries = self._entries(_with_creations(kept, self.pending))
            inode = entries.get(self.name)
            found |= {None} if inode is None else self.inodes[inode].possible()
        return found


def _subsets(changes: list[list[str]]) -> Iterator[list[list[str]]]:
    for count in range(len(changes) + 1):
        yield from (list(kept) for kept in itertools.combinations(changes, count))


def _with_creations(kept: list[list[str]], every: list[list[str]]) -> list[list[str]]:
    renamed = {change[1] for change in kept if change[0] == "rename"}
    return [c for c in every if c in kept or (c[0] == "create" and c[2] in renamed)]
