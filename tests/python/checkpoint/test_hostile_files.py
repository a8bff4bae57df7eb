# SPDX-License-Identifier: Apache-2.0
"""Files from strangers: each kind is refused with the field's name, quickly and in little memory."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load as reference_load

from corpus.checkpoint_format import crc32c, example
from corpus.hostile_checkpoints import Hostile, amplifiers, hostile_files
from corpus.mutations import mutate, mutate_text
from edgeqat import _C
from edgeqat.checkpoint import CheckpointData, FormatError, read_checkpoint, read_header
from torch_free import run_python

HOSTILE = hostile_files()
REFUSALS = (FormatError, OSError)


def put(path: Path, content: bytes) -> Path:
    path.unlink(missing_ok=True)  # ext4 syncs a file that is truncated and written again
    path.write_bytes(content)
    return path


def same_arrays(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes()
        for k in a
    )


def all_arrays(checkpoint: CheckpointData) -> dict[str, np.ndarray]:
    return {**checkpoint.tensors, **{k: v.codes for k, v in checkpoint.packed.items()}}


def test_corpus_is_large_and_its_names_differ() -> None:
    assert len(HOSTILE) >= 100
    assert len({kind.name for kind in HOSTILE}) == len(HOSTILE)
    assert len({kind.content for kind in HOSTILE}) == len(HOSTILE)


def test_checksum_is_crc32c() -> None:
    data = random.Random(0).randbytes(20_000)
    assert _C.crc32c(data) == crc32c(data)
    assert _C.crc32c(data[7:], _C.crc32c(data[:7])) == crc32c(data)


def test_the_second_writer_writes_valid_files(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(put(tmp_path / "a", example().build()))
    assert checkpoint.packed["fc.weight"].codes.tolist() == [[-8, 7, 0, 1, -1]]
    assert checkpoint.packed["head.weight"].codes.tolist() == [[-128, 127]]
    assert checkpoint.tensors["fc.bias"].tolist() == [1.0, -2.0]
    assert read_header(tmp_path / "a").entries[1].name == "fc.weight"


@pytest.mark.parametrize("kind", HOSTILE, ids=lambda kind: kind.name)
def test_refused_with_the_field(kind: Hostile, tmp_path: Path) -> None:
    path = put(tmp_path / "model.safetensors", kind.content)
    with pytest.raises(FormatError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert type(caught.value) is FormatError
    assert message.startswith(str(path))
    assert kind.field in message
    assert "expected" in message
    assert "found" in message
    assert len(message) < 1000
    assert "\n" not in message


def test_structure_is_checked_without_checksums(tmp_path: Path) -> None:
    for kind in HOSTILE:
        path = put(tmp_path / "a", kind.content)
        if "checksum" in kind.name or kind.field in ("edgeqat_crc32c", "checksum.tensors[fc.bias]"):
            continue
        with pytest.raises(FormatError):
            read_checkpoint(path, verify=False)


def test_truncation_at_every_64th_byte(tmp_path: Path) -> None:
    content = example().build()
    for size in range(0, len(content), 64):
        with pytest.raises(FormatError):
            read_checkpoint(put(tmp_path / "a", content[:size]))


@pytest.mark.parametrize(
    "count", [pytest.param(2_000), pytest.param(20_000, marks=pytest.mark.full)]
)
def test_random_mutation(count: int, tmp_path: Path) -> None:
    """No mutated file gives other data, another exception or more than 100 ms."""
    generator = random.Random(1)
    content = example().build()
    expected = all_arrays(read_checkpoint(put(tmp_path / "good", content)))
    slowest = 0.0
    for _ in range(count):
        path = put(tmp_path / "a", mutate(content, generator))
        for verify in (True, False):
            start = time.process_time()
            loaded = None
            with contextlib.suppress(*REFUSALS):
                loaded = read_checkpoint(path, verify=verify)
            slowest = max(slowest, time.process_time() - start)
            assert loaded is None or not verify or same_arrays(all_arrays(loaded), expected)
    assert slowest <= 0.1


@pytest.mark.parametrize(
    "count", [pytest.param(1_000), pytest.param(10_000, marks=pytest.mark.full)]
)
def test_random_mutation_below_the_checksums(count: int, tmp_path: Path) -> None:
    """Descriptions mutated, then signed again: the checks behind the checksums hold alone."""
    generator = random.Random(2)
    accepted = 0
    for _ in range(count):
        path = put(tmp_path / "a", mutate_text(example(), generator))
        with contextlib.suppress(*REFUSALS):
            read_checkpoint(path)
            accepted += 1
    assert accepted < count  # a change inside the plan is no lie


@pytest.mark.parametrize(
    "count", [pytest.param(2_000), pytest.param(50_000, marks=pytest.mark.full)]
)
def test_accepts_only_what_the_reference_reader_accepts(count: int, tmp_path: Path) -> None:
    """Where both accept, the arrays are equal."""
    generator = random.Random(3)
    content = example().build()
    accepted = 0
    for _ in range(count):
        mutated = mutate(content, generator)
        try:
            arrays, _metadata = _C.read_safetensors(put(tmp_path / "a", mutated))
        except REFUSALS:
            continue
        except NotImplementedError:  # a type that NumPy lacks
            continue
        try:
            expected = reference_load(mutated)
        except SafetensorError as error:
            pytest.fail(f"the reference refuses what was accepted: {error}")
        assert same_arrays(arrays, expected)
        accepted += 1
    assert accepted > count // 20


# The limit lies n + 16 MB above what is mapped already; one call before it loads what is lazy.
AMPLIFIER = """
import contextlib, resource
with contextlib.suppress(OSError):
    _C.load_checkpoint("/nonexistent")
size = len(open(arguments[0], "rb").read())
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = mapped + size + (16 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with contextlib.suppress(MemoryError):
    np.ones(size // 8 + (4 << 20))  # 16 MB more than allowed
    print("the limit does not hold")
try:
    _C.load_checkpoint(arguments[0], verify=False)
except _C.FormatError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", amplifiers(), ids=lambda kind: kind.name)
def test_memory_stays_within_the_file_and_16_mb(kind: Hostile, tmp_path: Path) -> None:
    path = put(tmp_path / "a", kind.content)
    printed = run_python(AMPLIFIER, path)
    assert kind.field in printed
    assert "the limit does not hold" not in printed


def header_of(count: int) -> bytes:
    """A file of `count` tensors of one byte."""
    entry = b'"%x":{"dtype":"U8","shape":[],"data_offsets":[%d,%d]}'
    text = b"{" + b",".join(entry % (i, i, i + 1) for i in range(count)) + b"}"
    return len(text).to_bytes(8, "little") + text + bytes(count)


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.full)])
def test_many_tensors_parse_in_linear_time(count: int, tmp_path: Path) -> None:
    path = put(tmp_path / "a", header_of(count))
    start = time.process_time()
    with pytest.raises(FormatError, match=r"__metadata__\[edgeqat\]"):
        read_checkpoint(path)
    assert time.process_time() - start <= 5e-6 * count


@pytest.mark.full
def test_a_million_tensors_are_the_limit(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="at most 1000000 tensors"):
        read_checkpoint(put(tmp_path / "a", header_of(1_000_001)))


@pytest.mark.parametrize("name", ["a\0b", "", ".", "pipe", "link"])
def test_only_regular_files_are_read(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    path = name if name in ("a\0b", "") else f"{tmp_path}/{name}"
    with pytest.raises((OSError, ValueError)):
        read_checkpoint(path)
