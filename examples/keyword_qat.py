# SPDX-License-Identifier: Apache-2.0
"""DS-CNN on spoken digits: float, PTQ and QAT side by side, on a depthwise-separable network.

    python examples/keyword_qat.py --data DIR                 # can be interrupted and resumed
    python examples/keyword_qat.py --data DIR --oscillation   # weights that jump, 3 and 2 bits
    python examples/keyword_qat.py --data DIR --speakers-out  # what the choices rest on

1. MLPerf Tiny's published DS-CNN is scored on its 1,000 keyword clips where DIR has them: 913 right
   in float, 902 in INT8. Nothing is trained or chosen on those clips.
2. The same network is trained from scratch on spoken digits (FSDD). From there the float row and the
   QAT rows get the same further epochs, schedule, augmentation and seeds; PTQ starts from the float
   row. Takes 0..4 of every digit and speaker are the official test set. It holds the voices of the
   training set, is scored, clean and in noise, and decides nothing.
3. Augmentation, epochs and learning rate were chosen with speakers left out of the training takes:
   ``--speakers-out`` leaves out each in turn and scores it with networks that have never heard that
   voice.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import datasets
import speech
from comparison import ROWS, Task, arguments, compare, measure, report
from features import Features, shift_and_noise, with_noise
from networks import DSCNN
from training import Schedule, train

BASE = Schedule(epochs=20, lr=0.1, seed=100, batch=64, shift=0)
# 0.1 s each way. Left-out speakers, mean of five, one seed: noise 0.1: 73.4 %, noise 0.5: 74.5 %.
AUGMENT = functools.partial(shift_and_noise, shift=800, noise=0.5)
# Clean official takes are too easy to rank much: the float network has 249 of 250 right. In noise of a
# quarter of the peak, half of the most that training adds, it has 82 % right.
NOISE, NOISE_DRAWS = 0.25, 4
# Left-out speakers at LSQ W2A2, mean of five, one seed, clean and in noise: 6 epochs at 0.02: 47.9, 38.0 %; 12 at
# 0.02: 57.7, 44.6; 12 at 0.05: 65.5, 46.2; 20 at 0.05: 60.0, 52.1, no better on average.
EPOCHS, LR = 12, 0.05
# Nagel et al. 2022. Every control ends with fresh BatchNorm statistics; the first is nothing else.
CONTROLS = {
    "norms": {},
    "freeze": {"freeze": (0.04, 0.01)},
    "dampen": {"dampen": (0.0, 1e-3)},
}
LSQ_ROWS = ("LSQ W4A4", "LSQ W2A4", "LSQ W2A2")
OSCILLATION_ROWS = tuple(
    f"LSQ {widths}{control}"
    for widths in ("W3A3", "W2A2")
    for control in ("", *(f" {name}" for name in CONTROLS))
)
HOW_TO_GET = (
    "The spoken digits are public: git clone "
    "https://github.com/Jakobovski/free-spoken-digit-dataset DIR/free-spoken-digit-dataset"
)


def augmented(waves: Tensor, generator: torch.Generator) -> Tensor:
    return AUGMENT(waves, generator=generator)


def task_of(recordings: speech.Recordings, fitted: Tensor, scored: Tensor, out: Path) -> Task:
    """The comparison that trains on the recordings ``fitted`` and reports on ``scored``."""
    fit = recordings.split(fitted)
    # The files lie in order of digit and speaker; calibration takes the first 1,024.
    order = torch.randperm(len(fit), generator=torch.Generator().manual_seed(0))
    fit = datasets.Split(fit.images[order], fit.labels[order])
    features = Features.of(fit.images, speech.RATE)

    def start(_: int) -> nn.Module:  # the seed decides the clips' order and augmentation
        torch.manual_seed(0)
        model = DSCNN(classes=10).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return train(model, fit, features, BASE, out / "base.pt", augmentation=augmented)

    reported = recordings.split(scored)
    draws = [with_noise(reported.images, NOISE, seed) for seed in range(NOISE_DRAWS)]
    noisy = datasets.Split(torch.cat(draws), reported.labels.repeat(NOISE_DRAWS))
    return Task(
        name="DS-CNN on spoken digits (FSDD, five speakers)",
        start=start,
        train=fit,
        choice=None,
        reported=reported,
        normalize=features,
        epochs=EPOCHS,
        lr=LR,
        shift=0,
        extra={"in_noise": noisy},
        batch=BASE.batch,
        augmentation=augmented,
        controls=CONTROLS,
    )


def published_scores(folder: Path) -> dict[str, Any]:
    """How many of the 1,000 keyword clips MLPerf Tiny's networks get right, float and INT8."""
    clips = speech.keywords(folder)
    if clips is None or not (folder / "models_mlperf_tiny").is_dir():
        print(f"published DS-CNN: not scored, {folder} lacks its weights or the keyword clips")
        return {}
    with torch.no_grad():
        logits = speech.published_dscnn(folder)(clips.features)
    integer = speech.published_int8_dscnn(folder, clips.features)
    right = [int((y.argmax(1) == clips.labels).sum()) for y in (logits, integer)]
    print(f"published DS-CNN, {len(clips.labels)} keyword clips: {right[0]} right, INT8 {right[1]}")
    return {
        "keyword_clips": len(clips.labels),
        "published_float_right": right[0],
        "published_int8_right": right[1],
    }


def speakers_out(recordings: speech.Recordings, options: argparse.Namespace) -> None:
    """Every row for every speaker and seed, trained without that speaker and scored on it."""
    results = []
    known = recordings.take >= speech.OFFICIAL_TEST_TAKES
    for number, name in enumerate(recordings.speakers):
        out = options.out / f"without-{name}"
        out.mkdir(exist_ok=True)
        voice = recordings.speaker == number
        task = task_of(recordings, known & ~voice, known & voice, out)
        for seed in options.seeds:
            rows = [measure(task, row, seed, out) for row in options.rows]
            results += [{**row, "speaker": name, "seed": f"{name} {seed}"} for row in rows]
    report(task, options, {"left_out": list(recordings.speakers)}, results)


def main() -> None:
    options = arguments(
        __doc__,
        "keyword_qat",
        rows=(*ROWS, *LSQ_ROWS),
        flags={
            "--speakers-out": "leave each speaker out in turn and score that speaker",
            "--oscillation": "the rows that control oscillating weights, instead of --rows",
        },
    )
    columns = {"in_noise": "in noise, %"}
    if options.oscillation:
        options.rows = ["float", *OSCILLATION_ROWS]
        columns |= {"oscillating": "oscillating weights, %", "frozen": "frozen, %"}
    try:
        folder = datasets.data_folder(options.data)
        recordings = speech.fsdd(folder)
    except FileNotFoundError as error:
        raise SystemExit(f"{error}\n{HOW_TO_GET}") from None
    if options.speakers_out:
        speakers_out(recordings, options)
        return
    notes = published_scores(folder) | {"extra_columns": columns}
    test = recordings.take < speech.OFFICIAL_TEST_TAKES
    compare(task_of(recordings, ~test, test, options.out), options, notes)


if __name__ == "__main__":
    main()
