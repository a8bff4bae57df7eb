# SPDX-License-Identifier: Apache-2.0
r"""Forward and backward of the learned quantizers against torch's own and ReLU, in one run.

The bars: at most 1.6 times ReLU and at least 10 times as fast as torch's learnable ops, per tensor
and per channel, on 4.2 and 33.5 million float32 values and one thread; two threads at least 1.7
times as fast as one (processor time of the busier one). ReLU does nothing but move the data, so
where torch's op is less than 10 times slower than ReLU the second bar is out of reach, and where
one thread takes all of the memory's bandwidth the third. Results of 33.5 million float32 are fresh
pages at every call, most of the time of ReLU and torch; the MALLOC variables keep them.

`--calls` measures one call on 64 elements instead, eager, forward and backward, against the module
FusedMovingAvgObsFakeQuantize: at most 1.25 times its time.

    OMP_WAIT_POLICY=PASSIVE python tests/bench/lsq_fake_quantize.py
    OMP_WAIT_POLICY=PASSIVE MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 \
        python tests/bench/lsq_fake_quantize.py --output tests/bench/results/lsq_kept_memory.json
    python tests/bench/lsq_fake_quantize.py --calls
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import harness
import torch
from torch import Tensor
from torch.ao.quantization import FusedMovingAvgObsFakeQuantize

from edgeqat import functional

SIZES = (4_194_304, 33_554_432)
CHANNELS = 64
RELU_BAR, TORCH_BAR, THREADS_BAR, CALL_BAR = 1.6, 10.0, 1.7, 1.25
RESULT = harness.RESULTS / "lsq_fake_quantize.json"
CALL_RESULT = harness.RESULTS / "lsq_fake_quantize_calls.json"


def candidates(elements: int) -> dict[str, Callable[[], Any]]:
    """One forward and backward each; the gradients are returned, not accumulated."""
    generator = torch.Generator().manual_seed(harness.SEED)
    x = 2 * torch.randn(8, CHANNELS, elements // 8 // CHANNELS, generator=generator)
    x.requires_grad_()
    grad = torch.randn(x.shape, generator=generator)
    one, many = (torch.full((n,), 0.05, requires_grad=True) for n in (1, CHANNELS))
    zero, zeros = (torch.zeros(n, requires_grad=True) for n in (1, CHANNELS))

    def step(forward: Callable[[], Tensor], *leaves: Tensor) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(forward(), leaves, grad)

    def ours(scale: Tensor, **options: Any) -> Callable[[], Any]:
        return step(lambda: functional.lsq_fake_quantize(x, scale, -128, 127, **options), x, scale)

    per_tensor = torch._fake_quantize_learnable_per_tensor_affine
    per_channel = torch._fake_quantize_learnable_per_channel_affine
    return {
        "relu": step(lambda: torch.relu(x), x),
        "tensor exact": ours(one),
        "tensor compact": ours(one, save="compact"),
        "channel exact": ours(many, axis=1),
        "channel compact": ours(many, axis=1, save="compact"),
        "torch tensor": step(lambda: per_tensor(x, one, zero, -128, 127, 1.0), x, one),
        "torch channel": step(lambda: per_channel(x, many, zeros, 1, -128, 127, 1.0), x, many),
    }


def without_torch(steps: dict[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """The candidates that are measured often."""
    return {name: step for name, step in steps.items() if not name.startswith("torch")}


def measure(elements: int, rounds: int) -> dict[str, Any]:
    """One thread: every candidate; then ours with two threads."""
    torch.set_num_threads(1)
    steps = candidates(elements)
    times = harness.take_turns(steps, rounds)
    repeat = SIZES[-1] // elements
    speedup = harness.two_threads_speedup(without_torch(steps), rounds, calls=repeat)
    return {"elements": elements, "one_thread": times, "two_threads_speedup": speedup}


def calls(rounds: int) -> dict[str, harness.Summary]:
    """One call on 64 elements."""
    torch.set_num_threads(1)
    x = torch.randn(64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    grad = torch.ones(64)
    scale = torch.tensor([0.05], requires_grad=True)
    module = FusedMovingAvgObsFakeQuantize()

    def ours(save: Any) -> Callable[[], Any]:
        return lambda: functional.lsq_fake_quantize(x, scale, -128, 127, save=save).backward(grad)

    steps = {
        "torch FusedMovingAvgObsFakeQuantize": lambda: module(x).backward(grad),
        "exact": ours("exact"),
        "compact": ours("compact"),
    }
    return harness.take_turns(steps, rounds, calls=200)


def check(measured: dict[str, Any]) -> list[str]:
    """The bars that are missed."""
    missed = []
    times = {n: t["median_ms"] for n, t in measured["one_thread"].items()}
    for name in ("tensor exact", "tensor compact", "channel exact", "channel compact"):
        to_relu = times[name] / times["relu"]
        to_torch = times[f"torch {name.split()[0]}"] / times[name]
        threads = measured["two_threads_speedup"][name]
        if to_relu > RELU_BAR:
            missed.append(f"{name}: {to_relu:.2f} times ReLU")
        if to_torch < TORCH_BAR:
            missed.append(f"{name}: only {to_torch:.1f} times as fast as torch")
        if threads < THREADS_BAR:
            missed.append(f"{name}: two threads only {threads:.2f} times as fast")
    return missed


def rows(measured: list[dict[str, Any]]) -> list[list[str]]:
    """The table of the documents."""
    found = []
    for name in measured[0]["one_thread"]:
        cells = [name]
        for size in measured:
            times = size["one_thread"]
            median = times[name]["median_ms"]
            speedup = size["two_threads_speedup"].get(name)
            cells += [f"{median:.2f}", f"{median / times['relu']['median_ms']:.2f}"]
            cells.append("" if speedup is None else f"{speedup:.2f}")
        found.append(cells)
    return found


def main() -> int:
    """Measure, print a table, write the JSON; fails where a bar is missed."""
    parser = harness.arguments(__doc__, RESULT, rounds=21)
    parser.add_argument("--calls", action="store_true", help="64 elements instead")
    options = parser.parse_args()
    if options.calls:
        return report_calls(options)
    measured = [
        measure(n, options.rounds if n < 1e7 else max(5, options.rounds // 3)) for n in SIZES
    ]
    result = harness.document(
        "lsq_fake_quantize forward + backward, float32",
        "python tests/bench/lsq_fake_quantize.py",
        rounds=options.rounds,
        measured=measured,
        columns=[
            "forward + backward, one thread",
            *("4.2 million, ms", "times ReLU", "two threads, times as fast"),
            *("33.5 million, ms", "times ReLU", "two threads, times as fast"),
        ],
        rows=rows(measured),
    )
    harness.write(result, options.output)
    for row in result["rows"]:
        print("  ".join(f"{cell:>16}" for cell in row))
    missed = [f"{m['elements']}: {text}" for m in measured for text in check(m)]
    print("\n".join(missed) or "every bar is met")
    return 1 if missed else 0


def report_calls(options: Any) -> int:
    """The per-call half of main."""
    measured = calls(options.rounds)
    reference = measured["torch FusedMovingAvgObsFakeQuantize"]["median_ms"]
    table = [
        [name, f"{1e3 * t['median_ms']:.1f}", f"{t['median_ms'] / reference:.2f}"]
        for name, t in measured.items()
    ]
    result = harness.document(
        "lsq_fake_quantize, one eager call on 64 elements, forward + backward",
        "python tests/bench/lsq_fake_quantize.py --calls",
        rounds=options.rounds,
        measured=measured,
        columns=["forward + backward, 64 elements, one thread", "microseconds", "times torch"],
        rows=table,
    )
    output = CALL_RESULT if options.output == RESULT else options.output
    harness.write(result, output)
    for row in table:
        print("  ".join(f"{cell:>16}" for cell in row))
    slow = [row for row in table if float(row[2]) > CALL_BAR]
    print("\n".join(f"{row[0]}: {row[2]} times torch" for row in slow) or "the bar is met")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
