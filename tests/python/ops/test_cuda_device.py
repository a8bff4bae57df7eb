# SPDX-License-Identifier: Apache-2.0
"""What only a GPU shows: streams, CUDA graphs, several devices, more than 2^31 elements, gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgeqat import functional
from edgeqat.ops._autocast import POLICY
from edgeqat.testing import assert_bit_equal, values
from op_cases import on_device, samples

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason="no CUDA device (torch.cuda.is_available() is False)",
    ),
]


@pytest.mark.parametrize("op", POLICY)
def test_opcheck(op: str) -> None:
    for arguments, options in samples(op)[::4]:
        moved, named = on_device(arguments, "cuda"), on_device(options, "cuda")
        torch.library.opcheck(getattr(torch.ops.edgeqat, op).default, moved, named)


def test_gradients_equal_those_of_the_cpu() -> None:
    x = values((4, 6, 5, 5), torch.float32, 0.1, seed=0)
    scale = torch.rand(6) + 0.05
    zero_point = torch.zeros(6, dtype=torch.int32)
    grads = []
    for device in ("cpu", "cuda"):
        leaf = x.detach().to(device).requires_grad_()
        y = functional.fake_quantize(leaf, scale.to(device), zero_point.to(device), -8, 7, axis=1)
        y.backward(torch.ones_like(y))
        grads.append(leaf.grad.cpu())
    assert_bit_equal(grads[1], grads[0], "gradient")


def test_runs_on_the_current_stream() -> None:
    x = torch.zeros(1 << 20, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)  # the default stream would read x before it is filled
        x.fill_(3.0)
        codes = functional.quantize(x, 0.5, 0, -128, 127)
    stream.synchronize()
    assert bool((codes == 6).all())


def test_cuda_graph_capture_and_replay() -> None:
    x = torch.zeros(4, 1000, device="cuda")
    state = (torch.full((4,), torch.inf), torch.full((4,), -torch.inf))
    state = (*(s.cuda() for s in state), torch.zeros(2, dtype=torch.int64, device="cuda"))

    def step() -> tuple[torch.Tensor, ...]:
        functional.observe_minmax_(x, *state, axis=0)
        scale, zero_point = functional.choose_qparams(*state[:2], -8, 7, symmetric=False)
        y, bits = functional.fake_quantize_train(x, scale, zero_point, -8, 7, axis=0)
        grad = functional.fake_quantize_backward(y, bits)
        codes = functional.quantize(x, scale, zero_point, -8, 7, axis=0)
        packed = functional.pack(codes, 4)
        back = functional.unpack(packed, 4, list(x.shape), True)
        return y, bits, grad, packed, functional.dequantize(back, scale, zero_point, axis=0)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    state[0].fill_(torch.inf), state[1].fill_(-torch.inf), state[2].zero_()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for seed in range(3):
        x.copy_(torch.randn(4, 1000, generator=torch.Generator().manual_seed(seed)))
        graph.replay()
    replayed = [t.clone() for t in captured]
    assert state[2].tolist() == [3, 0]
    state[2].zero_()  # the ranges stay: the eager step sees the same scale
    for actual, expected in zip(replayed, step(), strict=True):
        assert_bit_equal(actual.cpu(), expected.cpu(), "replay")


def tensors_of(value: Any) -> list[torch.Tensor]:
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in tensors_of(v)]
    return [value] if isinstance(value, torch.Tensor) else []


@pytest.mark.parametrize("op", POLICY)
def test_every_op_replays_what_eager_computes(op: str) -> None:
    """Results, and what an op writes in place, from one replay of a captured call."""
    function = getattr(torch.ops.edgeqat, op)
    arguments, options = samples(op, requires_grad=False)[1]
    named = on_device(options, "cuda")
    eager, warm, captured = (on_device(arguments, "cuda") for _ in range(3))
    expected = [*tensors_of(function(*eager, **named)), *tensors_of(eager)]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        function(*warm, **named)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function(*captured, **named)
    graph.replay()
    found = [*tensors_of(result), *tensors_of(captured)]
    for actual, wanted in zip(found, expected, strict=True):
        assert_bit_equal(actual.cpu(), wanted.cpu(), f"{op} replayed")


def test_no_op_waits_for_the_device() -> None:
    torch.cuda.set_sync_debug_mode("error")
    try:
        for op in POLICY:
            for arguments, options in samples(op, requires_grad=False)[:3]:
                torch.cuda.set_sync_debug_mode("default")
                moved, named = on_device(arguments, "cuda"), on_device(options, "cuda")
                torch.cuda.set_sync_debug_mode("error")
                getattr(torch.ops.edgeqat, op)(*moved, **named)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_tensors_on_two_devices_are_refused() -> None:
    x = torch.zeros(4, device="cuda")
    scale, zero_point = torch.ones(1), torch.zeros(1, dtype=torch.int32)
    with pytest.raises(RuntimeError, match=r"scale must be on the device of the data \(cuda:0\)"):
        torch.ops.edgeqat.quantize(x, scale, zero_point, -8, 7)
    with pytest.raises(RuntimeError, match="on the device of the data"):
        torch.ops.edgeqat.quantize(x.cpu(), scale.cuda(), zero_point.cuda(), -8, 7)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_runs_on_the_device_of_the_data() -> None:
    x = values((1000,), torch.float32, 0.1, seed=0)
    y = functional.fake_quantize(x.to("cuda:1"), 0.1, 0, -8, 7)
    assert y.device == torch.device("cuda:1")
    assert torch.cuda.current_device() == 0
    assert_bit_equal(y.cpu(), functional.fake_quantize(x, 0.1, 0, -8, 7), "cuda:1")


@pytest.mark.full
def test_more_than_2_31_elements() -> None:
    n = (1 << 31) + 11
    if torch.cuda.mem_get_info()[0] < 16 << 30:
        pytest.skip("needs 16 GiB of free GPU memory")
    x = torch.ones(n, dtype=torch.bfloat16, device="cuda")
    x[-3:] = torch.tensor([7.0, -9.0, 2.5], dtype=torch.bfloat16)
    codes = functional.quantize(x, 1.0, 0, -8, 7)
    assert codes[-4:].tolist() == [1, 7, -8, 2]
    assert functional.pack(codes, 4)[-2:].tolist() == [0x87, 0x02]
    y, bits = functional.fake_quantize_train(x, 1.0, 0, -8, 7)
    assert y[-4:].tolist() == [1.0, 7.0, -8.0, 2.0]
    assert bits[-2:].tolist() == [0xFF, 0b101]
