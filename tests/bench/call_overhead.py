# SPDX-License-Identifier: Apache-2.0
"""What one call costs on 64 elements, where the data are too small to matter.

Forward and backward from Python, eager: the function, the fused function and the quantizer modules
against torch's fused module and against ReLU. The bar: each takes at most 1.25 times as long as
torch.ao.quantization's FusedMovingAvgObsFakeQuantize of the same granularity. With `--compiled` each is
also compiled with `fullgraph=True`, which fails on a graph break; that form has no bar, because
torch.compile alone costs three times torch's module on so few elements.

    python tests/bench/call_overhead.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import harness
import torch
from torch import Tensor
from torch.ao.quantization import (
    default_fused_act_fake_quant,
    default_fused_per_channel_wt_fake_quant,
)

from edgeqat import functional
from edgeqat.nn.quantizers import ActivationQuantizer, WeightQuantizer
from edgeqat.quantization.spec import QuantSpec

BAR = 1.25
REFERENCE = "torch FusedMovingAvgObsFakeQuantize"
WEIGHT_REFERENCE = "torch FusedMovingAvgObsFakeQuantize, per channel"


def forwards() -> dict[str, Callable[[Tensor], Tensor]]:
    """One forward each; per channel, x is [8, 8]."""
    scale, zero_point = torch.tensor([0.05]), torch.tensor([3], dtype=torch.int32)
    low, high = torch.tensor([torch.inf]), torch.tensor([-torch.inf])
    state = (low, high, torch.zeros(2, dtype=torch.int64), scale.clone(), zero_point.clone())
    weights = QuantSpec(8, granularity="channel", axis=0, narrow_range=True)
    return {
        "torch.relu": torch.relu,
        REFERENCE: default_fused_act_fake_quant(),
        "edgeqat fake_quantize": lambda x: functional.fake_quantize(
            x, scale, zero_point, -128, 127
        ),
        "edgeqat observe_fake_quantize_": lambda x: functional.observe_fake_quantize_(
            x, *state, -128, 127, False, 0.01
        ),
        "edgeqat ActivationQuantizer": ActivationQuantizer(QuantSpec(8, symmetric=False)),
        WEIGHT_REFERENCE: default_fused_per_channel_wt_fake_quant(),
        "edgeqat WeightQuantizer, per channel": WeightQuantizer(weights, (8, 8)),
    }


def steps(
    candidates: dict[str, Callable[[Tensor], Tensor]],
) -> dict[str, Callable[[], Any]]:
    """Forward and backward into the gradient of a leaf, as training does."""
    generator = torch.Generator().manual_seed(harness.SEED)
    x = torch.randn(8, 8, generator=generator).requires_grad_()
    grad = torch.randn(8, 8, generator=generator)
    return {name: lambda f=f: f(x).backward(grad) for name, f in candidates.items()}


def compiled() -> dict[str, Callable[[Tensor], Tensor]]:
    """Ours as one graph each, and ReLU as what torch.compile costs; a graph break raises."""
    return {
        f"{name}, compiled": torch.compile(forward, fullgraph=True)
        for name, forward in forwards().items()
        if name.startswith(("edgeqat", "torch.relu"))
    }


def main() -> int:
    """Measure, print, write the JSON; fails above the bar."""
    parser = harness.arguments(__doc__, harness.RESULTS / "call_overhead.json", rounds=21)
    parser.add_argument("--compiled", action="store_true", help="measure the compiled forms too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    candidates = steps(forwards())
    if options.compiled:
        candidates |= steps(compiled())
    measured = harness.take_turns(candidates, options.rounds, calls=200)
    reference = {
        name: measured[WEIGHT_REFERENCE if "per channel" in name else REFERENCE]["median_ms"]
        for name in measured
    }
    result = harness.document(
        "one call, forward + backward, 64 float32",
        "python tests/bench/call_overhead.py" + (" --compiled" if options.compiled else ""),
        rounds=options.rounds,
        measured=measured,
        columns=["forward + backward of one call, 64 float32", "median, us", "of torch's module"],
        rows=[
            [name, f"{1e3 * row['median_ms']:.1f}", f"{row['median_ms'] / reference[name]:.2f}"]
            for name, row in measured.items()
        ],
    )
    harness.write(result, options.output)
    worst = 0.0
    for name, row in measured.items():
        ratio = row["median_ms"] / reference[name]
        print(f"{name:50} {1e3 * row['median_ms']:7.1f} us   {ratio:.2f}")
        if name.startswith("edgeqat") and "compiled" not in name:
            worst = max(worst, ratio)
    print(f"at most {worst:.2f} times torch's module (bar: {BAR:g}); wrote {options.output}")
    return 0 if worst <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
