# SPDX-License-Identifier: Apache-2.0
"""What is written is read: by edgeqat, by the safetensors package, and with the documented bytes."""

from __future__ import annotations

import hashlib
import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from corpus.checkpoint_format import crc32c, pack4
from edgeqat import _C
from edgeqat.checkpoint import (
    CheckpointData,
    FormatError,
    PackedTensor,
    read_checkpoint,
    read_header,
    write_checkpoint,
)
from torch_free import run_python


def codes(bits: int, shape: tuple[int, ...], *, signed: bool = True, seed: int = 0) -> np.ndarray:
    low = -(1 << (bits - 1)) if signed else 0
    values = np.random.default_rng(seed).integers(low, low + (1 << bits), shape)
    return values.astype(np.int8 if signed else np.uint8)


def example(bits: int = 4, *, signed: bool = True) -> CheckpointData:
    """A weight of 6x8 with a scale per row, one in groups of 4, and a bias."""
    tensors = {
        "fc.weight.scale": np.linspace(0.1, 1, 6, dtype=np.float32),
        "fc.weight.zero_point": np.zeros(6, np.int32),
        "emb.weight.scale": np.full((5, 2), 0.25, np.float32),
        "emb.weight.zero_point": np.ones((5, 2), np.int32),
        "fc.bias": np.array([1.5, -0.0, np.inf, np.nan, 1e-45, 3e38], np.float32),
        "half": np.arange(3, dtype=np.float16),
        "steps": np.array(7, np.int64),
        "mask": np.array([[True, False]]),
        "gewicht.ä": np.zeros((0, 4), np.float32),
    }
    packed = {
        "fc.weight": PackedTensor(
            codes(bits, (6, 8), signed=signed),
            bits,
            "fc.weight.scale",
            "fc.weight.zero_point",
            axis=0,
        ),
        "emb.weight": PackedTensor(
            codes(bits, (5, 8), signed=signed),
            bits,
            "emb.weight.scale",
            "emb.weight.zero_point",
            axis=1,
            group_size=4,
        ),
    }
    return CheckpointData('{"b": 1, "a": [0.10]}', "", tensors, packed, {"note": '"kept"'})


def assert_equal(a: CheckpointData, b: CheckpointData) -> None:
    assert (a.plan, a.graph, dict(a.extra)) == (b.plan, b.graph, dict(b.extra))
    assert a.tensors.keys() == b.tensors.keys()
    assert a.packed.keys() == b.packed.keys()
    for name, array in a.tensors.items():
        other = b.tensors[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape), name
        assert array.tobytes() == other.tobytes(), name
    for name, entry in a.packed.items():
        other_entry = b.packed[name]
        assert entry.codes.dtype == other_entry.codes.dtype
        np.testing.assert_array_equal(entry.codes, other_entry.codes)
        assert replace(entry, codes=None) == replace(other_entry, codes=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_round_trip(bits: int, signed: bool, tmp_path: Path) -> None:
    data = example(bits, signed=signed)
    write_checkpoint(tmp_path / "a.safetensors", data)
    assert_equal(read_checkpoint(tmp_path / "a.safetensors"), data)


def test_the_safetensors_package_reads_it(tmp_path: Path) -> None:
    data = example(4)
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, data)
    arrays = load_file(path)
    for name, array in data.tensors.items():
        assert arrays[name].tobytes() == array.tobytes()
        assert arrays[name].shape == array.shape
    for name, entry in data.packed.items():
        assert arrays[name].tobytes() == pack4(entry.codes.ravel().tolist())
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    meta = json.loads(metadata["edgeqat"])
    assert meta["plan"] == json.loads(data.plan)
    for name, array in arrays.items():
        assert int(meta["checksum"]["tensors"][name], 16) == crc32c(array.tobytes())


def test_eight_bit_codes_are_plain_tensors_for_other_readers(tmp_path: Path) -> None:
    data = example(8)
    write_checkpoint(tmp_path / "a.safetensors", data)
    weight = load_file(tmp_path / "a.safetensors")["fc.weight"]
    assert weight.dtype == np.int8
    np.testing.assert_array_equal(weight, data.packed["fc.weight"].codes)


def test_a_copy_by_the_safetensors_package_still_verifies(tmp_path: Path) -> None:
    data = example(4)
    write_checkpoint(tmp_path / "a", data)
    with safe_open(tmp_path / "a", "np") as file:
        metadata = file.metadata()
    save_file(load_file(tmp_path / "a"), tmp_path / "b", metadata)
    assert_equal(read_checkpoint(tmp_path / "b"), data)


