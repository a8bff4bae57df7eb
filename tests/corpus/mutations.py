# SPDX-License-Identifier: Apache-2.0
"""Random damage to files: flipped bits, extreme numbers, cuts, splices; repeatable by seed."""

from __future__ import annotations

import json
import random
import re

from corpus.checkpoint_format import File

_NUMBERS = ["0", "1", "-1", "2", "4", "255", "4294967296", "9223372036854775807", "1e308", "0.5"]
_VALUES = [*_NUMBERS, "null", "true", '""', "[]", "{}", '"fc.bias"', '"x.scale"', "[1,5]"]


def mutate(content: bytes, generator: random.Random) -> bytes:
    """One to three changes to the bytes."""
    data = bytearray(content)
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        if not data:
            break
        at = generator.randrange(len(data))
        kind = generator.randrange(8)
        if kind == 0:
            data[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            data[at] = generator.choice([0, 1, 0x20, 0x22, 0x30, 0x7B, 0x7D, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + generator.randrange(1, 9)]
        elif kind == 4:
            other = generator.randrange(len(data))
            data[at:at] = data[other : other + generator.randrange(1, 33)]
        elif kind == 5:
            data[:8] = generator.choice([0, 1, len(data), 2**31, 2**63, 2**64 - 1]).to_bytes(
                8, "little"
            )
        elif kind == 6:
            data = bytearray(_replace_number(bytes(data), generator))
        else:
            data += generator.randbytes(generator.randrange(1, 9))
    return bytes(data)


def mutate_text(file: File, generator: random.Random) -> bytes:
    """One value of the description replaced, then checksums made to fit."""
    built = file.build()
    header = json.loads(built[8 : 8 + int.from_bytes(built[:8], "little")])
    text = header["__metadata__"]["edgeqat"]
    values = list(re.finditer(r'(?<=:)("[^"]*"|-?\d+|true|false|null|\[[^\[\]{}]*\])', text))
    match = generator.choice(values)
    return file.build_text(text[: match.start()] + generator.choice(_VALUES) + text[match.end() :])


def _replace_number(data: bytes, generator: random.Random) -> bytes:
    numbers = list(re.finditer(rb"\d+", data[8:]))
    if not numbers:
        return data
    match = generator.choice(numbers)
    start, end = match.start() + 8, match.end() + 8
    return data[:start] + generator.choice(_NUMBERS).encode() + data[end:]
