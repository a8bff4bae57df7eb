# SPDX-License-Identifier: Apache-2.0
"""ONNX export: the file computes the integer arithmetic of its layers, stores codes narrowly, and is the same every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

import edgeqat
from edgeqat.export import export, export_onnx
from edgeqat.export.cpu import integer_products_are_exact
from edgeqat.export.onnx import to_onnx
from models import ZOO

CPU = ["CPUExecutionProvider"]
WIDTHS = [(8, 8), (2, 8), (3, 7), (4, 6), (5, 5), (6, 4), (7, 3), (8, 2)]


class Layer(nn.Module):
    """One layer between two quantizers."""

    def __init__(self, layer: nn.Module, relu: bool) -> None:
        super().__init__()
        self.layer, self.relu = layer, relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return torch.relu(y) if self.relu else y


OPS = {
    "conv": (lambda: nn.Conv2d(8, 6, 3, padding=1), (8, 7, 7), True),
    "conv3d": (lambda: nn.Conv3d(4, 6, 3, padding=1), (4, 3, 5, 4), True),
    "linear": (lambda: nn.Linear(24, 6), (24,), False),
    "linear3d": (lambda: nn.Linear(24, 6), (5, 24), False),
}


def convert(model: nn.Module, shape: tuple[int, ...], recipe: edgeqat.Recipe) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(16, *shape, generator=generator) for _ in range(2)]
    student = edgeqat.prepare(model, edgeqat.plan(model, batches[0], recipe=recipe))
    return edgeqat.convert(edgeqat.calibrate(student, batches))


def one_layer(op: str, weight_bits: int, activation_bits: int, **more: object) -> nn.Module:
    torch.manual_seed(weight_bits)
    make, shape, relu = OPS[op]
    recipe = edgeqat.Recipe(
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        input_bits=activation_bits,
        output_bits=activation_bits,
        first_last_bits=None,
        **more,
    )
    return convert(Layer(make(), relu), shape, recipe)


def run(model: onnx.ModelProto, x: np.ndarray, dump: Path | None = None) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if dump is not None:
        options.optimized_model_filepath = str(dump)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=CPU)
    return session.run(None, {model.graph.input[0].name: x})[0]


def integers(converted: nn.Module, op: str, x: np.ndarray) -> np.ndarray:
    """The output codes of a one-layer model, in NumPy's integers (and float32 for the last step)."""
    buffers = {name: value.numpy() for name, value in converted.named_buffers()}
    first, last = [
        n for n in converted.graph.nodes if n.target is torch.ops.edgeqat.quantize.default
    ]
    (sx, zx), (sy, zy) = (
        (buffers[n.args[1].target][0], int(buffers[n.args[2].target][0])) for n in (first, last)
    )
    low, high = last.args[3:5]
    codes = np.clip(np.rint(x / sx) + zx, *first.args[3:5]).astype(np.int64) - zx
    w, sw, bias = (buffers[f"layer.{name}"] for name in ("weight", "weight_scale", "bias"))
    if op.startswith("conv"):
        spatial = w.ndim - 2
        padded = np.pad(codes, ((0, 0), (0, 0), *[(1, 1)] * spatial))
        axes = tuple(range(2, w.ndim))
        windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axes)
        taps = [1, *range(w.ndim, w.ndim + spatial)]
        sums = np.moveaxis(np.tensordot(windows, w.astype(np.int64), (taps, [1, *axes])), -1, 1)
        along = (1, -1, *[1] * spatial)
    else:
        sums = codes @ w.astype(np.int64).T
        along = (-1,)
    sums = sums + np.rint(bias / (sx * sw).astype(np.float64)).astype(np.int64).reshape(along)
    multiplier = (sx * sw / sy).astype(np.float32).reshape(along)
    lowest = zy if op.startswith("conv") else low  # ReLU
    return np.clip(np.rint(sums.astype(np.float32) * multiplier) + zy, lowest, high)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("weight_bits", "activation_bits"), WIDTHS)
