# SPDX-License-Identifier: Apache-2.0
"""ResNet-20 on CIFAR-10 at W4A4 with the learned quantizers of torch and of brevitas: same start, epochs, schedule, seeds.

The protocol is that of examples/cifar10_qat.py; only the quantizers differ. Finished seeds are kept, an interrupted one
goes on from its last epoch.

    python tests/bench/peer_accuracy.py --peer torch --data DIR
    ENV/bin/python tests/bench/peer_accuracy.py --peer brevitas --data DIR
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "examples")]

import datasets  # noqa: E402
from cifar10_qat import NORMALIZE, published  # noqa: E402
from training import Schedule, accuracy, batches, predictions, train  # noqa: E402


def quantized(peer: str, model: nn.Module) -> nn.Module:
    """`model` with 4-bit weights and layer inputs, as `peer` does it."""
    if peer == "brevitas":
        from peers import brevitas_modules

        return brevitas_modules.quantize(model, 4, 4)
    from peers import torch_modules

    from edgeqat.nn.initial_step import mse_step

    return torch_modules.quantize(model, 4, 4, form="learnable", first_step=mse_step)


def main() -> None:
    """Train and score every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", choices=("torch", "brevitas"), required=True)
    parser.add_argument("--data", help="folder with the data sets (default: EDGEQAT_DATA)")
    parser.add_argument("--out", type=Path, default=Path("out/peers"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    folder = datasets.data_folder(options.data)
    images, test = datasets.cifar10_jpeg(folder)
    for seed in options.seeds:
        stem = options.out / f"{options.peer}-w4a4-seed{seed}"
        done = stem.with_suffix(".json")
        if not done.exists():
            started = time.perf_counter()
            model = quantized(options.peer, published(folder))
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            model.train()
            first = next(iter(batches(images[0:128], NORMALIZE, 128)))
            with torch.no_grad():
                model(first)  # the first batch sets the steps, before the optimizer sees them
            schedule = Schedule(options.epochs, options.lr, seed)
            train(model, images, NORMALIZE, schedule, stem.with_suffix(".pt"), label=stem.name)
            row = {
                "row": f"{options.peer} W4A4",
                "seed": seed,
                "epochs": options.epochs,
                "choice": accuracy(predictions(model, test[0:5000], NORMALIZE), test[0:5000]),
                "reported": accuracy(
                    predictions(model, test[5000:10000], NORMALIZE), test[5000:10000]
                ),
                "seconds": round(time.perf_counter() - started, 1),
            }
            done.write_text(json.dumps(row, indent=1))
        print(done.read_text())


if __name__ == "__main__":
    main()
