# SPDX-License-Identifier: Apache-2.0
"""Hashes of every op's results over the grid: equal hashes mean equal bits in another process.

Run as a program (`python tests/op_digest.py short|full`) it prints them as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import torch

from edgeqat import _C, functional
from edgeqat.testing import values
from op_cases import DTYPES, GRANULARITIES, Case, array, grid

#: Around every vector width and its multiples, and around powers of two up to 2^16.
SIZES = (*range(68), *(2**k + d for k in range(7, 17) for d in (-1, 0, 1)), 100, 1000)


def results(case: Case) -> Iterator[tuple[str, Any]]:
    """Name and result of every op that takes data, on one case."""
    q, x = case.qparams, case.x
    y, bits = functional.fake_quantize_train(x, *q.positional(), **q.options(), mask=case.mask)
    yield "fake_quantize_train", (y, bits)
    yield (
        "fake_quantize",
        functional.fake_quantize(x, *q.positional(), **q.options(), mask=case.mask),
    )
    yield "fake_quantize_backward", functional.fake_quantize_backward(x, bits)
    codes = functional.quantize(x, *q.positional(), **q.options())
    yield "quantize", codes
    yield "dequantize", functional.dequantize(codes, q.scale, q.zero_point, **q.options())
    packed = functional.pack(codes, 8)
    yield "pack", packed
    yield "unpack", functional.unpack(packed, 8, x.shape, signed=q.qmin < 0)
    yield from learned(case)
    granularity = {**q.options(), "mask": case.mask}
    yield "ternary_fake_quantize", functional.ternary_fake_quantize(x, **granularity)
    yield "dorefa_fake_quantize", functional.dorefa_fake_quantize(x, -7, 7, **granularity)
    slope = functional.dorefa_fake_quantize_backward(y, x, **granularity)
    yield "dorefa_fake_quantize_backward", slope
    for symmetric in (True, False):
        row = functional.per_token_fake_quantize(x, q.qmin, q.qmax, symmetric)
        yield "per_token_fake_quantize", row
    weight = x.clone(memory_format=torch.contiguous_format)
    weights = (weight, q.scale, q.zero_point.clamp(-8, 7), -8, 7)
    state = (torch.zeros_like(weight, dtype=torch.int8), torch.ones_like(weight, dtype=torch.int8))
    means = (torch.zeros_like(weight, dtype=torch.float32) for _ in range(2))
    state = (*state, *means, torch.zeros_like(weight, dtype=torch.bool))
    functional.oscillation_update_(*weights, *state, 0.1, 0.05, **q.options())
    yield "oscillation_update_", (weight, *state)
    channels = 1 if q.axis is None or q.group_size else x.shape[q.axis]
    low, high = torch.full((channels,), torch.inf), torch.full((channels,), -torch.inf)
    count = torch.zeros(2, dtype=torch.int64)
    axis = None if channels == 1 else q.axis
    functional.observe_minmax_(x, low, high, count, axis=axis)
    yield "observe_minmax_", (low, high, count)
    low, high = torch.full((channels,), torch.inf), torch.full((channels,), -torch.inf)
    known = (low, high, torch.zeros(2, dtype=torch.int64))
    known = (*known, torch.ones(channels), torch.zeros(channels, dtype=torch.int32))
    for activation in ("relu6", "hardswish"):  # a fresh state, then one with a range
        y = functional.observe_fake_quantize_(
            x, *known, -8, 7, False, axis=axis, activation=activation
        )
        yield "observe_fake_quantize_", (y, *(part.clone() for part in known))


def learned(case: Case) -> Iterator[tuple[str, Any]]:
    """The quantizers with a learned step: sums of floats, whose order must not change."""
    q, x = case.qparams, case.x
    grad = torch.linspace(-1.0, 1.0, x.numel()).reshape(x.shape).to(x.dtype)
    offset = -q.zero_point * q.scale * 1.1
    call = {"scale": q.scale, "qmin": q.qmin, "qmax": q.qmax, **q.options(), "offset": offset}
    y, residual = functional.lsq_fake_quantize_train(x, **call, mask=case.mask, activation="relu6")
    yield "lsq_fake_quantize_train", (y, residual)
    yield "lsq_fake_quantize", functional.lsq_fake_quantize(x, **call, activation="hardswish")
    exact = functional.lsq_fake_quantize_backward(
        grad, x, **call, mask=case.mask, activation="hardswish", delta=0.1, damping=0.2
    )
    yield "lsq_fake_quantize_backward", exact
    compact = functional.lsq_fake_quantize_compact_backward(
        grad, residual, **call, activation="relu6"
    )
    yield "lsq_fake_quantize_compact_backward", compact


def cases(*, full: bool) -> Iterator[tuple[str, Case]]:
    """The grid, and vectors of every size in SIZES."""
    for granularity in GRANULARITIES:
        for dtype in DTYPES:
            for case in grid(granularity, dtype, full=full):
                yield f"{granularity} {dtype}", case
    for dtype in DTYPES:
        template = next(grid("tensor", dtype, full=False)).qparams
        for n in SIZES:
            yield f"sizes {dtype}", Case(f"{n}", values((n,), dtype, 0.1, n), template, None)


def digests(*, full: bool) -> dict[str, str]:
    """sha256 by op and family of cases; "cases" counts the results."""
    hashes: dict[str, Any] = {}
    count = 0
    for family, case in cases(full=full):
        for op, result in results(case):
            count += 1
            sha = hashes.setdefault(f"{op} {family}", hashlib.sha256())
            for part in (result,) if isinstance(result, torch.Tensor) else result:
                part = (
                    torch.where(part.isnan(), torch.nan, part) if part.is_floating_point() else part
                )
                sha.update(array(part).tobytes())
    return {name: sha.hexdigest() for name, sha in hashes.items()} | {"cases": str(count)}


if __name__ == "__main__":
    found = digests(full=sys.argv[1] == "full") | {"isa": _C.active_isa()}
    sys.stdout.write(json.dumps(found))
