# SPDX-License-Identifier: Apache-2.0
"""What the examples rest on: resumed training equals unbroken training, and the plain parts do what they say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import comparison
import training
from datasets import Split, digits
from networks import DigitsNet, FashionNet, ResNet20
from training import Normalization, Schedule, augment, train

NORMALIZE = Normalization((0.3,), (0.4,), top=16.0)


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return DigitsNet(channels=4)


def test_resumed_training_equals_unbroken_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, _ = digits()
    split = split[0:256]
    schedule = Schedule(epochs=3, lr=0.05, seed=7, batch=64, shift=1)
    whole = train(small_model(), split, NORMALIZE, schedule, tmp_path / "whole.pt").state_dict()

    calls = 0

    def interrupted(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 7:  # 4 steps an epoch: in the middle of the second
            raise KeyboardInterrupt
        return augment(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "augment", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(small_model(), split, NORMALIZE, schedule, tmp_path / "parts.pt")
    monkeypatch.undo()
    torch.manual_seed(99)  # another process has another global state
    first = torch.load(tmp_path / "parts.pt")["processor_seconds"]
    parts = train(small_model(), split, NORMALIZE, schedule, tmp_path / "parts.pt").state_dict()
    assert torch.load(tmp_path / "parts.pt")["processor_seconds"] > first > 0.0
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path: Path) -> None:
    split, _ = digits()
    path = tmp_path / "a.pt"
    train(small_model(), split[0:64], NORMALIZE, Schedule(1, 0.05, 0, batch=64, shift=1), path)
    with pytest.raises(ValueError, match="another run"):
        train(small_model(), split[0:64], NORMALIZE, Schedule(1, 0.06, 0, batch=64, shift=1), path)


def test_a_teacher_takes_the_place_of_the_labels(tmp_path: Path) -> None:
    split, _ = digits()
    wrong = Split(split.images[0:256], (split.labels[0:256] + 1) % 10)
    schedule = Schedule(epochs=6, lr=0.1, seed=7, batch=64, shift=0)
    teacher = train(small_model(), split, NORMALIZE, schedule, tmp_path / "teacher.pt", flip=False)
    expected = training.predictions(teacher, wrong, NORMALIZE)
    path = tmp_path / "student.pt"
    before = [p.clone() for p in teacher.parameters()]
    student = train(small_model(), wrong, NORMALIZE, schedule, path, flip=False, teacher=teacher)
    agreement = (training.predictions(student, wrong, NORMALIZE) == expected).double().mean()
    assert float(agreement) > 0.8  # by the labels it would be under 0.2
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    with pytest.raises(ValueError, match="another run"):  # one by labels does not go on from it
        train(small_model(), wrong, NORMALIZE, schedule, path, flip=False)


def test_divergence_is_the_one_of_its_formula() -> None:
    logits, wanted = np.random.default_rng(0).normal(size=(2, 5, 4)) * 3
    rows = []
    for z, t in zip(logits, wanted, strict=True):
        q, p = (np.exp(x / 2.0) / np.exp(x / 2.0).sum() for x in (z, t))
        rows.append(4.0 * sum(p * np.log(p / q)))
    found = training.divergence(torch.from_numpy(logits), torch.from_numpy(wanted))
    assert float(found) == pytest.approx(np.mean(rows), rel=1e-12)


def test_autocast_trains_float32_weights(tmp_path: Path) -> None:
    split, _ = digits()
    schedule = Schedule(epochs=2, lr=0.1, seed=7, batch=64, shift=0)
    rounded = dataclasses.replace(schedule, bfloat16=True)
    start = training.accuracy(training.predictions(small_model(), split, NORMALIZE), split)
    whole = train(small_model(), split, NORMALIZE, schedule, tmp_path / "a.pt", flip=False)
    half = train(small_model(), split, NORMALIZE, rounded, tmp_path / "b.pt", flip=False)
    assert all(p.dtype == torch.float32 for p in half.parameters())
    assert not torch.equal(whole.conv1.weight, half.conv1.weight)
    reached = training.accuracy(training.predictions(half, split, NORMALIZE), split)
    assert reached > start + 40.0


def test_augment_shifts_and_flips_whole_images() -> None:
    images = torch.arange(1, 1 + 6 * 2 * 5 * 5).reshape(6, 2, 5, 5)
    moved = augment(images, 1, True, torch.Generator().manual_seed(0)).numpy()
    seen = set()
    for image, result in zip(images.numpy(), moved, strict=True):
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
        options = {
            (top, left, flip): padded[:, top : top + 5, left : left + 5][:, :, :: -1 if flip else 1]
            for top in range(3)
            for left in range(3)
            for flip in (False, True)
        }
        matching = [key for key, option in options.items() if np.array_equal(option, result)]
        assert len(matching) == 1
        seen.add(matching[0])
    assert len(seen) > 2  # not the same move for every image
    unmoved = augment(images, 0, False, torch.Generator())
    assert torch.equal(unmoved, images)


def test_rounding_per_tensor_leaves_fifteen_values() -> None:
    model = small_model()
    rounded = comparison.rounded_per_tensor(model)
    weight = model.conv1.weight.detach().numpy().astype(np.float64)
    scale = np.abs(weight).max() / 7
    expected = np.clip(np.rint(weight / scale), -7, 7) * scale
    np.testing.assert_allclose(rounded.conv1.weight.detach().numpy(), expected, atol=1e-6)
    assert len(rounded.conv1.weight.unique()) <= 15


def test_digits_are_split_without_overlap_or_change_of_shares() -> None:
    train_split, test = digits()
    assert (len(train_split), len(test)) == (1347, 450)
    assert int(train_split.images.max()) == 16
    assert int(test.labels.bincount().min()) >= 43


@pytest.mark.parametrize(
    ("model", "shape", "parameters"),
    [
        (ResNet20(), (2, 3, 32, 32), 269_722),
        (DigitsNet(), (2, 1, 8, 8), None),
        (FashionNet(), (2, 1, 28, 28), None),
    ],
)
def test_networks_have_their_published_size(
    model: nn.Module, shape: tuple[int, ...], parameters: int | None
) -> None:
    assert model(torch.zeros(shape)).shape == (2, 10)
    if parameters is not None:
        assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_missing_data_folder_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import data_folder

    monkeypatch.delenv("EDGEQAT_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="--data DIR or set EDGEQAT_DATA"):
        data_folder(None)


def test_predictions_come_in_order_and_in_eval_mode() -> None:
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not self.training
            return torch.stack([-x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1)

    images = torch.tensor([0, 16, 16, 0], dtype=torch.uint8).repeat(300).view(-1, 1, 1, 1)
    split = Split(images, (images.flatten() == 16).long())
    assert training.accuracy(training.predictions(Mean(), split, NORMALIZE), split) == 100.0
