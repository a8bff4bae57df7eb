# SPDX-License-Identifier: Apache-2.0
"""The keyword example: features against numpy and against the published ones, loaders, splits, published networks."""

from __future__ import annotations

import dataclasses
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

import comparison
import keyword_qat
import speech
from comparison import Task
from features import Features, mel_matrix, mfcc, shift_and_noise
from networks import DSCNN
from training import Schedule


@pytest.fixture(scope="module")
def clips(data_dir: Path) -> speech.Keywords:
    found = speech.keywords(data_dir)
    if found is None:
        pytest.skip(f"keyword clips: {data_dir} does not have them")
    return found


def slow_mfcc(clip: np.ndarray, rate: int) -> np.ndarray:
    """The definition in float64, one frame, band and coefficient after the other."""
    window, hop = round(0.03 * rate), round(0.02 * rate)
    size = 2 ** int(np.ceil(np.log2(window)))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)

    def mel(hertz: float) -> float:
        return 2595 / np.log10(np.e) * np.log10(1 + hertz / 700) * 1127 / 2595

    centres = np.linspace(mel(20), mel(4000), 42)
    clip = clip.astype(np.float64) / clip.max()
    frames = []
    for start in range(0, len(clip) - window + 1, hop):
        magnitude = np.abs(np.fft.rfft(clip[start : start + window] * hann, size))
        bands = np.zeros(40)
        for k in range(1, len(magnitude)):
            position = mel(k * rate / size)
            for band in range(40):
                left, middle, right = centres[band : band + 3]
                if left < position <= middle:
                    bands[band] += magnitude[k] * (position - left) / (middle - left)
                elif middle < position < right:
                    bands[band] += magnitude[k] * (right - position) / (right - middle)
        logs = np.log(bands + 1e-6)
        angles = np.pi / 40 * np.outer(np.arange(10), np.arange(40) + 0.5)
        frames.append(2 * np.cos(angles) @ logs / np.sqrt(2 * 40))
    return np.array(frames)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_features_follow_their_definition(rate: int) -> None:
    noise = np.random.default_rng(0).normal(size=(2, rate))
    tone = np.sin(np.arange(rate) * 0.3) * np.linspace(0, 1, rate)
    waves = (3000 * noise * [[0.1], [1.0]] + 9000 * tone).astype(np.int16)
    found = mfcc(torch.from_numpy(waves), rate)
    assert found.shape == (2, 49, 10)
    for clip, rows in zip(waves, found, strict=True):
        np.testing.assert_allclose(rows.numpy(), slow_mfcc(clip, rate), atol=2e-3)


def test_features_of_silence_are_those_of_the_floor() -> None:
    silent = mfcc(torch.zeros(1, 8000, dtype=torch.int16), 8000)
    expected = np.zeros(10)
    expected[0] = np.log(1e-6) * np.sqrt(2 * 40)  # every band has the same logarithm
    np.testing.assert_allclose(silent[0].numpy(), np.tile(expected, (49, 1)), atol=1e-4)


def test_neighbouring_mel_bands_share_every_bin_between_them() -> None:
    weights = mel_matrix(257, 16000)
    hertz = torch.arange(257) * 8000 / 256
    inside = (hertz > 80) & (hertz < 3500)  # between the middles of the first and the last band
    torch.testing.assert_close(weights[inside].sum(1), torch.ones(int(inside.sum())))
    assert not weights[hertz > 4000].any()


def test_features_equal_the_published_ones(clips: speech.Keywords, data_dir: Path) -> None:
    with np.load(data_dir / "speech_commands_kws01" / "kws01_1000.npz") as data:
        waves = torch.from_numpy(data["audio"])
    steps = mfcc(waves, 16000) / clips.scale + clips.zero_point
    # Published codes were cut, not rounded, and one clip's passed 127 and came out below zero.
    codes = steps.trunc().to(torch.int64)
    codes = (codes + 128) % 256 - 128
    distance = (codes - clips.codes).abs()
    assert int(distance.max()) <= 1
    assert float((distance == 0).double().mean()) > 0.995