def test_layer_equals_integer_arithmetic(op: str, weight_bits: int, activation_bits: int) -> None:
    if weight_bits == 8 and activation_bits == 8 and not integer_products_are_exact():
        pytest.skip("ONNX Runtime saturates 8-bit products on this CPU (no VNNI)")
    converted = one_layer(op, weight_bits, activation_bits)
    model = to_onnx(converted)
    x = np.random.default_rng(2).normal(size=(9, *OPS[op][1])).astype(np.float32) * 1.2
    name = "relu" if op.startswith("conv") else "layer"
    scale, zero_point = (
        converted.get_buffer(f"{name}_{part}").numpy()[0] for part in ("scale", "zero_point")
    )
    found = np.rint(run(model, x) / scale) + zero_point
    expected = integers(converted, op, x)
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("conv", "int8"),
        ("conv", "w4a4"),
        ("depthwise", "int8"),
        ("depthwise", "w4a4"),
        ("volume", "int8"),
        ("volume", "w4a4"),
        pytest.param("resnet20", "int8", marks=pytest.mark.full),
        pytest.param("resnet20", "w4a4", marks=pytest.mark.full),
    ],
)
def test_every_product_runs_on_integers_in_onnx_runtime(
    name: str, recipe: str, tmp_path: Path
) -> None:
    case = ZOO[name]
    model = to_onnx(convert(case.model().eval(), case.shape, edgeqat.Recipe.named(recipe)))
    dump = tmp_path / "optimized.onnx"
    run(model, case.inputs(3).numpy(), dump)
    ops = [node.op_type for node in onnx.load(dump).graph.node]
    assert "QLinearConv" in ops
    assert "QGemm" in ops
    assert not {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul"} & set(ops), ops


@pytest.mark.parametrize(
    ("bits", "element", "opset"),
    [
        (2, TensorProto.INT2, 25),
        (3, TensorProto.INT4, 21),
        (4, TensorProto.INT4, 21),
        (5, TensorProto.INT8, 18),
        (8, TensorProto.INT8, 18),
    ],
)
def test_weights_are_stored_in_the_narrowest_type(bits: int, element: int, opset: int) -> None:
    converted = one_layer("conv", bits, 8)
    model = to_onnx(converted)
    tensor = next(t for t in model.graph.initializer if t.name == "layer.weight")
    assert tensor.data_type == element
    assert next(o.version for o in model.opset_import if o.domain == "") == opset
    codes = converted.get_buffer("layer.weight").numpy().reshape(-1).astype(np.int64)
    np.testing.assert_array_equal(numpy_helper.to_array(tensor).reshape(-1).astype(np.int64), codes)
    width = {TensorProto.INT2: 2, TensorProto.INT4: 4, TensorProto.INT8: 8}[element]
    per_byte = 8 // width
    padded = np.pad(codes & (2**width - 1), (0, -len(codes) % per_byte)).reshape(-1, per_byte)
    packed = (
        (padded << (width * np.arange(per_byte))).sum(1).astype(np.uint8)
    )  # first value in the low bits
    assert tensor.raw_data == packed.tobytes()
    assert not any(
        t.data_type == TensorProto.FLOAT and len(t.dims) > 1 for t in model.graph.initializer
    )


@pytest.mark.parametrize("opset", [18, 21, 23, 25, 26])
def test_opsets_agree(opset: int) -> None:
    converted = one_layer("conv", 7, 8)
    x = np.random.default_rng(0).normal(size=(2, 8, 7, 7)).astype(np.float32)
    model = to_onnx(converted, opset=opset)
    assert [o.version for o in model.opset_import] == [opset]
    np.testing.assert_array_equal(run(model, x), run(to_onnx(converted), x))


@pytest.mark.parametrize(
    "options", [{"weight_container": "int8"}, {"optimize": False}, {"activation_type": "int8"}]
)
def test_options_do_not_change_the_numbers(options: dict[str, object]) -> None:
    converted = one_layer("linear", 3, 5)
    x = np.random.default_rng(0).normal(size=(4, 24)).astype(np.float32)
    model = to_onnx(converted, **options)
    np.testing.assert_array_equal(run(model, x), run(to_onnx(converted), x))
    if "weight_container" in options:
        assert (
            next(t for t in model.graph.initializer if t.name == "layer.weight").data_type
            == TensorProto.INT8
        )
        assert model.opset_import[0].version == 18


@pytest.mark.parametrize(("bits", "op"), [(4, "linear"), (4, "linear3d"), (8, "linear")])
def test_scales_per_group(bits: int, op: str) -> None:
    converted = one_layer(op, bits, 8, weight_granularity="group", group_size=8)
    model = to_onnx(converted)
    node = next(
        n
        for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0].startswith("layer.weight")
    )
    assert {a.name: a.i for a in node.attribute}["block_size"] == 8
    x = torch.randn(5, *OPS[op][1], generator=torch.Generator().manual_seed(3))
    step = float(converted.get_buffer("layer_scale"))
    assert np.abs(run(model, x.numpy()) - converted(x).detach().numpy()).max() <= 1.01 * step


