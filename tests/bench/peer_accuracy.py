# SPDX-License-Identifier: Apache-2.0
"""ResNet-20 on CIFAR-10 at W4A4 with the learned quantizers of edgeqat, torch and brevitas, all else equal.

The protocol is that of examples/cifar10_qat.py (labels, float32), with whose float row (results/cifar10_qat.json) all are
compared; only the quantizers differ. Layer inputs and weights have 4 bits, the first and last layer 8; edgeqat rounds
residual sums to 8 bits too, the others leave them in float. Weight decay touches the peers' scales, about 2 % of them in the
whole run (one cycle to 0.05, momentum 0.9). Finished seeds are kept, an interrupted one goes on from its last epoch; the table
is written when every toolkit has every seed.

    python tests/bench/peer_accuracy.py --toolkits edgeqat torch --data DIR
    PYTHONPATH=python ENV/bin/python tests/bench/peer_accuracy.py --toolkits brevitas --data DIR
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "examples")]

import datasets  # noqa: E402
from cifar10_qat import NORMALIZE, task  # noqa: E402
from comparison import Task, fit, recipe_of, spread  # noqa: E402
from training import accuracy, batches, predictions  # noqa: E402

TOOLKITS = ("edgeqat", "torch", "brevitas")
RESULT = HERE / "results" / "peer_accuracy.json"
FLOAT = HERE / "results" / "cifar10_qat.json"  # the float row of the same protocol


def quantized(toolkit: str, model: nn.Module, task: Task) -> nn.Module:
    """`model` with 4-bit weights and layer inputs, as `toolkit` does it; the steps have seen data."""
    if toolkit == "edgeqat":
        import edgeqat

        plan = edgeqat.plan(
            model, NORMALIZE(task.train.images[:2]), recipe=recipe_of("LSQ", "W4A4")
        )
        student = edgeqat.prepare(model, plan)
        return edgeqat.calibrate(student, batches(task.train[0:1024], NORMALIZE, 128))
    if toolkit == "brevitas":
        from peers import brevitas_modules

        peer = brevitas_modules.quantize(model, 4, 4)
    else:
        from peers import torch_modules

        from edgeqat.nn.initial_step import mse_step

        peer = torch_modules.quantize(model, 4, 4, form="learnable", first_step=mse_step)
    peer = peer.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    with torch.no_grad():  # the first batch sets the steps, before the optimizer sees them
        peer(next(batches(task.train[0:128], NORMALIZE, 128)))
    return peer


def measured(toolkit: str, seed: int, task: Task, out: Path) -> dict[str, Any]:
    """One run, or what an earlier one left."""
    stem = out / f"{toolkit}-w4a4-seed{seed}"
    done = stem.with_suffix(".json")
    if not done.exists():
        torch.manual_seed(seed)
        started = time.perf_counter()
        model = task.start(seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model = quantized(toolkit, model, task)
        fit(task, model, task.schedule(seed), stem.with_suffix(".pt"))
        row: dict[str, Any] = {"toolkit": toolkit, "seed": seed, "epochs": task.epochs}
        for name, split in (("choice", task.choice), ("reported", task.reported)):
            assert split is not None
            row[name] = accuracy(predictions(model, split, NORMALIZE), split)
        row["seconds"] = round(time.perf_counter() - started, 1)
        spent = torch.load(stem.with_suffix(".pt"))["processor_seconds"]
        row["training_processor_seconds"] = round(spent, 1)
        temporary = done.with_suffix(".tmp")
        temporary.write_text(json.dumps(row, indent=1))
        temporary.replace(done)
    print(done.read_text())
    return dict(json.loads(done.read_text()))


def write_table(runs: list[dict[str, Any]], epochs: int, seeds: list[int], output: Path) -> None:
    """The JSON that the tables of the pages are made of."""
    from harness import document, write

    known = json.loads(FLOAT.read_text())
    if epochs != known["epochs"]:
        raise SystemExit(f"{FLOAT.name} has a float row of {known['epochs']} epochs, not {epochs}")
    reference = {r["seed"]: r["reported"] for r in known["results"] if r["row"] == "float"}
    rows = [["float", spread([reference[seed] for seed in seeds]), "", ""]]
    for toolkit in TOOLKITS:
        own = [r for r in runs if r["toolkit"] == toolkit]
        scores = [r["reported"] for r in own]
        pairs = [r["reported"] - reference[r["seed"]] for r in own]
        minutes = [r["training_processor_seconds"] / 60 for r in own]
        rows.append(
            [
                f"{toolkit} W4A4",
                spread(scores),
                spread(pairs, "+"),
                f"{statistics.mean(minutes):.1f}",
            ]
        )
    result = document(
        f"ResNet-20 on CIFAR-10 (JPEG copy), W4A4, learned steps, {epochs} epochs, seeds {seeds}",
        "python tests/bench/peer_accuracy.py",
        measured=runs,
        seeds=seeds,
        threads=1,
        clock="processor time of the process",
        columns=["", "accuracy, %", "against float, points", "training, processor minutes"],
        rows=rows,
    )
    write(result, output)


def main() -> None:
    """Train and score every toolkit and seed; the table, where all are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toolkits", nargs="+", choices=TOOLKITS, default=list(TOOLKITS))
    parser.add_argument("--data", help="folder with the data sets (default: EDGEQAT_DATA)")
    parser.add_argument("--out", type=Path, default=Path("out/peers"))
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    cifar = task(datasets.data_folder(options.data), options.epochs)
    for seed in options.seeds:
        for toolkit in options.toolkits:
            measured(toolkit, seed, cifar, options.out)
    expected = [options.out / f"{t}-w4a4-seed{s}.json" for t in TOOLKITS for s in options.seeds]
    if len(options.seeds) > 1 and all(path.exists() for path in expected):
        runs = [json.loads(path.read_text()) for path in expected]
        write_table(runs, options.epochs, options.seeds, options.output)


if __name__ == "__main__":
    main()