def test_published_networks_score_as_recorded(
    clips: speech.Keywords, mlperf_tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = keyword_qat.published_scores(mlperf_tiny.parent)
    # One clip may sit on a rounding edge of another CPU.
    assert abs(notes["published_float_right"] - 913) <= 1
    assert abs(notes["published_int8_right"] - 902) <= 1
    assert "1000 keyword clips" in capsys.readouterr().out
    with np.load(mlperf_tiny / "golden_outputs.npz") as golden:
        recorded = torch.from_numpy(golden["dscnn_int8_out"])
    logits = speech.published_int8_dscnn(mlperf_tiny.parent, clips.features)
    codes = (torch.softmax(logits, 1) * 256 - 128).round().clamp(-128, 127)
    assert float(((codes - recorded).abs() <= 1).double().mean()) > 0.999
    assert int((logits.argmax(1) == recorded.argmax(1)).sum()) >= 999


def test_published_scores_are_left_out_where_the_data_lack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keyword_qat.published_scores(tmp_path) == {}
    assert "not scored" in capsys.readouterr().out


def test_clips_are_moved_by_whole_samples_within_the_limit() -> None:
    waves = torch.arange(1, 1 + 40 * 12, dtype=torch.int16).view(40, 1, 1, 12)
    moved = shift_and_noise(waves, 3, 0.0, torch.Generator().manual_seed(0))
    seen = set()
    for clip, result in zip(waves.flatten(1).numpy(), moved.flatten(1).numpy(), strict=True):
        padded = np.pad(clip, 3)
        matching = [k for k in range(7) if np.array_equal(padded[k : k + 12], result)]
        assert len(matching) == 1
        seen.add(matching[0])
    assert seen == set(range(7))


def test_half_the_clips_get_noise_below_the_limit() -> None:
    waves = torch.zeros(400, 1, 1, 1000)
    waves[..., 500] = 100.0
    noisy = shift_and_noise(waves, 0, 0.2, torch.Generator().manual_seed(1))
    deviation = (noisy - waves).flatten(1).std(1)
    assert 0.4 < float((deviation > 0).double().mean()) < 0.6
    assert float(deviation.max()) < 1.1 * 20.0
    assert float(deviation.max()) > 0.8 * 20.0
    again = shift_and_noise(waves, 0, 0.2, torch.Generator().manual_seed(1))
    assert torch.equal(noisy, again)


def test_recordings_come_in_the_middle_of_one_second() -> None:
    clip = np.arange(1, 6, dtype=np.int16)
    assert speech.one_second(clip, 8).tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    assert speech.one_second(clip, 3).tolist() == [2, 3, 4]
    assert speech.one_second(clip, 5).tolist() == clip.tolist()


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def test_wav_files_of_the_public_repository_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "free-spoken-digit-dataset" / "recordings"
    sound = np.random.default_rng(3).integers(-9000, 9000, 5000)
    write_wav(folder / "7_theo_12.wav", sound)
    write_wav(folder / "3_anna_0.wav", sound[:10])
    found = speech.fsdd(tmp_path)
    assert found.speakers == ("anna", "theo")
    rows = torch.stack([found.label, found.speaker, found.take], 1)
    assert rows.tolist() == [[3, 0, 0], [7, 1, 12]]
    assert found.waves.shape == (2, 1, 1, 8000)
    np.testing.assert_array_equal(found.waves[1, 0, 0, 1500:6500].numpy(), sound)
    write_wav(folder / "1_theo_1.wav", sound, rate=16000)
    with pytest.raises(ValueError, match=r"must be \(8000, 1, 2\), found \(16000, 1, 2\)"):
        speech.fsdd(tmp_path)


def test_missing_recordings_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["keyword_qat.py", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match="free-spoken-digit-dataset") as caught:
        keyword_qat.main()
    assert "git clone" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def recordings(count: int = 40) -> speech.Recordings:
    """Two digits, two speakers, ten takes: a low and a high tone in noise."""
    numbers = torch.arange(count)
    label, speaker, take = numbers % 2, numbers // 2 % 2, numbers // 4
    time = torch.arange(8000)
    tones = 8000 * torch.sin(time * (0.1 + 0.4 * label.view(-1, 1)))
    noise = 500 * torch.randn(count, 8000, generator=torch.Generator().manual_seed(0))
    waves = (tones + noise).to(torch.int16).view(count, 1, 1, 8000)
    return speech.Recordings(waves, label, speaker, take, ("low", "high"))


def test_a_task_trains_on_no_recording_that_it_scores(tmp_path: Path) -> None:
    found = recordings()
    voice = found.speaker == 1
    known = found.take >= 5
    task = keyword_qat.task_of(found, known & ~voice, known & voice, tmp_path)
    assert (len(task.train), len(task.reported)) == (10, 10)
    trained = {clip.numpy().tobytes() for clip in task.train.images}
    assert len(trained) == 10
    assert not trained & {clip.numpy().tobytes() for clip in task.reported.images}
    mean = task.normalize(task.train.images).mean((0, 1, 2))
    torch.testing.assert_close(mean, torch.zeros(10), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        Features.of(task.train.images, 8000).mean, task.normalize.mean, rtol=0, atol=1e-3
    )


def test_every_speaker_is_left_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyword_qat, "BASE", Schedule(1, 0.05, 0, batch=5, shift=0))
    seen: list[tuple[int, set[int]]] = []

    def one_row(task: Task, row: str, seed: int, out: Path) -> dict[str, object]:
        task.start(seed)  # trains: the base network must not fail on so few recordings
        seen.append((len(task.train), set(task.reported.labels.tolist())))
        assert out.name in ("without-low", "without-high")
        return {"row": row, "seed": seed, "reported": 50.0}

    monkeypatch.setattr(keyword_qat, "measure", one_row)
    arguments = ["x", "--speakers-out", "--rows", "float", "--seeds", "0", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setenv("EDGEQAT_DATA", str(tmp_path))
    monkeypatch.setattr(speech, "fsdd", lambda _: recordings())
    keyword_qat.main()
    assert seen == [(10, {0, 1}), (10, {0, 1})]
    assert (tmp_path / "results.json").exists()


def test_rows_with_learned_steps_count_and_freeze(tmp_path: Path) -> None:
    found = recordings()

    def start(_: int) -> DSCNN:
        torch.manual_seed(0)
        return DSCNN(classes=2, channels=8)

    task = keyword_qat.task_of(found, found.take >= 5, found.take < 5, tmp_path)
    task = dataclasses.replace(
        task,
        start=start,
        epochs=2,
        batch=5,
        lr=0.2,
        # With momentum 1 the frequency is the last step's event: whatever turns back is frozen.
        controls={"freeze": {"momentum": 1.0, "freeze": 0.5}, "norms": {}},
    )
    plain = comparison.measure(task, "LSQ W3A4", 0, tmp_path)
    assert plain["training_processor_seconds"] > 0.0
    assert comparison.measure(task, "LSQ W3A4 taught", 0, tmp_path)["onnx_agreement"] >= 90.0
    assert (tmp_path / "float-seed0.pt").exists()  # the teacher
    frozen = comparison.measure(task, "LSQ W3A4 freeze", 0, tmp_path)
    norms = comparison.measure(task, "LSQ W3A4 norms", 0, tmp_path)
    assert norms["oscillating"] == plain["oscillating"]  # the plain row's training,
    assert not (tmp_path / "lsq_w3a4_norms-seed0.pt").exists()  # not one more
    assert (tmp_path / "lsq_w3a4_norms-seed0.onnx").read_bytes() != (
        tmp_path / "lsq_w3a4-seed0.onnx"
    ).read_bytes()
    assert plain["oscillating"] > 0.0
    assert plain["frozen"] == 0.0
    assert frozen["frozen"] > 0.0
    assert min(plain["onnx_agreement"], frozen["onnx_agreement"]) >= 90.0
    assert comparison.measure(task, "LSQ W3A4 freeze", 0, tmp_path) == frozen  # read back
