# SPDX-License-Identifier: Apache-2.0
"""verify accepts the file that was exported and names what is wrong with any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, numpy_helper

import edgeqat
from edgeqat.export import export
from edgeqat.verification import Thresholds, verify
from edgeqat.verification.float_twin import float_twin
from models import ZOO


def prepared(name: str, recipe: str, seed: int = 0) -> torch.nn.Module:
    case = ZOO[name]
    # 7-bit weights: ONNX Runtime saturates 8-bit products on x86 without VNNI
    settings = edgeqat.Recipe.from_dict(
        {**edgeqat.Recipe.named(recipe).to_dict(), "reduce_range": True, "elementwise_bits": None}
    )
    model = case.model(seed).eval()
    student = edgeqat.prepare(model, edgeqat.plan(model, case.inputs(4), recipe=settings))
    return edgeqat.calibrate(student, [case.inputs(32, batch) for batch in range(2)]).eval()


@pytest.fixture(scope="module")
def student() -> torch.nn.Module:
    return prepared("conv", "w4a4")


@pytest.fixture(scope="module")
def file(student: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(student, tmp_path_factory.mktemp("verify") / "model.onnx")


def batches(count: int = 2, size: int = 8) -> list[torch.Tensor]:
    return [ZOO["conv"].inputs(size, 10 + i) for i in range(count)]


def changed(file: Path, folder: Path, change: Callable[[ModelProto], None]) -> Path:
    model = onnx.load(file)
    change(model)
    path = folder / "changed.onnx"
    onnx.save(model, path)
    return path


def replace(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[ModelProto], None]:
    """Change the values of one initialiser."""

    def apply(model: ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        value = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(change(value.copy()).astype(value.dtype), name))

    return apply


def test_the_exported_file_is_exact(student: torch.nn.Module, file: Path) -> None:
    student.train()
    report = verify(student, file, batches())
    assert student.training
    assert student.conv1.training
    student.eval()
    assert report.ok, report
    assert report.exact, report
    assert report.tapped_equal
    assert report.coverage == 1.0
    assert report.samples == report.judged == 16
    assert report.top1_agreement is not None
    assert {t.operator for t in report.tensors} >= {"quantize", "conv", "add", "linear"}
    assert {t.accumulated for t in report.tensors} == {0.0}
    assert report.file_bytes == file.stat().st_size
    assert report.latency is not None
    assert 0 < report.latency.p10_ms <= report.latency.median_ms <= report.latency.p90_ms
    data = json.loads(report.to_json())
    assert data["ok"] is True
    assert len(data["tensors"]) == len(report.tensors)
    text = str(report)
    for part in ("model.onnx on ONNX Runtime", "max LSB", "fc", "models.py:", "times as fast"):
        assert part in text


@pytest.mark.parametrize(
    ("name", "coverage"),
    [
        ("depthwise", 1.0),
        ("up", 1.0),
        ("audio", 1.0),
        ("volume", 1.0),
        ("dict_output", 1.0),
        ("tiny_lm", 0.9),
    ],
)
def test_other_networks(name: str, coverage: float, tmp_path: Path) -> None:
    case = ZOO[name]
    other = prepared(name, "int8")
    report = verify(other, export(other, tmp_path / "m.onnx"), [case.inputs(8)], latency=False)
    assert report.ok, report
    assert report.coverage >= coverage, report
    assert max(t.max_lsb for t in report.tensors) <= 1


def bump_first(value: np.ndarray) -> np.ndarray:
    wide = value.astype(np.int64).reshape(-1)
    wide[0] += 1 if wide[0] <= 0 else -1
    return wide.reshape(value.shape)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("conv2.weight", bump_first, "codes of conv2.weight: 1 of 576 values differ"),
        ("conv2.weight_scale", lambda v: v * 1.01, "scale of conv2.weight: 8 of 8 values differ"),
        ("fc_scale", lambda v: v * 1.5, "scale of fc: 1 of 1 values differ"),
        (
            "fc_zero_point",
            lambda v: v.astype(np.int64) + 1,
            "zero point of fc: 1 of 1 values differ",
        ),
        ("conv1.bias.int32", lambda v: v + 3, "bias conv1.bias: 8 of 8 values differ"),
    ],
)
def test_a_changed_number_is_found(
    name: str,
    change: Callable[[np.ndarray], np.ndarray],
    message: str,
    student: torch.nn.Module,
    file: Path,
    tmp_path: Path,
) -> None:
    report = verify(
        student, changed(file, tmp_path, replace(name, change)), batches(1), latency=False
    )
    assert not report.ok
    assert any(message in failure for failure in report.failures), report.failures
    assert report.first_divergence == name.removesuffix("_scale").removesuffix(
        "_zero_point"
    ).removesuffix(".int32")
    assert "DIFFERS" in str(report)


def narrower_clip(model: ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Clip" and n.output[0] == "relu")
    replace(node.input[2], lambda _: np.array(4))(model)


def other_operand(model: ModelProto) -> None:
    """Add the residual branch to itself instead of to the block's input."""
    node = next(n for n in model.graph.node if n.op_type == "Add")
    node.input[0] = node.input[1]


