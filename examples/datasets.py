# SPDX-License-Identifier: Apache-2.0
"""Loaders that the examples share: CIFAR-10, Fashion-MNIST and the digits of scikit-learn.

All images come as uint8 tensors, channels first; labels as int64. The folder with the data is
``--data`` or the environment variable ``EDGEQAT_DATA``.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 (N, C, H, W) and labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Split:
        return Split(self.images[rows], self.labels[rows])


def data_folder(argument: str | None) -> Path:
    """Returns the folder with the data sets: the argument, else EDGEQAT_DATA.

    Raises:
        FileNotFoundError: neither is given, or the folder does not exist.
    """
    name = argument or os.environ.get("EDGEQAT_DATA")
    if not name:
        raise FileNotFoundError("data folder: pass --data DIR or set EDGEQAT_DATA")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data folder: {folder} does not exist; check --data / EDGEQAT_DATA"
        )
    return folder


def cache_folder() -> Path:
    """Returns (and makes) the folder for decoded copies: EDGEQAT_CACHE, else ~/.cache/edgeqat."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(os.environ.get("EDGEQAT_CACHE") or Path(base) / "edgeqat")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _channels_first(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _labels(labels: np.ndarray) -> Tensor:
    return torch.from_numpy(labels.astype(np.int64))


def _decode_jpegs(source: Path, target: Path) -> None:
    """Decodes all 60,000 JPEG images once (about 20 s) and keeps them as plain arrays."""
    from PIL import Image
    from tqdm import tqdm

    arrays = {}
    with np.load(source) as packed:
        for split in ("train", "test"):
            data, offset = packed[f"{split}_jpeg"], packed[f"{split}_offset"]
            images = np.empty((len(offset) - 1, 32, 32, 3), np.uint8)
            for i in tqdm(range(len(images)), desc=f"decode CIFAR-10 {split}", mininterval=1.0):
                stream = io.BytesIO(data[offset[i] : offset[i + 1]].tobytes())
                images[i] = np.asarray(Image.open(stream).convert("RGB"))
            arrays[f"{split}_x"], arrays[f"{split}_y"] = images, packed[f"{split}_label"]
    temporary = target.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez(temporary, **arrays)
    temporary.replace(target)  # a half-written cache would otherwise be read by the next run


def cifar10_jpeg(folder: Path) -> tuple[Split, Split]:
    """Returns (train 50,000, test 10,000) of the JPEG-compressed copy, in the original order."""
    decoded = cache_folder() / "cifar10_jpeg_decoded.npz"
    if not decoded.exists():
        _decode_jpegs(folder / "cifar10" / "cifar10_jpeg.npz", decoded)
    with np.load(decoded) as data:
        train = Split(_channels_first(data["train_x"]), _labels(data["train_y"]))
        test = Split(_channels_first(data["test_x"]), _labels(data["test_y"]))
    return train, test


def cifar10_lossless(folder: Path) -> tuple[Split, Split]:
    """Returns (train 4,000, test 1,228) with exact pixels; never to be mixed with the JPEG copy."""
    with np.load(folder / "cifar10" / "cifar10_lossless.npz") as data:
        train = Split(_channels_first(data["train_x"]), _labels(data["train_label"]))
        test = Split(_channels_first(data["test_x"]), _labels(data["test_label"]))
    return train, test


def fashion_mnist(folder: Path) -> tuple[Split, Split]:
    """Returns (train 60,000, test 10,000), 28x28 grey, from the four original gzipped idx files."""
    splits = []
    for name in ("train", "t10k"):
        with gzip.open(folder / "fashion_mnist" / f"{name}-images-idx3-ubyte.gz") as file:
            images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
        with gzip.open(folder / "fashion_mnist" / f"{name}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8)
        splits.append(Split(torch.from_numpy(images.copy()), _labels(labels)))
    return splits[0], splits[1]


def digits(test_share: float = 0.25, seed: int = 0) -> tuple[Split, Split]:
    """Returns (train, test) of scikit-learn's 1,797 8x8 digits, pixel values 0..16, stratified."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = data.images.astype(np.uint8)[:, None]
    parts = train_test_split(
        images, data.target, test_size=test_share, random_state=seed, stratify=data.target
    )
    train_x, test_x, train_y, test_y = parts
    return (
        Split(torch.from_numpy(train_x), _labels(train_y)),
        Split(torch.from_numpy(test_x), _labels(test_y)),
    )
