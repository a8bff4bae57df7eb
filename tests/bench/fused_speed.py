# SPDX-License-Identifier: Apache-2.0
"""The clipped straight-through quantizer and its fusions on tensors that do not fit the caches.

Processor time on one thread, candidates in turn:
- forward + backward against ReLU, on 4.2 and on 33.5 million float32 (bar: 1.3 times);
- observing in the same pass against a pass of its own, and against not observing;
- ReLU in the same pass against ReLU before it;
- bfloat16 against float32 (bars: 0.75 times with AVX-512, 1.2 times with AVX2, forward).

Results of 33.5 million float32 are fresh pages at every call, which is most of the time; `make bench`
has the kernels on warm buffers.

Then two threads against one (bar: 1.7 times as fast): by the clock on the wall, which other load
spoils, and by the processor time of both threads, which tells what two free cores would give (a
thread that waits must not count as work: hence the variable).

    OMP_WAIT_POLICY=PASSIVE python tests/bench/fused_speed.py
    EDGEQAT_CPU_ISA=v3 OMP_WAIT_POLICY=PASSIVE python tests/bench/fused_speed.py --output /dev/null
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import harness
import torch
from torch import Tensor

import edgeqat
from edgeqat import functional

SIZES = (4_194_304, 33_554_432)
RELU_BAR = 1.3
BFLOAT16_BARS = {"v4": 0.75, "v3": 1.2}


def state() -> tuple[Tensor, ...]:
    """A quantizer that has seen a batch, so that it needs no second read."""
    return (
        torch.tensor([-6.0]),
        torch.tensor([6.0]),
        torch.ones(2, dtype=torch.int64),
        torch.tensor([0.05]),
        torch.tensor([3], dtype=torch.int32),
    )


def candidates(elements: int) -> dict[str, Callable[[], Any]]:
    """Forward, or forward and backward, of each."""
    generator = torch.Generator().manual_seed(harness.SEED)
    x = (4 * torch.randn(elements, generator=generator)).requires_grad_()
    grad = torch.randn(elements, generator=generator)
    low, high, count, scale, zero_point = known = state()
    half = x.detach().bfloat16()

    def quantize(v: Tensor, **options: Any) -> Tensor:
        return functional.fake_quantize(v, scale, zero_point, -128, 127, **options)

    def observe_then_quantize(v: Tensor) -> Tensor:
        functional.observe_minmax_(v, low, high, count, 0.01)
        return quantize(v)

    def both(forward: Callable[[Tensor], Tensor]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(forward(x), x, grad)

    fused = {"relu, fused": lambda v: quantize(v, activation="relu")}
    fused["observe, fused"] = lambda v: functional.observe_fake_quantize_(
        v, *known, -128, 127, False, 0.01
    )
    return {
        "relu": both(torch.relu),
        "fake_quantize": both(quantize),
        "relu, then fake_quantize": both(lambda v: quantize(torch.relu(v))),
        "relu, fused": both(fused["relu, fused"]),
        "observe, then fake_quantize": both(observe_then_quantize),
        "observe, fused": both(fused["observe, fused"]),
        "forward float32": lambda: quantize(x.detach()),
        "forward bfloat16": lambda: quantize(half),
    }


def two_threads(elements: int, rounds: int) -> dict[str, float]:
    """How many times as fast the step is with two threads: on the wall, and by processor time."""
    step = candidates(elements)["fake_quantize"]

    def with_threads(number: int) -> Callable[[], Any]:
        def run() -> None:
            torch.set_num_threads(number)
            step()

        return run

    both = {"one": with_threads(1), "two": with_threads(2)}
    wall = harness.take_turns(both, rounds, clock=time.perf_counter)
    busy = harness.take_turns(both, rounds, clock=time.process_time)
    torch.set_num_threads(1)
    return {
        "wall": wall["one"]["median_ms"] / wall["two"]["median_ms"],
        "free cores": 2.0 * busy["one"]["median_ms"] / busy["two"]["median_ms"],
    }


def main() -> int:
    """Measure, print, write the JSON; fails where a bar on one thread is missed."""
    parser = harness.arguments(__doc__, harness.RESULTS / "fused_speed.json", rounds=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    isa = edgeqat._C.active_isa()
    measured, rows, good = {}, [], True
    for elements in SIZES:
        times = harness.take_turns(candidates(elements), options.rounds)
        measured[elements] = times
        for name, row in times.items():
            against = "forward float32" if name.startswith("forward") else "relu"
            ratio = row["median_ms"] / times[against]["median_ms"]
            cells = [f"{elements / 1e6:.1f} million", name, f"{row['median_ms']:.2f}"]
            rows.append([*cells, f"{ratio:.2f} of {against}"])
            if name == "fake_quantize":
                good &= ratio <= RELU_BAR
            if name == "forward bfloat16" and isa in BFLOAT16_BARS:
                good &= ratio <= BFLOAT16_BARS[isa]
    speedups = {elements: two_threads(elements, options.rounds) for elements in SIZES}
    for elements, speedup in speedups.items():
        for clock, times_as_fast in speedup.items():
            size = f"{elements / 1e6:.1f} million"
            rows.append([size, f"two threads, {clock}", "", f"{times_as_fast:.2f} times as fast"])
    result = harness.document(
        "clipped straight-through quantizer, forward + backward",
        "python tests/bench/fused_speed.py",
        rounds=options.rounds,
        measured=measured,
        two_threads=speedups,
        columns=["float32 values, one thread", "forward + backward", "median, ms", "against"],
        rows=rows,
    )
    harness.write(result, options.output)
    for row in rows:
        print(f"{row[0]:14} {row[1]:30} {row[2]:>9}   {row[3]}")
    print(f"bars on one thread {'held' if good else 'MISSED'}; wrote {options.output}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
