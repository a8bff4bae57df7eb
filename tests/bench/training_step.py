# SPDX-License-Identifier: Apache-2.0
"""Time and memory of one training step: float against quantization-aware, edgeqat beside the other toolkits.

Every candidate runs in a process of its own (torchao and brevitas in environments of their own, see --python) beside the
float network, in turns, so that a ratio compares steps of the same seconds. Time is processor time of the process; peak
memory is the largest sum of live tensors that a step allocates, weights and batch left out, from the profiler: it is the
same in every run.

    python tests/bench/training_step.py --python brevitas=ENV/bin/python torchao=ENV/bin/python
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "examples")]
RESULT = HERE / "results" / "training_step.json"
CANDIDATES = (
    "edgeqat STE W4A4",
    "edgeqat LSQ W4A4",
    "edgeqat LSQ exact W4A4",
    "torch.ao fused W4A4",
    "torch learnable W4A4",
    "brevitas W4A4",
    "torchao W8A8",
)


def networks() -> dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]]:
    """Network name -> maker and shape of a batch."""
    from networks import DSCNN, ResNet20

    return {"ResNet-20": (ResNet20, (128, 3, 32, 32)), "DS-CNN": (DSCNN, (128, 1, 49, 10))}


def quantized(candidate: str, model: nn.Module, x: Tensor) -> nn.Module:
    """`model` as the candidate trains it, ready for a step."""
    if candidate.startswith("edgeqat"):
        import edgeqat

        rule = "lsq" if "LSQ" in candidate else "minmax"
        recipe = edgeqat.Recipe(
            weight_bits=4, activation_bits=4, weight_quantizer=rule, activation_quantizer=rule
        )
        student = edgeqat.prepare(model, edgeqat.plan(model, x[:2], recipe=recipe))
        if "exact" in candidate:
            for module in student.modules():
                if isinstance(module, edgeqat.nn.LearnedActivationQuantizer):
                    module.save = "exact"
        return edgeqat.calibrate(student, [x])
    if candidate.startswith("torch."):
        from peers import torch_modules

        return torch_modules.quantize(model, 4, 4, form="fused")
    if candidate.startswith("torch "):
        from peers import torch_modules

        from edgeqat.nn.initial_step import mse_step

        return torch_modules.quantize(model, 4, 4, form="learnable", first_step=mse_step)
    if candidate.startswith("brevitas"):
        from peers import brevitas_modules

        return brevitas_modules.quantize(model, 4, 4)
    from peers import torchao_pt2e

    return torchao_pt2e.quantize(model, x)


def step_of(model: nn.Module, x: Tensor, labels: Tensor) -> Callable[[], None]:
    """One step of SGD with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def step() -> None:
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def peak_bytes(step: Callable[[], None]) -> int:
    """The largest sum of live bytes that `step` allocates."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        step()
    live = most = 0
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most


def measure(candidate: str, network: str, rounds: int, threads: int) -> dict[str, Any]:
    """Milliseconds of a float and of a quantized step in turns, and the peak memory of both."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    make, shape = networks()[network]
    x = torch.randn(shape)
    labels = torch.randint(0, 10, (shape[0],))
    if len(shape) == 4 and shape[1] > 1:
        x = x.contiguous(memory_format=torch.channels_last)
    float_model = make().train()
    student = quantized(candidate, make(), x)
    if "torchao" not in candidate:  # an exported module is captured in train mode
        student.train()
    steps = {"float": step_of(float_model, x, labels), "quantized": step_of(student, x, labels)}
    for step in steps.values():
        for _ in range(3):
            step()
    peaks = {name: peak_bytes(step) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.process_time()
            step()
            times[name].append(1e3 * (time.process_time() - start))
    ratios = [q / f for f, q in zip(times["float"], times["quantized"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "candidate": candidate,
        "network": network,
        "float_ms": statistics.median(times["float"]),
        "quantized_ms": statistics.median(times["quantized"]),
        "ratio": middle,
        "ratio_quartiles": [low, high],
        "float_peak_bytes": peaks["float"],
        "quantized_peak_bytes": peaks["quantized"],
        "memory_ratio": peaks["quantized"] / peaks["float"],
    }


def main() -> int:
    """Run every candidate, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", nargs="+", default=list(CANDIDATES), choices=CANDIDATES)
    parser.add_argument("--networks", nargs="+", default=["ResNet-20", "DS-CNN"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--python", nargs="*", default=[], metavar="PEER=PYTHON")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        row = measure(
            arguments.candidates[0], arguments.networks[0], arguments.rounds, arguments.threads
        )
        print(json.dumps(row))
        return 0
    interpreters = dict(pair.split("=", 1) for pair in arguments.python)
    rows = []
    for network in arguments.networks:
        for candidate in arguments.candidates:
            peer = candidate.split()[0]
            if peer in ("brevitas", "torchao") and peer not in interpreters:
                print(f"{network}: {candidate}: left out, no --python {peer}=...")
                continue
            command = [interpreters.get(peer, sys.executable), __file__, "--one"]
            command += ["--candidates", candidate, "--networks", network]
            command += ["--rounds", str(arguments.rounds), "--threads", str(arguments.threads)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                print(run.stderr[-2000:], file=sys.stderr)
                raise RuntimeError(f"{network}: {candidate} failed")
            row = json.loads(run.stdout.splitlines()[-1])
            rows.append(row)
            print(
                f"{network:10} {candidate:24} {row['float_ms']:8.1f} ms float, x{row['ratio']:.2f} time, "
                f"x{row['memory_ratio']:.2f} memory"
            )
    from harness import document, write

    result = document(
        "one training step, batch 128, SGD with momentum: quantization-aware against float",
        "python tests/bench/training_step.py --python brevitas=ENV/bin/python torchao=ENV/bin/python",
        measured=rows,
        threads=arguments.threads,  # of the processes that were timed
        clock="processor time of the process",
        rounds=arguments.rounds,
        columns=[
            "network",
            "quantizers",
            "step, times float's (quartiles)",
            "peak memory, times float's",
        ],
        rows=[
            [
                row["network"],
                row["candidate"],
                f"{row['ratio']:.2f} ({row['ratio_quartiles'][0]:.2f} to {row['ratio_quartiles'][1]:.2f})",
                f"{row['memory_ratio']:.2f}",
            ]
            for row in rows
        ],
    )
    write(result, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