@pytest.mark.parametrize(("change", "layer"), [(narrower_clip, "relu"), (other_operand, "relu_1")])
def test_a_changed_computation_is_found_where_it_happens(
    change: Callable[[ModelProto], None],
    layer: str,
    student: torch.nn.Module,
    file: Path,
    tmp_path: Path,
) -> None:
    report = verify(student, changed(file, tmp_path, change), batches(1, 32), latency=False)
    assert not report.ok
    assert report.first_divergence == layer
    wrong = [t.name for t in report.tensors if t.max_lsb > 1]
    assert wrong == [layer], "later layers are judged on the inputs that the file had"
    assert max(t.accumulated or 0.0 for t in report.tensors) > 0


def test_the_file_of_another_model_is_found(file: Path) -> None:
    report = verify(prepared("conv", "w4a4", seed=1), file, batches(1), latency=False)
    assert not report.ok
    assert sum("differ from the model" in failure for failure in report.failures) >= 3


def test_what_the_reference_cannot_run_is_named(tmp_path: Path) -> None:
    other = prepared("lstm", "int8")
    report = verify(
        other, export(other, tmp_path / "m.onnx"), [ZOO["lstm"].inputs(4)], latency=False
    )
    assert report.ok, report
    assert any("aten.lstm" in reason for reason in report.skipped.values())
    assert 0 < report.coverage < 1
    assert "not compared" in str(report)


def test_reference_can_be_limited_and_switched_off(student: torch.nn.Module, file: Path) -> None:
    report = verify(student, file, batches(3), reference_samples=10, latency=False)
    assert (report.samples, report.judged) == (24, 10)
    assert report.ok
    report = verify(student, file, batches(1), reference=False, latency=False)
    assert report.ok
    assert report.judged == 0
    assert not report.tensors
    assert "switched off" in str(report)


def test_thresholds_decide(student: torch.nn.Module, file: Path) -> None:
    strict = Thresholds(max_lsb=-1)
    report = verify(student, file, batches(1), thresholds=strict, latency=False)
    assert not report.ok
    assert report.first_divergence == report.tensors[0].name


def test_wrong_files_and_batches_are_refused(
    student: torch.nn.Module, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*missing\.onnx.*edgeqat\.export"):
        verify(student, tmp_path / "missing.onnx", batches(1))
    with pytest.raises(ValueError, match=r"expected an \.onnx file, found 'model\.bin'"):
        verify(student, tmp_path / "model.bin", batches(1))
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(file.read_bytes()[:-700])
    with pytest.raises(ValueError, match=r"damaged\.onnx is no valid ONNX model"):
        verify(student, damaged, batches(1))
    with pytest.raises(ValueError, match="batches is empty"):
        verify(student, file, [])
    with pytest.raises(TypeError, match="do not fit"):
        verify(student, file, [(batches(1)[0], torch.zeros(8))])
    with pytest.raises(TypeError, match=r"expected a model from edgeqat\.prepare"):
        verify(torch.nn.Linear(2, 2), file, batches(1))


def test_the_float_twin_is_the_model_without_rounding(student: torch.nn.Module, file: Path) -> None:
    twin = float_twin(onnx.load(file))
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in twin.graph.node}
    session = onnxruntime.InferenceSession(
        twin.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = batches(1)[0]
    edgeqat.enable_quantizers(student, activations=False)
    try:
        expected = student(x).detach().numpy()
    finally:
        edgeqat.enable_quantizers(student)
    # biases in the file lie on the grid of the integer sums, half a step (about 1e-2 at 4 bits) away
    np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], expected, atol=0.05)