def test_arrays_both_ways_and_the_same_bytes_as_the_safetensors_package(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    kinds = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
    for case in range(60):
        arrays = {}
        for index in range(generator.integers(1, 12)):
            shape = tuple(generator.integers(0, 5, generator.integers(0, 5)))
            kind = kinds[generator.integers(len(kinds))]
            arrays[f"t{index}.ü\n"] = generator.integers(0, 2, shape).astype(kind)
        metadata = {"a": '"\\', "format": "np"} if case % 2 else {}
        _C.write_safetensors(tmp_path / "ours", arrays, metadata)
        save_file(arrays, tmp_path / "theirs", metadata or None)
        for path in (tmp_path / "ours", tmp_path / "theirs"):
            found, found_metadata = _C.read_safetensors(path)
            assert found_metadata == metadata
            expected = load_file(path)
            assert found.keys() == expected.keys() == arrays.keys()
            for name, array in arrays.items():
                assert found[name].dtype == array.dtype
                np.testing.assert_array_equal(found[name], array)
                np.testing.assert_array_equal(expected[name], array)


def test_same_data_same_bytes(tmp_path: Path) -> None:
    sums = set()
    for order in (1, -1):
        data = example(4)
        shuffled = replace(data, tensors=dict(list(data.tensors.items())[::order]))
        write_checkpoint(tmp_path / "a", shuffled)
        sums.add(hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest())
    assert len(sums) == 1


def test_saving_over_a_mapped_file(tmp_path: Path) -> None:
    """The old arrays keep their values: the name gets a new file, the mapping keeps the old one."""
    path = tmp_path / "a.safetensors"
    old = {"x": np.arange(100_000, dtype=np.float32)}
    _C.write_safetensors(path, old)
    size = int.from_bytes(path.read_bytes()[:8], "little") + 8
    mapped = np.memmap(path, np.float32, "r", size)
    _C.write_safetensors(path, {"x": mapped * 2 + 1})
    np.testing.assert_array_equal(mapped, old["x"])
    np.testing.assert_array_equal(load_file(path)["x"], old["x"] * 2 + 1)


def test_non_contiguous_arrays_are_written_in_logical_order(tmp_path: Path) -> None:
    data = example(4)
    weight = data.packed["fc.weight"]
    turned = replace(weight, codes=np.asfortranarray(weight.codes))
    bias = np.arange(12, dtype=np.float32)[::2]
    write_checkpoint(
        tmp_path / "a",
        replace(
            data,
            packed={**data.packed, "fc.weight": turned},
            tensors={**data.tensors, "fc.bias": bias},
        ),
    )
    loaded = read_checkpoint(tmp_path / "a")
    np.testing.assert_array_equal(loaded.packed["fc.weight"].codes, weight.codes)
    np.testing.assert_array_equal(loaded.tensors["fc.bias"], [0, 2, 4, 6, 8, 10])


def test_loaded_arrays_are_writable_and_outlive_the_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", example(4))
    array = read_checkpoint(tmp_path / "a").tensors["fc.weight.scale"]
    array += 1  # type: ignore[misc]
    assert array[-1] == 2.0


def test_header(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", example(3))
    header = read_header(tmp_path / "a")
    assert (header.version, header.kind, header.layout) == (1, "quantized", "lsb-first-v1")
    by_name = {entry.name: entry for entry in header.entries}
    weight = by_name["fc.weight"]
    assert (weight.dtype, weight.shape, weight.bytes, weight.bits) == ("U8", (6, 8), 24, 3)
    assert by_name["half"].bits == 0


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("tensors[fc.weight].codes", {"codes": np.full((6, 8), 8, np.int8)}),
        ("tensors[fc.weight].codes", {"codes": np.zeros((6, 8), np.int32)}),
        ("'fc.weight': dtype", {"codes": np.zeros((6, 8), np.complex64)}),
        ("tensors[fc.weight].bits", {"bits": 1}),
        ("tensors[fc.weight].bits", {"bits": 16}),
        ("tensors[fc.weight].scale", {"scale": "missing"}),
        ("tensors[fc.weight].zero_point", {"zero_point": "fc.weight.scale"}),
        ("tensors[fc.weight].axis", {"axis": 5}),
        ("tensors[fc.weight].scale", {"axis": 1}),
        ("tensors[fc.weight].group_size", {"group_size": 4}),
    ],
)
def test_contradictions_are_not_written(field: str, change: dict, tmp_path: Path) -> None:
    data = example(4)
    path = tmp_path / "a"
    write_checkpoint(path, data)
    before = path.read_bytes()
    packed = {**data.packed, "fc.weight": replace(data.packed["fc.weight"], **change)}
    with pytest.raises(ValueError) as caught:
        write_checkpoint(path, replace(data, packed=packed))
    assert field in str(caught.value)
    assert not isinstance(caught.value, FormatError)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_thousand_flipped_bits_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    big = CheckpointData(
        tensors={"s": np.ones(1, np.float32), "z": np.zeros(1, np.int32)},
        packed={"w": PackedTensor(codes(4, (2000, 300)), 4, "s", "z")},
    )
    write_checkpoint(path, big)
    size = path.stat().st_size
    generator = np.random.default_rng(2)
    with path.open("r+b") as file:
        for at in generator.integers(0, size, 1000).tolist():
            file.seek(at)
            byte = file.read(1)[0]
            for value in (byte ^ (1 << int(generator.integers(8))), byte):
                file.seek(at)
                file.write(bytes([value]))
                file.flush()
                if value != byte:
                    with pytest.raises(FormatError):
                        read_checkpoint(path)
    assert_equal(read_checkpoint(path), big)


MEMORY = """
import resource
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
array = np.ones((128, 1 << 20), np.int8)
tensors = {"s": np.ones(1, np.float32), "z": np.zeros(1, np.int32)}
entry = {"codes": array, "bits": int(arguments[1]), "scale": "s", "zero_point": "z"}
before = peak()
_C.save_checkpoint(arguments[0], plan="", graph="", tensors=tensors, packed={"w": entry})
saved = peak()
del array, entry
loaded = _C.load_checkpoint(arguments[0])
print(saved - before, peak() - before, loaded["packed"]["w"]["codes"].nbytes / 2**20)
"""


@pytest.mark.skipif(resource.getpagesize() != 4096, reason="the figures are for pages of 4 KiB")
@pytest.mark.parametrize("bits", [4, 8])
def test_memory_of_saving_and_loading_128_mib(bits: int, tmp_path: Path) -> None:
    """Saving holds no copy; loading holds the result and no second one."""
    saving, loading, size = map(float, run_python(MEMORY, tmp_path / "a", bits).split())
    assert size == 128
    assert saving <= 8
    assert loading <= 16  # the array it replaces was as large
