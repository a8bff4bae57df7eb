# SPDX-License-Identifier: Apache-2.0
"""What a training step of large linear layers allocates: float, rounded weights kept for backward, and rounded again.

Eight Linear(2048, 2048) and a classifier, 4-bit weights with learned steps, SGD with momentum, float32, one thread.

    python tests/bench/weight_memory.py
"""

from __future__ import annotations

from collections.abc import Callable

import harness
import torch
import torch.nn.functional as F
from torch import nn
from training_step import peak_bytes

import edgeqat
from edgeqat.ops import _recompute

LIMITS = {"float": 0, "kept": 1 << 40, "rounded again": _recompute.RECOMPUTED_FROM}


def network(kind: str, x: torch.Tensor) -> nn.Module:
    """Quantized unless it is the float one."""
    torch.manual_seed(harness.SEED)
    hidden = [layer for _ in range(8) for layer in (nn.Linear(2048, 2048), nn.ReLU())]
    model: nn.Module = nn.Sequential(*hidden, nn.Linear(2048, 10))
    if kind != "float":
        recipe = edgeqat.Recipe(weight_bits=4, weight_quantizer="lsq")
        model = edgeqat.calibrate(edgeqat.prepare(model, recipe, x), [x])
    return model.train()


def step_of(kind: str, rows: int, freed: bool) -> Callable[[], None]:
    """One step; `freed`: there are no gradients when it starts, else they are there already."""
    x, labels = torch.randn(rows, 2048), torch.arange(rows) % 10
    model = network(kind, x)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def step() -> None:
        _recompute.RECOMPUTED_FROM = LIMITS[kind]
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=freed)  # last: what a measured step frees it has allocated

    return step


def main() -> None:
    """Measure, print, write the JSON."""
    parser = harness.arguments(__doc__, harness.RESULTS / "weight_memory.json", rounds=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, measured = [], {}
    for batch in (64, 512):
        for freed in (True, False):
            steps = {kind: step_of(kind, batch, freed) for kind in LIMITS}
            for step in steps.values():
                step()
            peaks = {kind: peak_bytes(step) / 1e6 for kind, step in steps.items()}
            times = harness.take_turns(steps, options.rounds)
            gradients = "freed before" if freed else "in place"
            measured[f"{batch} {gradients}"] = {"megabytes": peaks, "times": times}
            cells = [f"{peaks[kind]:.0f} MB, {times[kind]['median_ms']:.0f} ms" for kind in LIMITS]
            rows.append([str(batch), gradients, *cells])
            print(*rows[-1], sep=" | ")
    result = harness.document(
        "eight Linear(2048, 2048), 4-bit weights with learned steps: bytes that a step allocates at most, time of a step",
        "python tests/bench/weight_memory.py",
        rounds=options.rounds,
        measured=measured,
        columns=["batch", "gradients", *LIMITS],
        rows=rows,
    )
    harness.write(result, options.output)


if __name__ == "__main__":
    main()
