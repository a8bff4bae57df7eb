# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that must be refused, built when asked for: damaged containers, lies, amplification."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from corpus.checkpoint_format import Blob, File, container, example


@dataclass(frozen=True)
class Hostile:
    """A file and the field that its refusal must name."""

    name: str
    content: bytes
    field: str


def hostile_files() -> list[Hostile]:
    """All kinds, each small."""
    return [*_containers(), *_lies(), *_texts(), *_compressed(), *_checksums()]


def _entry(dtype: Any = "U8", shape: Any = (4,), offsets: Any = (0, 4), **more: Any) -> str:
    return json.dumps({"dtype": dtype, "shape": shape, "data_offsets": offsets, **more})


def _containers() -> Iterator[Hostile]:
    """Damage below the checkpoint: the safetensors container itself."""
    good = example().build()
    header_size = struct.unpack("<Q", good[:8])[0]

    def one(entry: str, data: bytes = b"1234") -> bytes:
        return container('{"x":' + entry + "}", data)

    length = "header length"
    yield Hostile("empty file", b"", length)
    yield Hostile("seven bytes", good[:7], length)
    yield Hostile("length only", good[:8], length)
    yield Hostile("length one too large", struct.pack("<Q", len(good) - 7) + good[8:], length)
    yield Hostile("length 2^64 - 1", b"\xff" * 8 + good[8:], length)
    yield Hostile("length 2^63", struct.pack("<Q", 1 << 63) + good[8:], length)
    yield Hostile("length over 100 MB", struct.pack("<Q", 100_000_001) + good[8:], length)
    yield Hostile("length big endian", struct.pack(">Q", header_size) + good[8:], length)
    yield Hostile(
        "length one too small", struct.pack("<Q", header_size - 1) + good[8:], "header, byte"
    )
    yield Hostile("length 0", struct.pack("<Q", 0) + good[8:], "'header'")
    yield Hostile(
        "pickle", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins.", length
    )
    yield Hostile("zip archive", b"PK\x03\x04" + bytes(60), length)
    yield Hostile("header is a list", container("[]"), "'header'")
    yield Hostile("header is a number", container("7"), "'header'")
    yield Hostile("leading space", container(" {}"), "'header'")
    yield Hostile("byte order mark", container(b"\xef\xbb\xbf{}"), "'header'")
    yield Hostile("UTF-16", container("{}".encode("utf-16-le")), "NUL")
    yield Hostile("NUL hides the rest", container(b'{}\0{"x":1}'), "NUL")
    yield Hostile("JSON cut", container('{"x":{"dtype":'), "header, byte")
    yield Hostile("comment", container("{/* */}"), "header, byte")
    yield Hostile("trailing comma", one(_entry() + ","), "header, byte")
    yield Hostile("single quotes", container("{'x':1}"), "header, byte")
    yield Hostile("overlong UTF-8", container(b'{"\xc0\xaf":{}}'), "header, byte")
    yield Hostile("lone surrogate", container('{"\\ud800":{}}'), "header, byte")
    yield Hostile("deep lists", one("[" * 50_000), "header[x]")
    yield Hostile("deep objects", container('{"x":' * 50_000), "header[x].x")
    yield Hostile("entry is null", one("null"), "header[x]")
    yield Hostile("entry is a number", one("1"), "header[x]")
    yield Hostile("entry is empty", one("{}"), "header[x]")
    yield Hostile("dtype missing", one('{"shape":[4],"data_offsets":[0,4]}'), "header[x]")
    yield Hostile("dtype unknown", one(_entry("Q7")), "header[x].dtype")
    yield Hostile("dtype lower case", one(_entry("u8")), "header[x].dtype")
    yield Hostile("dtype of half a byte", one(_entry("F4")), "header[x].dtype")
    yield Hostile("dtype is a list", one(_entry(["U8"])), "header[x].dtype")
    yield Hostile("further field", one(_entry(__class__="x")), "header[x].__class__")
    yield Hostile("shape is text", one(_entry(shape="4")), "header[x].shape")
    yield Hostile("shape is an object", one(_entry(shape={})), "header[x].shape")
    yield Hostile("shape nested", one(_entry(shape=[[4]])), "header[x].shape")
    yield Hostile("shape negative", one(_entry(shape=[-4])), "header[x].shape")
    yield Hostile("shape float", one(_entry(shape=[4.0])), "header[x].shape")
    yield Hostile("shape 2^63", one(_entry(shape=[1 << 63])), "header[x].shape")
    yield Hostile("shape 2^64", one(_entry(shape=[1 << 64])), "header[x].shape")
    yield Hostile("shape wraps to 4", one(_entry(shape=[(1 << 62) + 1, 4])), "header[x].shape")
    yield Hostile(
        "shape overflow behind 0",
        one(_entry(shape=[0, 1 << 62, 8], offsets=[0, 0]), b""),
        "header[x].shape",
    )
    yield Hostile("nine dimensions", one(_entry(shape=[1] * 8 + [4])), "header[x].shape")
    yield Hostile("shape too large", one(_entry(shape=[1 << 40])), "header[x].data_offsets")
    yield Hostile(
        "offsets beyond the end", one(_entry(shape=[5], offsets=[0, 5])), "header[x].data_offsets"
    )
    yield Hostile("offsets reversed", one(_entry(offsets=[4, 0])), "header[x].data_offsets")
    yield Hostile(
        "offsets 2^63 - 1", one(_entry(offsets=[0, (1 << 63) - 1])), "header[x].data_offsets"
    )
    yield Hostile("one offset", one(_entry(offsets=[0])), "header[x].data_offsets")
    yield Hostile("three offsets", one(_entry(offsets=[0, 4, 4])), "header[x].data_offsets")
    yield Hostile(
        "hole at the start", one(_entry(shape=[3], offsets=[1, 4])), "header[x].data_offsets"
    )
    yield Hostile("bytes behind the data", one(_entry(), b"12345"), "'data'")
    two = '{"x":' + _entry() + ',"y":' + _entry(shape=[4], offsets=[2, 6]) + "}"
    yield Hostile("overlap", container(two, b"123456"), "header[y].data_offsets")
    same = '{"x":' + _entry() + ',"y":' + _entry() + "}"
    yield Hostile("two tensors in one place", container(same, b"1234"), "data_offsets")
    twice = '{"x":' + _entry() + ',"x":' + _entry(shape=[0], offsets=[4, 4]) + "}"
    yield Hostile("name twice", container(twice, b"1234"), "header[x]")
    yield Hostile("shape twice", one(_entry()[:-1] + ',"shape":[4]}'), "header[x]")
    yield Hostile("name of 65,537 bytes", container('{"' + "n" * 65_537 + '":{}}'), "header[nnn")
    yield Hostile("metadata is text", container('{"__metadata__":"x"}'), "__metadata__")
    yield Hostile("metadata nested", container('{"__metadata__":{"a":{}}}'), "__metadata__[a]")
    yield Hostile(
        "metadata key twice", container('{"__metadata__":{"a":"","a":""}}'), "__metadata__[a]"
    )
    yield Hostile("no checkpoint", container("{}"), "__metadata__[edgeqat]")
    yield Hostile("data cut by one byte", good[:-1], "data_offsets")
    yield Hostile("data cut at the header", good[: 8 + header_size], "data_offsets")


