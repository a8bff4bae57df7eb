# SPDX-License-Identifier: Apache-2.0
"""A small CNN on Fashion-MNIST: float, PTQ and QAT side by side.

    python examples/fashion_mnist_qat.py --data DIR    # can be interrupted and resumed

Every seed trains its own network from scratch (8 epochs on the first 54,000 training images). From
there the float row and the QAT rows get the same further epochs, schedule, augmentation and seeds;
PTQ starts from the float row. The last 6,000 training images are for choices, the whole test set
is reported.
"""

from __future__ import annotations

import torch
from torch import nn

import datasets
from comparison import Task, arguments, compare
from networks import FashionNet
from training import Normalization, Schedule, train

NORMALIZE = Normalization((0.2860,), (0.3530,))


def main() -> None:
    options = arguments(__doc__, "fashion_mnist_qat")
    images, test = datasets.fashion_mnist(datasets.data_folder(options.data))
    fit, choice = images[0:54000], images[54000:60000]

    def start(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = FashionNet(width=40).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        schedule = Schedule(epochs=8, lr=0.1, seed=100 + seed, shift=0, weight_decay=5e-4)
        return train(
            model,
            fit,
            NORMALIZE,
            schedule,
            options.out / f"base-seed{seed}.pt",
            label=f"base-seed{seed}",
        )

    task = Task(
        name="small CNN on Fashion-MNIST",
        start=start,
        train=fit,
        choice=choice,
        reported=test,
        normalize=NORMALIZE,
        epochs=3,
        lr=0.02,
        shift=0,
    )
    compare(task, options, {})


if __name__ == "__main__":
    main()
