# SPDX-License-Identifier: Apache-2.0
"""Every op on CUDA against the CPU, bit for bit: on a GPU, and its kernels emulated on the host.

"emulated" runs csrc/torch/cuda and csrc/cuda as they are, built as C++ over an emulation of the CUDA
execution model (tests/cpp/cuda/emulation.h), on host tensors. "cuda" needs a device.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_map_only

from edgeqat.ops._autocast import POLICY
from edgeqat.testing import LAYOUTS, assert_bit_equal, values
from op_cases import DTYPES, GRANULARITIES, grid, on_device, samples

NO_GPU = "no CUDA device (torch.cuda.is_available() is False)"
Call = Callable[..., tuple[torch.Tensor, ...]]


def emulation() -> Path | None:
    """EDGEQAT_CUDA_EMULATION, else the newest one of the source tree's builds."""
    if named := os.environ.get("EDGEQAT_CUDA_EMULATION"):
        return Path(named)
    builds = Path(__file__).parents[3].glob("build/*/tests/cpp/cuda/libedgeqat_cuda_emulation.so")
    return max(builds, key=lambda path: path.stat().st_mtime, default=None)


def written(op: str) -> list[int]:
    """Positions of the arguments that the op changes in place."""
    arguments = getattr(torch.ops.edgeqat, op).default._schema.arguments
    return [i for i, a in enumerate(arguments) if a.alias_info and a.alias_info.is_write]


def results_of(op: str, result: Any, arguments: list[Any]) -> tuple[torch.Tensor, ...]:
    """The returned tensors, then those that the op wrote to."""
    returned = result or () if not isinstance(result, torch.Tensor) else (result,)
    return (*returned, *(arguments[i] for i in written(op)))


def on_cpu(op: str, arguments: list[Any], options: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    arguments = tree_map_only(torch.Tensor, torch.clone, arguments)
    return results_of(op, getattr(torch.ops.edgeqat, op)(*arguments, **options), arguments)


def on_gpu(op: str, arguments: list[Any], options: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    arguments = on_device(arguments, "cuda")
    result = getattr(torch.ops.edgeqat, op)(*arguments, **on_device(options, "cuda"))
    return tuple(r.cpu() for r in results_of(op, result, arguments))


def on_emulation(
    op: str, arguments: list[Any], options: dict[str, Any]
) -> tuple[torch.Tensor, ...]:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    overload = getattr(torch.ops.edgeqat, op).default
    # what is changed in place is copied, in its memory order; other data keep their strides
    changed = written(op)
    arguments = [a.clone() if i in changed else a for i, a in enumerate(arguments)]
    return results_of(op, overload.redispatch(keys, *arguments, **options), arguments)


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=pytest.mark.cuda)])
def call(request: pytest.FixtureRequest) -> Call:
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip(NO_GPU)
        return on_gpu
    if torch.version.cuda is not None:
        pytest.skip("this torch has CUDA: the real kernels hold the CUDA dispatch key")
    library = emulation()
    if library is None or not library.exists():
        pytest.skip(
            "libedgeqat_cuda_emulation.so is not built (configure with EDGEQAT_BUILD_TESTS)"
        )
    torch.ops.load_library(str(library))
    return on_emulation


def sums(op: str, results: int) -> range:
    """Results that are sums of floats, whose order differs between the CPU and CUDA."""
    if not op.startswith("lsq_") or not op.endswith("backward"):
        return range(0)
    return range(results // 2 if "multi" in op else 1, results)


def check(call: Call, op: str, arguments: Any, options: dict[str, Any], label: str) -> None:
    actual = call(op, list(arguments), options)
    expected = on_cpu(op, list(arguments), options)
    for i, (result, wanted) in enumerate(zip(actual, expected, strict=True)):
        if i in sums(op, len(actual)):
            torch.testing.assert_close(result, wanted, rtol=1e-6, atol=1e-5, equal_nan=True)
        else:
            assert_bit_equal(result, wanted, f"{op} {label}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_moved_to_the_device_keeps_its_memory_layout(layout: str) -> None:
    x = LAYOUTS[layout](values((2, 3, 4, 5), torch.bfloat16, 0.1, seed=0))
    (moved,) = on_device([x], "cpu")
    assert moved.data_ptr() != x.data_ptr()
    assert (moved.stride(), moved.storage_offset()) == (x.stride(), x.storage_offset())
    assert_bit_equal(moved, x, layout)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("op", ["fake_quantize", "fake_quantize_train", "quantize"])
def test_grid(call: Call, op: str, granularity: str, dtype: torch.dtype) -> None:
    for case in grid(granularity, dtype, full=False):
        q = case.qparams
        options = q.options() if op == "quantize" else {**q.options(), "mask": case.mask}
        check(call, op, (case.x, *q.positional()), options, case.label)


@pytest.mark.parametrize("op", POLICY)
def test_samples(call: Call, op: str) -> None:
    for i, (arguments, options) in enumerate(samples(op, requires_grad=False)):
        check(call, op, arguments, options, f"sample {i}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_backward_takes_the_layout_of_the_gradient(call: Call, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    for name in ("contiguous", "channels_last"):
        grad = LAYOUTS[name](values((2, 5, 3, 7), dtype, 0.1, seed=1))
        bits = torch.randint(0, 256, (27,), generator=generator, dtype=torch.uint8)
        check(call, "fake_quantize_backward", (grad, bits), {}, name)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 8, 7, 7), (2, 6, 14, 14), (2, 3, 7, 7)])