def _edit(change: Callable[[File], Any]) -> bytes:
    file = example()
    change(file)
    return file.build()


def _set(place: dict[str, Any], key: str, value: Any) -> None:
    place[key] = value


def _lies() -> Iterator[Hostile]:
    """Sound containers and checksums around a description that cannot be true."""

    def top(name: str, key: str, value: Any, field: str | None = None) -> Hostile:
        return Hostile(name, _edit(lambda f: _set(f.meta, key, value)), field or f"'{key}'")

    yield top("version 2", "version", 2)
    yield top("version 0", "version", 0)
    yield top("version text", "version", "1")
    yield top("version 1.5", "version", 1.5)
    yield top("version 2^64", "version", 1 << 64)
    yield top("kind unknown", "kind", "float")
    yield top("kind number", "kind", 1)
    yield top("layout unknown", "layout", "msb-first-v1")
    yield top("layout null", "layout", None)
    yield top("plan list", "plan", [])
    yield top("plan text", "plan", "{}")
    yield top("graph number", "graph", 1)
    yield top("graph without tensors", "graph", {}, "graph.tensors")
    yield top("graph tensors list", "graph", {"tensors": []}, "graph.tensors")
    yield top("tensors list", "tensors", [])
    for key in ("version", "kind", "layout"):
        yield Hostile(f"{key} missing", _edit(lambda f, k=key: f.meta.pop(k)), f"'{key}'")
    for key in ("plan", "graph", "tensors"):
        yield Hostile(f"{key} missing", _edit(lambda f, k=key: f.meta.pop(k)), "'edgeqat'")

    def weight(name: str, member: str, value: Any, field: str | None = None) -> Hostile:
        content = _edit(lambda f: _set(f.meta["tensors"]["fc.weight"], member, value))
        return Hostile(f"weight {name}", content, f"tensors[fc.weight].{field or member}")

    for bits in (0, 1, 9, -4, 1 << 40, 4.0, "4", None):
        yield weight(f"bits {bits}", "bits", bits)
    yield weight("bits 2 of 4", "bits", 2, "shape")
    yield weight("shape larger", "shape", [1, 7], "shape")
    yield weight("shape smaller", "shape", [1, 4], "shape")
    yield weight("shape negative", "shape", [-1, -5])
    yield weight("shape 2^62", "shape", [1 << 62])
    yield weight("shape overflows", "shape", [1 << 62, 1 << 62])
    yield weight("shape nine dimensions", "shape", [1] * 8 + [5])
    yield weight("shape text", "shape", "1,5")
    yield weight("signed 1", "signed", 1)
    yield weight("axis 2", "axis", 2)
    yield weight("axis -1", "axis", -1)
    yield weight("axis 2^63", "axis", 1 << 63)
    yield weight("axis of 5 channels", "axis", 1, "scale")
    yield weight("group without axis", "group_size", 5, "axis")
    yield weight("scale missing", "scale", "none")
    yield weight("scale is a weight", "scale", "head.weight")
    yield weight("scale is integer", "scale", "zero")
    yield weight("scale null", "scale", None)
    yield weight("zero point missing", "zero_point", "none")
    yield weight("zero point float", "zero_point", "x.scale")
    yield weight("zero point -128 of 4 bits", "zero_point", "x.zero_point")
    yield weight("zero point of two", "zero_point", "fc.weight.zero_point")
    for size in (0, -1, 3, 1 << 62):
        content = _edit(
            lambda f, s=size: f.meta["tensors"]["fc.weight"].update(axis=1, group_size=s)
        )
        yield Hostile(f"group of {size}", content, "tensors[fc.weight].group_size")
    for name, value in (
        ("zero", 0.0),
        ("negative", -1.0),
        ("NaN", float("nan")),
        ("infinite", float("inf")),
    ):
        content = _edit(
            lambda f, v=value: _set(f.tensors, "x.scale", Blob("F32", [1], struct.pack("<f", v)))
        )
        yield Hostile(f"scale {name}", content, "tensors[fc.weight].scale")
    three = _edit(lambda f: _with_bits(f, 3))
    yield Hostile("codes outside 3 bits", three, "tensors[fc.weight].codes")
    spare = _edit(lambda f: _set(f.tensors, "fc.weight", Blob("U8", [3], b"\x78\x10\xff")))
    yield Hostile("spare bits set", spare, "tensors[fc.weight].codes")
    yield Hostile(
        "codes as F32",
        _edit(lambda f: _set(f.tensors, "fc.weight", Blob("F32", [3], bytes(12)))),
        "header[fc.weight].dtype",
    )
    yield Hostile(
        "codes in two dimensions",
        _edit(lambda f: _set(f.tensors["fc.weight"].__dict__, "shape", [3, 1])),
        "tensors[fc.weight].shape",
    )
    yield Hostile(
        "8-bit codes as U8",
        _edit(lambda f: _set(f.tensors["head.weight"].__dict__, "dtype", "U8")),
        "header[head.weight].dtype",
    )
    yield Hostile(
        "packed tensor absent", _edit(lambda f: f.tensors.pop("fc.weight")), "tensors[fc.weight]"
    )
    yield Hostile(
        "packed twice as scale",
        _edit(lambda f: _set(f.meta["tensors"], "x.scale", f.meta["tensors"]["fc.weight"])),
        "x.scale",
    )
    yield Hostile(
        "boolean of 2",
        _edit(lambda f: _set(f.tensors, "flag", Blob("BOOL", [2], b"\0\2"))),
        "tensors[flag]",
    )
    yield Hostile(
        "tensor of F64",
        _edit(lambda f: _set(f.tensors, "extra", Blob("F64", [1], bytes(8)))),
        "header[extra].dtype",
    )

    def graph(
        name: str, tensor: str, change: Callable[[dict[str, Any]], Any], field: str
    ) -> Hostile:
        content = _edit(lambda f: change(f.meta["graph"]["tensors"].setdefault(tensor, {})))
        return Hostile(f"graph {name}", content, f"graph.tensors[{tensor}]{field}")

    yield graph("constant absent", "gone", lambda t: t.update(constant=True), "")
    yield graph("constant of other shape", "fc.bias", lambda t: t.update(shape=[3]), ".shape")
    yield graph("constant of other dtype", "fc.bias", lambda t: t.update(dtype="int32"), ".dtype")
    yield graph("codes without quant", "fc.weight", lambda t: t.update(quant=None), ".quant.bits")
    yield graph(
        "codes of other bits", "fc.weight", lambda t: t["quant"].update(bits=8), ".quant.bits"
    )
    yield graph("codes unsigned", "fc.weight", lambda t: t.update(dtype="uint8"), ".dtype")
    yield graph("scale absent", "x", lambda t: t["quant"].update(scale="gone"), ".quant.scale")
    yield graph("scale null", "x", lambda t: t["quant"].update(scale=None), ".quant.scale")
    yield graph(
        "zero point absent", "x", lambda t: t["quant"].pop("zero_point"), ".quant.zero_point"
    )
    yield graph("quant list", "x", lambda t: t.update(quant=[]), ".quant")


