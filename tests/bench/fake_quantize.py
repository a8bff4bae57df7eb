# SPDX-License-Identifier: Apache-2.0
"""Forward and backward of fake_quantize against torch's own, ReLU and a copy, in one run.

The bar: at least 4 times as fast as torch.fake_quantize_per_tensor_affine on 4,194,304 float32
values and one thread. Times are processor time of that thread, so other processes count only
through shared caches and memory, and the candidates take turns inside each round. `copy` is two
clones, the least that a forward and a backward of this size can move.

    python tests/bench/fake_quantize.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import harness
import torch
from torch import Tensor

from edgeqat import functional

ELEMENTS = 4_194_304
BAR = 4.0
RESULT = harness.RESULTS / "fake_quantize.json"


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
    generator = torch.Generator().manual_seed(harness.SEED)
    x = (4 * torch.randn(elements, generator=generator)).requires_grad_()
    grad = torch.randn(elements, generator=generator)
    steps = candidates(x, grad)
    difference = steps["edgeqat"]()[0] != steps["torch"]()[0]
    if difference.any():
        raise RuntimeError(f"gradients differ from torch's in {int(difference.sum())} elements")
    return harness.take_turns(steps, rounds)


LABELS = {
    "edgeqat": "edgeqat.functional.fake_quantize",
    "torch": "torch.fake_quantize_per_tensor_affine",
    "relu": "torch.relu",
    "copy": "two copies of the tensor",
}


def main() -> int:
    """Measure, print a table, write the JSON; fails below the bar."""
    parser = harness.arguments(__doc__, RESULT, rounds=31)
    parser.add_argument("--elements", type=int, default=ELEMENTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = measure(arguments.elements, arguments.rounds)
    speedup = results["torch"]["median_ms"] / results["edgeqat"]["median_ms"]
    document = harness.document(
        "fake_quantize forward + backward, float32, per tensor",
        "python tests/bench/fake_quantize.py",
        elements=arguments.elements,
        rounds=arguments.rounds,
        measured=results,
        columns=[
            "forward + backward, 4.2 million float32, one thread",
            "median, ms",
            "quartiles, ms",
            "times edgeqat's time",
        ],
        rows=[
            [
                LABELS[name],
                f"{row['median_ms']:.2f}",
                f"{row['quartile_low_ms']:.2f} to {row['quartile_high_ms']:.2f}",
                f"{row['median_ms'] / results['edgeqat']['median_ms']:.2f}",
            ]
            for name, row in results.items()
        ],
    )
    harness.write(document, arguments.output)
    for name, row in results.items():
        spread = f"{row['quartile_low_ms']:.2f} to {row['quartile_high_ms']:.2f}"
        print(f"{name:8} {row['median_ms']:8.2f} ms   quartiles {spread}")
    print(f"{speedup:.1f} times as fast as torch (bar: {BAR:g}); wrote {arguments.output}")
    return 0 if speedup >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
