# SPDX-License-Identifier: Apache-2.0
"""All weights of a network in one operator against one call a weight: learned steps, forward and backward, 4 bits.

python tests/bench/multi_tensor.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import harness
import torch
from torch import nn

from edgeqat import functional

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from networks import DSCNN, ResNet20


def candidates(network: nn.Module) -> tuple[int, dict[str, Callable[[], None]]]:
    """How many weights lie between the first and the last, and both ways to quantize them per channel."""
    generator = torch.Generator().manual_seed(harness.SEED)
    inner = [p.detach() for p in network.parameters() if p.dim() > 1][1:-1]
    weights = [p.clone().requires_grad_() for p in inner]
    steps = [(p.flatten(1).abs().amax(1) / 7).requires_grad_() for p in inner]
    grads = [torch.randn(p.shape, generator=generator) for p in inner]
    low, high, axis = ([value] * len(inner) for value in (-8, 7, 0))

    def one_by_one() -> None:
        pairs = zip(weights, steps, strict=True)
        torch.autograd.backward(
            [functional.lsq_fake_quantize(w, s, -8, 7, axis=0) for w, s in pairs], grads
        )

    def together() -> None:
        rounded = functional.lsq_fake_quantize_multi(weights, steps, low, high, axis=axis)
        torch.autograd.backward(list(rounded), grads)

    return len(inner), {"a call a weight": one_by_one, "one call": together}


def main() -> None:
    """Measure, print, write the JSON."""
    parser = harness.arguments(__doc__, harness.RESULTS / "multi_tensor.json", rounds=31)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, measured = [], {}
    for network in (ResNet20(), DSCNN()):
        name = type(network).__name__
        count, forms = candidates(network)
        times = measured[name] = harness.take_turns(forms, options.rounds, calls=5)
        single, multi = (times[form]["median_ms"] for form in forms)
        rows.append([name, str(count), f"{single:.2f}", f"{multi:.2f}", f"{single / multi:.2f}"])
        print(*rows[-1])
    result = harness.document(
        "weights of a network, learned steps per channel, forward + backward",
        "python tests/bench/multi_tensor.py",
        rounds=options.rounds,
        measured=measured,
        columns=["network", "weights", "a call a weight, ms", "one call, ms", "times faster"],
        rows=rows,
    )
    harness.write(result, options.output)


if __name__ == "__main__":
    main()