def _with_bits(file: File, bits: int) -> None:
    file.meta["tensors"]["fc.weight"]["bits"] = bits
    file.meta["graph"]["tensors"]["fc.weight"]["quant"]["bits"] = bits


def _texts() -> Iterator[Hostile]:
    """Descriptions that are no sound JSON."""
    yield Hostile("description empty", example().build_text(""), "'edgeqat'")
    yield Hostile("description list", example().build_text("[]"), "'edgeqat'")
    yield Hostile("description cut", example().build_text('{"version":1,'), "edgeqat, byte")
    yield Hostile("description with NUL", example().build_text("{}\0{}"), "'edgeqat'")
    yield Hostile(
        "description with NaN",
        example().build_text('{"version":1,"plan":{"a":NaN}}'),
        "edgeqat, byte",
    )
    yield Hostile(
        "description key twice",
        example().build_text('{"version":1,"version":1}'),
        "edgeqat[version]",
    )
    yield Hostile(
        "plan key twice", example().build_text('{"version":1,"plan":{"a":1,"a":2}}'), "edgeqat[a]"
    )
    yield Hostile(
        "description too deep",
        example().build_text('{"version":1,"plan":' + "[" * 32 + "]" * 32 + "}"),
        "'edgeqat'",
    )
    yield Hostile(
        "description of 60,000 levels", example().build_text('{"a":' * 60_000), "'edgeqat'"
    )