def test_transposed_convolution_and_embedding_run() -> None:
    case = ZOO["up"]
    converted = convert(case.model().eval(), case.shape, edgeqat.Recipe.named("w2a8"))
    x = case.inputs(3)
    np.testing.assert_allclose(
        run(to_onnx(converted), x.numpy()), converted(x).detach().numpy(), atol=0.02
    )


def test_names_batch_and_bytes(tmp_path: Path) -> None:
    case = ZOO["conv"]
    converted = convert(case.model().eval(), case.shape, edgeqat.Recipe.named("w4a8"))
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    assert export_onnx(converted, first) == first
    export_onnx(converted, second)
    assert first.read_bytes() == second.read_bytes()
    model = onnx.load(first)
    onnx.checker.check_model(model, full_check=True)
    made = {name for node in model.graph.node for name in node.output}
    quantized = {
        t.name for t in converted.plan.tensors if t.status == "quantized" and t.shape[:1] == (-1,)
    } - {"x"}
    assert quantized <= made
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for batch in (1, 3, 17):
        x = case.inputs(batch)
        assert run(model, x.numpy()).shape == (batch, 5)
    assert {entry.key for entry in model.metadata_props} >= {
        "edgeqat.version",
        "edgeqat.tensors",
        "edgeqat.plan.sha256",
    }
    text = str(model)
    assert "stack_trace" not in text
    assert str(Path(__file__).parent) not in text
    assert {entry.domain for entry in model.opset_import} == {""}


def test_a_bias_beyond_int32_is_added_in_float() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 3, 1)
    with torch.no_grad():
        layer.weight[1] *= 1e-11  # 1 / (sx * sw) is about 1e14, so the bias 0.5 has 5e13 steps
        layer.bias.copy_(torch.tensor([0.1, 0.5, -0.2]))
    converted = convert(Layer(layer, False), (4, 5, 5), edgeqat.Recipe())
    x = torch.randn(4, 4, 5, 5, generator=torch.Generator().manual_seed(5))
    found, expected = run(to_onnx(converted), x.numpy()), converted(x).detach().numpy()
    assert np.abs(found - expected).max() <= 1.01 * float(converted.get_buffer("layer_scale"))
    assert np.abs(found[:, 1] - 0.5).max() < 0.02


def test_export_takes_the_student_and_the_suffix_decides(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 2))
    student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
    edgeqat.calibrate(student, [torch.randn(8, 4)])
    assert export(student, tmp_path / "m.onnx").exists()
    assert export(student, tmp_path / "m.bin", target="onnxruntime").exists()
    with pytest.raises(
        ValueError, match=r"no format has the suffix '\.xyz'.*known suffixes: \.onnx"
    ):
        export(student, tmp_path / "m.xyz")
    with pytest.raises(ValueError, match=r"unknown target 'moon'.*onnxruntime"):
        export(student, tmp_path / "m.onnx", target="moon")
    with pytest.raises((OSError, ValueError)):
        export(student, tmp_path / "missing" / "m.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.onnx"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"opset": 18}, "4-bit weight 'layer.weight' needs opset 21, found opset=18"),
        ({"opset": 17}, "opset must be 18 to 26, found 17"),
        ({"opset": 27}, "opset must be 18 to 26, found 27"),
        ({"weight_container": "int3"}, "weight_container must be one of packed, int8"),
        ({"activation_type": "int4"}, "activation_type must be one of uint8, int8"),
        ({"bias": "none"}, "bias must be one of auto, float"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], error: str, tmp_path: Path) -> None:
    converted = one_layer("linear", 4, 8)
    with pytest.raises(ValueError, match=error):
        export_onnx(converted, tmp_path / "m.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match=r"expected the model that edgeqat.convert returns, found Linear"
    ):
        export_onnx(nn.Linear(2, 2), tmp_path / "m.onnx")
    with pytest.raises(TypeError, match=r"expected a model from edgeqat.prepare"):
        export(nn.Linear(2, 2), tmp_path / "m.onnx")


def test_missing_packages_are_named() -> None:
    program = (
        "import sys\n"
        "for name in ('onnx', 'onnxscript', 'onnxruntime'): sys.modules[name] = None\n"
        "import edgeqat\n"
        "from edgeqat.export import export_onnx\n"
        "from edgeqat.verification import verify\n"
        "import torch\n"
        "layer = torch.nn.Linear(1, 1)\n"
        "for call in (lambda: export_onnx(layer, 'm.onnx'), lambda: verify(layer, 'm.onnx', [])):\n"
        "    try: call()\n"
        "    except ImportError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.count("pip install 'edgeqat[onnx]'") == 2
