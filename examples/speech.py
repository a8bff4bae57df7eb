# SPDX-License-Identifier: Apache-2.0
"""Loaders for speech: spoken digits (FSDD) and MLPerf Tiny's keyword clips with its published DS-CNN.

Waveforms come as int16 tensors (N, 1, 1, samples), one second each, so that the training loop of
the image examples takes them; labels as int64.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import wave
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from datasets import Split
from edgeqat.functional import fake_quantize
from networks import DSCNN

RATE = 8000  # of FSDD, samples a second
OFFICIAL_TEST_TAKES = 5  # takes 0..4 of every digit and speaker


@dataclasses.dataclass(frozen=True)
class Recordings:
    """Spoken digits: waves int16 (N, 1, 1, 8000); label, speaker and take int64 (N,)."""

    waves: Tensor
    label: Tensor
    speaker: Tensor
    take: Tensor
    speakers: tuple[str, ...]

    def split(self, chosen: Tensor) -> Split:
        """The recordings where ``chosen``, bool (N,), is true."""
        return Split(self.waves[chosen], self.label[chosen])


def one_second(clip: np.ndarray, samples: int = RATE) -> np.ndarray:
    """The middle ``samples`` of a recording, or the recording in the middle of silence."""
    if len(clip) > samples:
        first = (len(clip) - samples) // 2
        return clip[first : first + samples]
    before = (samples - len(clip)) // 2
    return np.pad(clip, (before, samples - len(clip) - before))


def _read_wav(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if form != (RATE, 1, 2):
            raise ValueError(
                f"{path}: rate, channels, bytes a sample must be (8000, 1, 2), found {form}"
            )
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def fsdd(folder: Path) -> Recordings:
    """Free Spoken Digit Dataset: the public repository's recordings, or one packed file.

    Reads ``fsdd/fsdd_5speakers.npz``, else ``free-spoken-digit-dataset/recordings/*.wav``
    (``{digit}_{speaker}_{take}.wav``) below ``folder``.

    Raises:
        FileNotFoundError: the folder has neither.
    """
    packed = folder / "fsdd" / "fsdd_5speakers.npz"
    files = sorted((folder / "free-spoken-digit-dataset" / "recordings").glob("*_*_*.wav"))
    if packed.exists():
        with np.load(packed) as data:
            audio, offset = data["audio"], data["offset"]
            waves = [audio[a:b] for a, b in itertools.pairwise(offset)]
            names = tuple(str(name) for name in data["speaker_names"])
            columns = [data[key].astype(np.int64) for key in ("label", "speaker", "take")]
    elif files:
        waves = [_read_wav(path) for path in files]
        words = [path.stem.split("_") for path in files]
        names = tuple(sorted({speaker for _, speaker, _ in words}))
        numbers = [(int(digit), names.index(who), int(take)) for digit, who, take in words]
        columns = list(np.array(numbers, np.int64).T)
    else:
        raise FileNotFoundError(
            f"spoken digits: {folder} has neither {packed.relative_to(folder)} nor "
            "free-spoken-digit-dataset/recordings/*.wav; clone the repository "
            "Jakobovski/free-spoken-digit-dataset from GitHub into that folder (30 MB)"
        )
    clips = torch.from_numpy(np.stack([one_second(clip) for clip in waves]))
    label, speaker, take = (torch.from_numpy(np.ascontiguousarray(c)) for c in columns)
    return Recordings(clips.view(-1, 1, 1, RATE), label, speaker, take, names)


@dataclasses.dataclass(frozen=True)
class Keywords:
    """MLPerf Tiny's 1,000 test clips: int8 MFCCs (N, 49, 10), their step and zero point, labels."""

    codes: Tensor
    scale: float
    zero_point: int
    labels: Tensor

    @property
    def features(self) -> Tensor:
        """What the published float network takes, float32 (N, 1, 49, 10)."""
        return ((self.codes.float() - self.zero_point) * self.scale).unsqueeze(1)


def keywords(folder: Path) -> Keywords | None:
    """The clips, or None where the folder does not have them. For scores only, never to train."""
    path = folder / "speech_commands_kws01" / "kws01_1000.npz"
    if not path.exists():
        return None
    with np.load(path) as data:
        return Keywords(
            torch.from_numpy(data["mfcc_int8"]),
            float(data["mfcc_scale"]),
            int(data["mfcc_zero_point"]),
            torch.from_numpy(data["label"].astype(np.int64)),
        )


def published_dscnn(folder: Path) -> DSCNN:
    """MLPerf Tiny's DS-CNN with its float weights."""
    from safetensors.torch import load_file

    model = DSCNN(classes=12)
    weights = load_file(folder / "models_mlperf_tiny" / "dscnn_float_bn.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ValueError(f"dscnn_float_bn.safetensors: missing {missing}, unexpected {unexpected}")
    return model.eval()


@torch.no_grad()
def published_int8_dscnn(folder: Path, x: Tensor) -> Tensor:
    """Logits (N, 12) of MLPerf Tiny's INT8 DS-CNN for features (N, 1, 49, 10).

    The published integer weights, biases, scales and zero points, computed with ``fake_quantize``.
    """
    from safetensors.torch import load_file

    path = folder / "models_mlperf_tiny"
    weights = load_file(path / "dscnn_int8_weights.safetensors")
    qparams = json.loads((path / "dscnn_int8_activation_qparams.json").read_text())
    outputs = {
        name.split(":")[1]: (float(entry["scale"]), int(entry["zero_point"]))
        for name, entry in qparams["op_outputs_in_order"].items()
    }

    def tensor(name: str, kind: str) -> Tensor:
        codes, scale = weights[f"{name}.{kind}"], weights[f"{name}.{kind.split('_')[0]}_scale"]
        return codes.float() * scale.view(-1, *[1] * (codes.dim() - 1))

    x = fake_quantize(x, qparams["input"]["scale"], qparams["input"]["zero_point"], -128, 127)
    x = F.pad(x, (1, 1, 4, 5))
    blocks = [f"{kind}{i}" for i in (1, 2, 3, 4) for kind in ("dw", "pw")]
    for name in ("conv0", *blocks):
        depthwise = name.startswith("dw")
        x = F.conv2d(
            x,
            tensor(name, "weight_int8"),
            tensor(name, "bias_int32"),
            stride=2 if name == "conv0" else 1,
            padding=1 if depthwise else 0,
            groups=x.shape[1] if depthwise else 1,
        )
        x = fake_quantize(x, *outputs[name], -128, 127)  # the lowest code is 0.0: ReLU as well
    x = fake_quantize(x.mean(dim=(2, 3)), *outputs["average_pool_2d"], -128, 127)
    x = F.linear(x, tensor("fc", "weight_int8"), tensor("fc", "bias_int32"))
    return fake_quantize(x, *outputs["fc"], -128, 127)
