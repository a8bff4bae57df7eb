# SPDX-License-Identifier: Apache-2.0
"""Every op gives the same bits with any number of threads, on tensors large enough to be split."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from edgeqat import functional
from edgeqat.testing import QParams, assert_bit_equal, values
from op_cases import DTYPES, Case
from op_digest import results

ROWS, COLUMNS = 513, 1537  # 788,481 elements: neither a multiple of 8 nor of any chunk


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def large(kind: str, dtype: torch.dtype) -> Case:
    axis, group_size, shape = {
        "tensor": (None, None, (1,)),
        "rows": (0, None, (ROWS,)),
        "columns": (1, None, (COLUMNS,)),
        "groups": (0, 27, (19, COLUMNS)),
    }[kind]
    generator = torch.Generator().manual_seed(0)
    scale = torch.rand(shape, generator=generator) + 0.05
    zero_point = torch.randint(-8, 8, shape, generator=generator, dtype=torch.int32)
    x = values((ROWS, COLUMNS), dtype, 0.1, seed=0)
    mask = torch.rand(ROWS, COLUMNS, generator=generator) < 0.5
    return Case(kind, x, QParams(scale, zero_point, -8, 7, axis, group_size), mask)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["tensor", "rows", "columns", "groups"])
@pytest.mark.parametrize("transposed", [False, True])
def test_same_bits_with_any_number_of_threads(
    kind: str, dtype: torch.dtype, transposed: bool
) -> None:
    case = large(kind, dtype)
    if transposed:
        case = case._replace(x=case.x.t().contiguous().t())
    torch.set_num_threads(1)
    expected = list(results(case))
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        for (op, actual), (_, wanted) in zip(results(case), expected, strict=True):
            single = isinstance(actual, torch.Tensor)
            for a, w in zip(*(((actual,), (wanted,)) if single else (actual, wanted)), strict=True):
                assert_bit_equal(a, w, f"{op} with {threads} threads")


def test_calls_from_many_threads() -> None:
    x = torch.randn(5000)
    expected = functional.fake_quantize(x, 0.1, 0, -8, 7)

    def work(_: int) -> bool:
        return torch.equal(functional.fake_quantize(x, 0.1, 0, -8, 7), expected)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(800)))