def test_channels_last_training(call: Call, shape: tuple[int, ...]) -> None:
    """Pixels that fill whole bytes, two or eight channels a byte, and the copy where neither fits."""
    for seed, axis in enumerate((None, 0, 1)):
        channels = 1 if axis is None else shape[axis]
        x = values(shape, torch.bfloat16, 0.1, seed).to(memory_format=torch.channels_last)
        scale = torch.linspace(0.05, 0.2, channels)
        zero_point = torch.arange(channels, dtype=torch.int32) % 5
        mask = torch.arange(x.numel()).reshape(shape) % 3 > 0
        arguments = (x, scale, zero_point, -8, 7)
        check(call, "fake_quantize_train", arguments, {"axis": axis, "mask": mask}, f"{axis}")
        y, bits = call("fake_quantize_train", list(arguments), {"axis": axis})
        assert y.is_contiguous(memory_format=torch.channels_last)
        check(call, "fake_quantize_backward", (y, bits), {}, f"{axis}")


@pytest.mark.parametrize("averaging", [None, 0.1])
@pytest.mark.parametrize("name", ["contiguous", "channels_last", "transposed"])
def test_observe_three_batches(call: Call, name: str, averaging: float | None) -> None:
    for axis in (None, 0, 1, -1):
        shape = (4, 6, 9, 5)
        channels = 1 if axis is None else shape[axis]
        state = (torch.full((channels,), torch.inf), torch.full((channels,), -torch.inf))
        actual = expected = (*state, torch.zeros(2, dtype=torch.int64))
        for seed in range(3):
            x = LAYOUTS[name](values(shape, torch.float32, 0.1, seed))
            options = {"averaging": averaging, "axis": axis}
            actual = call("observe_minmax_", [x, *actual], options)
            expected = on_cpu("observe_minmax_", [x, *expected], options)
        for result, wanted in zip(actual, expected, strict=True):
            assert_bit_equal(result, wanted, f"{name} axis={axis} averaging={averaging}")


def test_empty_tensors(call: Call) -> None:
    scale, zero_point = torch.ones(1), torch.zeros(1, dtype=torch.int32)
    x = torch.empty(0, 3)
    check(call, "fake_quantize_train", (x, scale, zero_point, -8, 7), {}, "empty")
    check(call, "quantize", (x, scale, zero_point, -8, 7), {}, "empty")
    check(call, "pack", (torch.empty(0, dtype=torch.int8), 4), {}, "empty")
    check(call, "unpack", (torch.empty(0, dtype=torch.uint8), 4, [0, 2], True), {}, "empty")


@pytest.mark.parametrize(
    ("op", "arguments", "names"),
    [
        ("quantize", (torch.zeros(2, dtype=torch.float64), 1, 0, -8, 7), "x must be float32"),
        ("quantize", (torch.zeros(2), 2, 0, -8, 7), "scale must be one value"),
        ("quantize", (torch.zeros(2), 1, 0, 7, -8), "qmin, qmax must be"),
        ("pack", (torch.zeros(2, dtype=torch.int8), 3), "bits must be 2, 4 or 8"),
        ("unpack", (torch.zeros(2, dtype=torch.uint8), 4, [9], True), "packed must be of shape"),
        ("fake_quantize_backward", (torch.zeros(9), torch.zeros(1, dtype=torch.uint8)), "bits"),
    ],
)
def test_refusals_are_those_of_the_cpu(call: Call, op: str, arguments: Any, names: str) -> None:
    if op == "quantize":
        x, count, zero_point, *limits = arguments
        parameters = (torch.ones(count), torch.full((count,), zero_point, dtype=torch.int32))
        arguments = (x, *parameters, *limits)
    for run in (call, on_cpu):
        with pytest.raises(RuntimeError, match=names):
            run(op, list(arguments), {})


def test_an_invalid_range_gives_a_nan_scale(call: Call) -> None:
    low, high = torch.tensor([torch.nan, 2.0, 0.0]), torch.tensor([1.0, 1.0, torch.inf])
    scale, _ = call("choose_qparams", [low, high, -128, 127, False], {})
    assert scale.isnan().all()  # the CPU raises; a kernel cannot
