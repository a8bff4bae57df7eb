# SPDX-License-Identifier: Apache-2.0
"""ResNet-20 on CIFAR-10 (JPEG copy): float, PTQ and QAT side by side.

    python examples/cifar10_qat.py --data DIR    # minutes a row and seed; can be resumed

1. The published weights are scored on the lossless part of the test set: 1,121 of 1,228.
2. On the JPEG copy they lose ten points (compression, not quantization), so a float reference is
   fine-tuned from them. QAT gets the same start, epochs, schedule, augmentation and seeds; PTQ
   starts from the float reference.
3. Epochs and learning rate were chosen with seed 0 in float on JPEG test images 0..4,999 (lr 0.02:
   87.36, 0.05: 87.36, 0.1: 86.80 %); images 5,000..9,999 are reported.
"""

from __future__ import annotations

from pathlib import Path

import torch

import datasets
from comparison import Task, arguments, compare
from networks import ResNet20
from training import Normalization, predictions

# ImageNet's figures: the published weights were trained with them.
NORMALIZE = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def published(folder: Path) -> ResNet20:
    """ResNet-20 with the published weights (91.73 % on the full lossless test set)."""
    from safetensors.torch import load_file

    model = ResNet20()
    weights = load_file(folder / "models_cifar10_resnet" / "resnet20.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"resnet20.safetensors: missing {missing}, unexpected {unexpected}")
    return model.eval()


def task(folder: Path, epochs: int = 2, lr: float = 0.05) -> Task:
    """Fine-tuning from the published weights on the JPEG copy."""
    _, lossless = datasets.cifar10_lossless(folder)
    train, test = datasets.cifar10_jpeg(folder)
    return Task(
        name="ResNet-20 on CIFAR-10 (JPEG copy)",
        start=lambda _: published(folder),  # the seed decides the images' order and augmentation
        train=train,
        choice=test[0:5000],
        reported=test[5000:10000],
        normalize=NORMALIZE,
        epochs=epochs,
        lr=lr,
        shift=4,
        extra={"lossless": lossless},
    )


def main() -> None:
    options = arguments(__doc__, "cifar10_qat")
    folder = datasets.data_folder(options.data)

    _, lossless = datasets.cifar10_lossless(folder)
    right = int((predictions(published(folder), lossless, NORMALIZE) == lossless.labels).sum())
    print(f"published weights, lossless part: {right} of {len(lossless)} right")

    torch.manual_seed(0)
    notes = {"published_lossless_right": right, "lossless_images": len(lossless)}
    compare(task(folder), options, notes)


if __name__ == "__main__":
    main()
