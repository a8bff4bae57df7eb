# SPDX-License-Identifier: Apache-2.0
"""Ternary, DoReFa and per-token quantizers and oscillation_update_ against plain torch operators.

4.2 million float32 and one thread; forward + backward of the quantizers, one step of the oscillation
counters. The other side is the shortest composition of torch operators with the same result and
gradient. There is no bar: the table says what a composition costs.

    python tests/bench/quantizers.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import harness
import torch
from torch import Tensor

from edgeqat import functional

ROWS, COLUMNS = 2048, 2048
RESULT = harness.RESULTS / "quantizers.json"


def ternary(x: Tensor) -> Tensor:
    """TWN per row, straight through."""
    magnitude = x.detach().abs()
    above = magnitude > 0.7 * magnitude.mean(1, keepdim=True)
    scale = (magnitude * above).sum(1, keepdim=True) / above.sum(1, keepdim=True)
    return x + (x.sign() * above * scale - x).detach()


def dorefa(x: Tensor) -> Tensor:
    """DoReFa per row, straight through the rounding."""
    t = torch.tanh(x) / torch.tanh(x.detach().abs().amax(1, keepdim=True))
    return t + ((t * 7).round().clamp(-7, 7) / 7 - t).detach()


def per_token(x: Tensor) -> Tensor:
    """One symmetric scale a row, straight through."""
    scale = x.detach().abs().amax(1, keepdim=True) / 127
    return x + ((x / scale).round().clamp(-127, 127) * scale - x).detach()


def fresh_state(weight: Tensor) -> tuple[Tensor, ...]:
    """codes, direction, frequency, mean_code, frozen."""
    codes = torch.zeros_like(weight, dtype=torch.int8)
    counters = torch.zeros_like(weight), torch.zeros_like(weight)
    return codes, codes.clone(), *counters, torch.zeros_like(weight, dtype=torch.bool)


def oscillation(weight: Tensor, scale: Tensor, state: tuple[Tensor, ...], threshold: float) -> None:
    """Algorithm 1 of Nagel et al. with torch operators, per row, momentum 0.01."""
    codes, direction, frequency, mean_code, frozen = state
    new = (weight / scale).round().clamp(-8, 7)
    change = torch.sign(new - codes)
    frequency.mul_(0.99).add_((change * direction < 0).float(), alpha=0.01)
    mean_code.mul_(0.99).add_(new, alpha=0.01)
    direction.copy_(torch.where(change != 0, change, direction))
    frozen |= frequency > threshold
    new = torch.where(frozen, mean_code.round().clamp(-8, 7), new)
    codes.copy_(new)
    weight.copy_(torch.where(frozen, new * scale, weight))


def candidates() -> dict[str, Callable[[], Any]]:
    """Ours and torch's in turn; gradients are returned, not accumulated."""
    generator = torch.Generator().manual_seed(harness.SEED)
    x = torch.randn(ROWS, COLUMNS, generator=generator).mul_(0.3).requires_grad_()
    grad = torch.randn(ROWS, COLUMNS, generator=generator)
    weight = x.detach().clone()
    scale, zero_point = torch.full((ROWS,), 0.05), torch.zeros(ROWS, dtype=torch.int32)
    ours, theirs = fresh_state(weight), fresh_state(weight)

    def step(forward: Callable[[Tensor], Tensor]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(forward(x), x, grad)

    def update() -> None:
        functional.oscillation_update_(weight, scale, zero_point, -8, 7, *ours, 0.01, 0.02, axis=0)

    return {
        "relu": step(torch.relu),
        "copy": lambda: (x.detach().clone(), grad.clone()),
        "ternary_fake_quantize": step(lambda v: functional.ternary_fake_quantize(v, axis=0)[0]),
        "torch ternary_fake_quantize": step(ternary),
        "dorefa_fake_quantize": step(lambda v: functional.dorefa_fake_quantize(v, -7, 7, axis=0)),
        "torch dorefa_fake_quantize": step(dorefa),
        "per_token_fake_quantize": step(
            lambda v: functional.per_token_fake_quantize(v, -127, 127, symmetric=True)
        ),
        "torch per_token_fake_quantize": step(per_token),
        "oscillation_update_": update,
        "torch oscillation_update_": lambda: oscillation(weight, scale[:, None], theirs, 0.02),
    }


def check() -> None:
    """The two sides compute the same, but for rounding beside ties and thresholds."""
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(harness.SEED))
    pairs = {
        "ternary": (functional.ternary_fake_quantize(x, axis=0)[0], ternary(x)),
        "dorefa": (functional.dorefa_fake_quantize(x, -7, 7, axis=0), dorefa(x)),
        "per token": (functional.per_token_fake_quantize(x, -127, 127, True), per_token(x)),
    }
    for name, (found, wanted) in pairs.items():
        share = ((found - wanted).abs() > 1e-5).double().mean().item()
        if share > 1e-3:
            raise RuntimeError(f"{name}: {share:.2%} of the elements differ from torch's")


def rows(measured: dict[str, harness.Summary]) -> list[list[str]]:
    """The table of the documents."""
    found = []
    relu = measured["relu"]["median_ms"]
    for name, times in measured.items():
        if name.startswith("torch "):
            continue
        median = times["median_ms"]
        other = measured.get(f"torch {name}", {}).get("median_ms")
        composed = ["", ""] if other is None else [f"{other:.2f}", f"{other / median:.1f}"]
        found.append([name, f"{median:.2f}", f"{median / relu:.2f}", *composed])
    return found


def main() -> int:
    """Measure, print a table, write the JSON."""
    options = harness.arguments(__doc__, RESULT, rounds=15).parse_args()
    torch.set_num_threads(1)
    check()
    measured = harness.take_turns(candidates(), options.rounds)
    result = harness.document(
        "further quantizers forward + backward and one oscillation step, float32",
        "python tests/bench/quantizers.py",
        elements=ROWS * COLUMNS,
        rounds=options.rounds,
        measured=measured,
        columns=[
            "4.2 million float32, one thread",
            *("median, ms", "times ReLU", "torch operators, ms", "times faster"),
        ],
        rows=rows(measured),
    )
    harness.write(result, options.output)
    for row in result["rows"]:
        print("  ".join(f"{cell:>24}" for cell in row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
