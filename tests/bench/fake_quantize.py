# SPDX-License-Identifier: Apache-2.0
"""Forward and backward of fake_quantize against torch's own, ReLU and a copy, in one run.

The bar: at least 4 times as fast as torch.fake_quantize_per_tensor_affine on 4,194,304 float32
values and one thread. Times are processor time of that thread, so other processes count only
through shared caches and memory, and the candidates take turns inside each round. `copy` is two
clones, the least that a forward and a backward of this size can move.

    python tests/bench/fake_quantize.py
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import edgeqat
from edgeqat import functional

ELEMENTS = 4_194_304
SEED = 0
BAR = 4.0
RESULT = Path(__file__).parent / "results" / "fake_quantize.json"


def cpu_name() -> str:
    """The processor as /proc/cpuinfo names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def commit() -> str:
    """The commit that was measured, with a + where the kernels or ops differ from it."""

    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        found = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return found.stdout.strip()

    changed = git("status", "--porcelain", "--", ":/csrc", ":/include", ":/python/edgeqat/ops")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def candidates(x: Tensor, grad: Tensor) -> dict[str, Callable[[], Any]]:
    """One forward and backward each; the gradient is returned, not accumulated."""
    scale, zero_point = torch.tensor([0.05]), torch.tensor([3], dtype=torch.int32)

    def step(forward: Callable[[Tensor], Tensor]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(forward(x), x, grad)

    return {
        "edgeqat": step(lambda v: functional.fake_quantize(v, scale, zero_point, -128, 127)),
        "torch": step(
            lambda v: torch.fake_quantize_per_tensor_affine(v, scale, zero_point, -128, 127)
        ),
        "relu": step(torch.relu),
        "copy": lambda: (x.detach().clone(), grad.clone()),
    }


def measure(elements: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each candidate: the median over the rounds and the quartiles."""
    generator = torch.Generator().manual_seed(SEED)
    x = (4 * torch.randn(elements, generator=generator)).requires_grad_()
    grad = torch.randn(elements, generator=generator)
    steps = candidates(x, grad)
    difference = steps["edgeqat"]()[0] != steps["torch"]()[0]
    if difference.any():
        raise RuntimeError(f"gradients differ from torch's in {int(difference.sum())} elements")
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_index in range(rounds + 2):
        for name, step in steps.items():
            start = time.thread_time()
            step()
            elapsed = time.thread_time() - start
            if round_index >= 2:  # the first two rounds warm up caches and the allocator
                times[name].append(1e3 * elapsed)
    summary = {}
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        summary[name] = {"median_ms": median, "quartile_low_ms": low, "quartile_high_ms": high}
    return summary


LABELS = {
    "edgeqat": "edgeqat.functional.fake_quantize",
    "torch": "torch.fake_quantize_per_tensor_affine",
    "relu": "torch.relu",
    "copy": "two copies of the tensor",
}


def main() -> int:
    """Measure, print a table, write the JSON; fails below the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, default=ELEMENTS)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = measure(arguments.elements, arguments.rounds)
    speedup = results["torch"]["median_ms"] / results["edgeqat"]["median_ms"]
    document = {
        "task": "fake_quantize forward + backward, float32, per tensor",
        "command": "python tests/bench/fake_quantize.py",
        "commit": commit(),
        "cpu": cpu_name(),
        "isa": edgeqat._C.active_isa(),
        "threads": torch.get_num_threads(),
        "clock": "processor time of the thread",
        "torch": torch.__version__,
        "seeds": [SEED],
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "elements": arguments.elements,
        "rounds": arguments.rounds,
        "measured": results,
        "columns": [
            "forward + backward, 4.2 million float32, one thread",
            "median, ms",
            "quartiles, ms",
            "times edgeqat's time",
        ],
        "rows": [
            [
                LABELS[name],
                f"{row['median_ms']:.2f}",
                f"{row['quartile_low_ms']:.2f} to {row['quartile_high_ms']:.2f}",
                f"{row['median_ms'] / results['edgeqat']['median_ms']:.2f}",
            ]
            for name, row in results.items()
        ],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    for name, row in results.items():
        spread = f"{row['quartile_low_ms']:.2f} to {row['quartile_high_ms']:.2f}"
        print(f"{name:8} {row['median_ms']:8.2f} ms   quartiles {spread}")
    print(f"{speedup:.1f} times as fast as torch (bar: {BAR:g}); wrote {arguments.output}")
    return 0 if speedup >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