def deflated(text: str, size: int | None = None, cut: int = 0, tail: bytes = b"") -> str:
    """A compressed description that says to have `size` bytes."""
    data = zlib.compress(text.encode(), 9)
    stream = base64.b64encode(data[: len(data) - cut] + tail).decode()
    return f"zlib:{len(text) if size is None else size}:{stream}"


def _compressed() -> Iterator[Hostile]:
    """Compressed descriptions that are damaged, or expand to other than they say."""
    text = json.dumps(example().meta)

    def kind(name: str, stored: str, field: str = "__metadata__[edgeqat]") -> Hostile:
        return Hostile(f"compressed: {name}", example().build_text(stored), field)

    stored = deflated(text)
    yield kind("nothing behind zlib", "zlib:")
    yield kind("no stream", f"zlib:{len(text)}:")
    yield kind("size missing", stored.replace(f":{len(text)}:", "::"))
    yield kind("size negative", deflated(text, -1))
    yield kind("size too small", deflated(text, len(text) - 1))
    yield kind("size too large", deflated(text, len(text) + 1))
    yield kind("size beyond the ratio of zlib", deflated(text, 4 << 20))
    yield kind("size over 4 MiB", deflated(text, (4 << 20) + 1))
    yield kind("size 2^64 + 1", deflated(text, (1 << 64) + 1))
    yield kind("stream cut", deflated(text, cut=5))
    yield kind("stream followed by bytes", deflated(text, tail=b"\0"))
    yield kind("not base64", stored[:-9] + "*" + stored[-8:])
    yield kind("not zlib", f"zlib:{len(text)}:" + base64.b64encode(bytes(400)).decode())
    yield kind("compressed twice", deflated(stored), "edgeqat")
    yield kind("expands to a list", deflated("[" + "1," * 3000 + "1]"), "'edgeqat'")


