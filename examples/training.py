# SPDX-License-Identifier: Apache-2.0
"""The training loop that the examples share: SGD, one-cycle, augmentation, a checkpoint an epoch.

Float and quantized models go through the same lines, with the same seeds, so that a difference in
accuracy is one of quantization and of nothing else.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from datasets import Split
from edgeqat.quantization.oscillation import Oscillation
from edgeqat.quantization.parameters import parameter_groups

Normalize = Callable[[Tensor], Tensor]  # what a split holds -> what the network takes
Augment = Callable[[Tensor, torch.Generator], Tensor]
TEMPERATURE = 2.0  # of a teacher's logits


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What decides a training run: equal schedules see the same batches in the same order."""

    epochs: int
    lr: float
    seed: int
    batch: int = 128
    shift: int = 4  # pixels, each way
    weight_decay: float = 1e-4
    bfloat16: bool = False  # autocast: 1.5 times as fast where the processor multiplies bfloat16


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Per-channel mean and deviation on a 0..1 scale; ``top`` is the largest pixel value."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    top: float = 255.0

    def __call__(self, images: Tensor) -> Tensor:
        mean = torch.tensor(self.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.std).view(1, -1, 1, 1)
        return (images.float() / self.top - mean) / std


def augment(images: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Flips half the images by chance and moves each by up to ``shift`` pixels, zeros coming in."""
    count, channels, height, width = images.shape
    padded = F.pad(images, (shift,) * 4)
    top, left = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator)
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    n = torch.arange(count).view(-1, 1, 1, 1)
    c = torch.arange(channels).view(1, -1, 1, 1)
    return padded[n, c, rows.view(count, 1, height, 1), columns.view(count, 1, 1, width)]


def varied(
    images: Tensor,
    schedule: Schedule,
    augmentation: Augment | None,
    generator: torch.Generator,
    flip: bool = True,
) -> Tensor:
    """What training shows of ``images``: ``augmentation``, or flips and shifts without one."""
    if augmentation is not None:
        return augmentation(images, generator)
    return augment(images, schedule.shift, flip, generator)


def batches(split: Split, normalize: Normalize, size: int = 500) -> Iterator[Tensor]:
    """Yields normalized images in order, without labels, as ``edgeqat.calibrate`` takes them."""
    for start in range(0, len(split), size):
        yield normalize(split.images[start : start + size])


@torch.no_grad()
def predictions(model: nn.Module, split: Split, normalize: Normalize) -> Tensor:
    """Returns the predicted classes, int64 (N,); the model is left in eval mode."""
    model.eval()
    return torch.cat([model(x).argmax(1) for x in batches(split, normalize)])


def accuracy(predicted: Tensor, split: Split) -> float:
    """Returns the share of right classes in percent."""
    return 100.0 * float((predicted == split.labels).double().mean())


def divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """T² KL(softmax(wanted / T) ‖ softmax(logits / T)), mean over the batch (Hinton et al. 2015)."""
    student, teacher = (F.log_softmax(x / TEMPERATURE, 1) for x in (logits, wanted))
    return TEMPERATURE**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _resume(path: Path, config: dict[str, object], *parts: object) -> tuple[int, float]:
    """Loads the checkpoint, if any, into the parts; the finished epochs, their processor time."""
    if not path.exists():
        return 0, 0.0
    saved = torch.load(path, weights_only=True)
    if saved["config"] != config:
        raise ValueError(
            f"{path}: written by another run ({saved['config']}, now {config}); "
            "pass another --out folder or delete the file"
        )
    for part, state in zip(parts, saved["states"], strict=True):
        part.load_state_dict(state)  # type: ignore[attr-defined]
    return int(saved["epochs"]), float(saved["processor_seconds"])


def train(
    model: nn.Module,
    split: Split,
    normalize: Normalize,
    schedule: Schedule,
    checkpoint: Path,
    *,
    flip: bool = True,
    augmentation: Augment | None = None,
    oscillation: Oscillation | None = None,
    teacher: nn.Module | None = None,
    label: str = "train",
) -> nn.Module:
    """Trains in place; goes on from ``checkpoint`` with the batches of an unbroken run.

    ``augmentation`` takes the place of flips and shifts, for data that are no images;
    ``oscillation`` counts, damps or freezes weights after every step; ``teacher``, in eval mode,
    takes the place of the labels.

    Raises:
        ValueError: the checkpoint was written with another schedule.
    """
    steps = len(split) // schedule.batch
    # One rule for float and quantized models; learned steps alone have no weight decay.
    groups = parameter_groups(
        model, lr=schedule.lr, weight_decay=schedule.weight_decay, decay_norms_and_biases=True
    )
    optimizer = torch.optim.SGD(groups, schedule.lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.lr, total_steps=steps * schedule.epochs
    )
    config = {**dataclasses.asdict(schedule), "images": len(split), "flip": flip}
    config["taught"] = teacher is not None
    parts = [model, optimizer, scheduler] + ([] if oscillation is None else [oscillation])
    done, spent = _resume(checkpoint, config, *parts)
    spent -= time.process_time()
    for epoch in range(done, schedule.epochs):
        # Seeded by (seed, epoch): a resumed epoch sees what the unbroken run would have seen.
        generator = torch.Generator().manual_seed(1_000_003 * schedule.seed + epoch)
        order = torch.randperm(len(split), generator=generator)
        model.train()
        bar = tqdm(
            range(steps), desc=f"{label} epoch {epoch + 1}/{schedule.epochs}", mininterval=2.0
        )
        for step in bar:
            rows = order[step * schedule.batch : (step + 1) * schedule.batch]
            images = varied(split.images[rows], schedule, augmentation, generator, flip)
            x = normalize(images).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=schedule.bfloat16):
                logits = model(x)
                with torch.no_grad():
                    wanted = None if teacher is None else teacher(x).float()
            if wanted is None:
                loss = F.cross_entropy(logits.float(), split.labels[rows])
            else:
                loss = divergence(logits.float(), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if oscillation is not None:
                oscillation.step()
            scheduler.step()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{loss.item():.3f}")
        states = [part.state_dict() for part in parts]
        temporary = checkpoint.with_suffix(f".{os.getpid()}.tmp")
        saved = {"config": config, "epochs": epoch + 1, "states": states}
        saved["processor_seconds"] = spent + time.process_time()
        torch.save(saved, temporary)
        temporary.replace(checkpoint)
    return model.eval()