def _checksums() -> Iterator[Hostile]:
    """Checksums that are absent or do not fit."""

    def checksum(change: Callable[[dict[str, Any]], Any]) -> bytes:
        file = example()
        sums = dict.fromkeys(file.tensors, f"{0:08x}")
        file.meta["checksum"] = {"algorithm": "crc32c", "tensors": sums}
        change(file.meta["checksum"])
        return file.build(checksums=False)

    yield Hostile("checksums of 0", checksum(lambda c: None), "checksum.tensors[")
    yield Hostile("checksum absent", example().build(checksums=False), "checksum.tensors[")
    yield Hostile(
        "checksum algorithm", checksum(lambda c: c.update(algorithm="none")), "checksum.algorithm"
    )
    yield Hostile(
        "checksum of another tensor",
        checksum(lambda c: c["tensors"].update(gone="00000000")),
        "checksum.tensors[gone]",
    )
    yield Hostile(
        "checksum upper case",
        checksum(lambda c: c["tensors"].update(zero="0000000A")),
        "checksum.tensors[zero]",
    )
    yield Hostile(
        "checksum number", checksum(lambda c: c["tensors"].update(zero=0)), "checksum.tensors[zero]"
    )
    yield Hostile("header checksum absent", example().build(digest=False), "edgeqat_crc32c")
    renamed = example().build().replace(b'"flag"', b'"flog"')
    yield Hostile("tensor renamed", renamed.replace(b'\\"flag\\"', b'\\"flog\\"'), "edgeqat_crc32c")
    yield Hostile(
        "format changed",
        example().build().replace(b'"format": "pt"', b'"format": "pu"'),
        "edgeqat_crc32c",
    )
    swapped = example()
    content = swapped.build()
    bias = swapped.tensors["fc.bias"].data
    yield Hostile(
        "bias negated", content.replace(bias, bias[4:] + bias[:4]), "checksum.tensors[fc.bias]"
    )


def amplifiers() -> list[Hostile]:
    """Files of 2 to 5 MB whose text demands far more memory from a careless reader."""
    file = example()
    tiny = '":{"dtype":"U8","shape":[],"data_offsets":[0,0]}'
    many = "{" + ",".join(f'"{i:x}{tiny}' for i in range(60_000)) + "}"
    ones = "[" + "1," * 1_000_000 + "1]"
    keys = "{" + ",".join(f'"{i:x}":0' for i in range(250_000)) + "}"
    head = '{"version":1,"kind":"quantized","layout":"lsb-first-v1","plan":null,'
    spaces = " " * (4 << 20)
    bomb = deflated('{"version":1,"plan":{}}' + spaces[: -len('{"version":1,"plan":{}}')])
    return [
        Hostile("zlib bomb of 4 MiB", file.build_text(bomb), "kind"),
        Hostile(
            "zlib that says 4 MiB",
            file.build_text(deflated("{}", 4 << 20)),
            "__metadata__[edgeqat]",
        ),
        Hostile("header length 99 MB", struct.pack("<Q", 99_000_000) + b"{}", "header length"),
        Hostile(
            "tensor of 1 TiB",
            container('{"x":' + _entry("U8", [1 << 40], [0, 1 << 40]) + "}"),
            "data_offsets",
        ),
        Hostile("60,000 tensors", container(many), "header["),
        Hostile(
            "shape of a million",
            container('{"x":' + _entry()[:-1] + ',"shape":' + ones),
            "header[x]",
        ),
        Hostile("2 MB of lists", container('{"x":' + "[" * 2_000_000), "header[x]"),
        Hostile("name of 2 MB", container('{"' + "n" * 2_000_000 + '":{}}'), "header[n"),
        Hostile(
            "plan of a million numbers",
            file.build_text('{"version":1,"plan":{"a":' + ones + "}}"),
            "kind",
        ),
        Hostile(
            "graph of a million numbers",
            file.build_text(head + '"graph":{"tensors":{"x":' + ones + '}},"tensors":{}}'),
            "graph.tensors[x]",
        ),
        Hostile(
            "tensors of a million numbers",
            file.build_text(head + '"graph":null,"tensors":{"zero":' + ones + "}}"),
            "tensors[zero]",
        ),
        Hostile(
            "tensors of 250,000 names",
            file.build_text(head + '"graph":null,"tensors":' + keys + "}"),
            "tensors[0]",
        ),
        Hostile(
            "checksums of 250,000 names",
            file.build_text(
                head + '"graph":null,"tensors":{},"checksum":{"tensors":' + keys + "}}"
            ),
            "checksum.tensors[0]",
        ),
        Hostile(
            "version of a million numbers", file.build_text('{"version":' + ones + "}"), "version"
        ),
    ]
