# SPDX-License-Identifier: Apache-2.0
"""convert: BatchNorm in scales by hand-written float64 formulas, dead channels, lowering, integer reference."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import edgeqat
import models
from edgeqat import _C
from edgeqat.graph.lower import lower


class ConvBN(nn.Module):
    """One convolution and its BatchNorm, gamma from -1 to 1 with an exact 0."""

    def __init__(self, transposed: bool = False) -> None:
        super().__init__()
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.conv, self.bn = kind(3, 9, 3), nn.BatchNorm2d(9)
        with torch.no_grad():
            self.bn.weight.copy_(torch.linspace(-1, 1, 9))
            self.bn.bias.uniform_(-0.5, 0.5)
            self.bn.running_mean.uniform_(-0.5, 0.5)
            self.bn.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


def student_of(model: nn.Module, x: Tensor, **fields) -> nn.Module:
    recipe = edgeqat.Recipe(**fields)
    student = edgeqat.prepare(model, edgeqat.plan(model, x, recipe=recipe))
    return edgeqat.calibrate(student, [x]).eval()


def rounded_by_hand(
    weight: np.ndarray, signs: np.ndarray, bits: int, narrow: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of sign * w and their scale; channels along axis 0."""
    low, high = -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    flat = weight.reshape(len(weight), -1)
    scale = (np.abs(flat).max(1).astype(np.float64) / ((high - low) / 2)).astype(np.float32)
    codes = np.clip(np.rint((flat * signs[:, None]).astype(np.float32) / scale[:, None]), low, high)
    return codes, scale


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_batch_norm_goes_into_the_scale(bits: int, transposed: bool) -> None:
    torch.manual_seed(bits)
    model, x = ConvBN(transposed), torch.randn(4, 3, 6, 6)
    student = student_of(model, x, weight_bits=bits, first_last_bits=None)
    state = edgeqat.convert(student).state_dict()
    weight = model.conv.weight.detach().numpy()
    weight = weight.swapaxes(0, 1) if transposed else weight
    gamma = model.bn.weight.detach().numpy()
    codes, scale = rounded_by_hand(weight, np.where(gamma < 0, -1, 1), bits, narrow=bits >= 7)
    factor = gamma.astype(np.float64) / np.sqrt(
        model.bn.running_var.numpy().astype(np.float64) + model.bn.eps
    )
    codes[gamma == 0] = 0
    found = state["conv.weight"].numpy()
    found = found.swapaxes(0, 1) if transposed else found
    assert np.array_equal(found.reshape(9, -1), codes)
    expected = np.where(gamma == 0, 1.0, scale * np.abs(factor))
    np.testing.assert_allclose(state["conv.weight_scale"].numpy(), expected, rtol=2e-7)
    if bits < 7:
        assert codes.min() == -(2 ** (bits - 1)), (
            "the lowest code occurs, so a sign mistake would overflow"
        )
    bias = model.bn.bias.detach().numpy() + factor * (
        model.conv.bias.detach().numpy() - model.bn.running_mean.numpy().astype(np.float64)
    )
    step = float(state["x_scale"]) * expected
    np.testing.assert_allclose(state["conv.bias"].numpy(), np.rint(bias / step) * step, rtol=1e-6)


@pytest.mark.parametrize("mode", ["live", "folded", "frozen"])
@pytest.mark.parametrize("bits", [8, 4])
def test_converted_computes_what_the_student_computes(mode: str, bits: int) -> None:
    torch.manual_seed(1)
    model, x = ConvBN(), torch.randn(16, 3, 8, 8)
    student = student_of(model, x, weight_bits=bits, first_last_bits=None, batch_norm=mode)
    converted = edgeqat.convert(student)
    with torch.no_grad():
        a, b, plain = student(x), converted(x), model.eval()(x)
    step = float(student.quantizers.get_submodule("relu.output").scale)
    lsb = (a - b).abs() / step
    assert float(lsb.max()) <= 1.01
    assert float((lsb > 0.5).float().mean()) < 1e-3, "only ties may fall to the other side"
    assert float((a - plain).abs().max()) < (0.05 if bits == 8 else 0.6)


def test_per_tensor_weights_with_batch_norm_need_a_still_one() -> None:
    with pytest.raises(ValueError, match="cannot follow live BatchNorm"):
        edgeqat.Recipe(weight_granularity="tensor")
    model, x = ConvBN(), torch.randn(4, 3, 6, 6)
    for mode in ("folded", "frozen"):
        student = student_of(model, x, weight_granularity="tensor", batch_norm=mode)
        with torch.no_grad():
            step = float(student.quantizers.get_submodule("relu.output").scale)
            assert float((student(x) - edgeqat.convert(student)(x)).abs().max()) <= 1.01 * step


def test_frozen_statistics_do_not_move_and_gamma_trains() -> None:
    model, x = ConvBN(), torch.randn(4, 3, 6, 6)
    student = student_of(model, x, batch_norm="frozen").train()
    before = student.bn.running_mean.clone()
    student(x).sum().backward()
    assert torch.equal(student.bn.running_mean, before)
    assert student.bn.weight.grad is not None
    live = student_of(model, x).train()
    live(x)
    assert not torch.equal(live.bn.running_mean, before)


def test_folded_gradient_reaches_gamma_against_float64() -> None:
    model, x = ConvBN(), torch.randn(4, 3, 6, 6)
    student = edgeqat.prepare(
        model, edgeqat.plan(model, x, recipe=edgeqat.Recipe(batch_norm="folded"))
    ).train()
    edgeqat.enable_quantizers(student, weights=False, activations=False)
    student(x).square().sum().backward()
    twin = copy.deepcopy(model).double().eval()
    twin(x.double()).square().sum().backward()
    for name in ("conv.weight", "conv.bias", "bn.weight", "bn.bias"):
        torch.testing.assert_close(
            student.get_parameter(name).grad.double(),
            twin.get_parameter(name).grad,
            rtol=1e-3,
            atol=1e-3,
        )


def test_group_scales() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 8)), torch.randn(4, 64)
    student = student_of(
        model, x, weight_bits=4, weight_granularity="group", group_size=16, first_last_bits=None
    )
    state = edgeqat.convert(student).state_dict()
    weight = model[0].weight.detach().numpy().reshape(8, 4, 16)
    scale = (np.abs(weight).max(2) / 7.5).astype(np.float32)
    codes = np.clip(np.rint(weight / scale[:, :, None]), -8, 7).reshape(8, 64)
    assert np.array_equal(state["0.weight"].numpy(), codes)
    np.testing.assert_allclose(state["0.weight_scale"].numpy(), scale, rtol=2e-7)


@pytest.mark.parametrize("bias", [True, False])
def test_grouped_transposed_convolution(bias: bool) -> None:
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(nn.ConvTranspose2d(8, 6, 4, stride=2, groups=2, bias=bias)),
        torch.randn(4, 8, 5, 5),
    )
    converted = edgeqat.convert(student_of(model, x))
    state = converted.state_dict()
    scale = (model[0].weight.detach().abs().amax((0, 2, 3)).double() / 127).float()
    assert state["0.weight_scale"].shape == (3,), "one scale for an output channel of every group"
    torch.testing.assert_close(state["0.weight_scale"], scale)
    with torch.no_grad():
        step = float(state["0_scale"])
        assert float((converted(x) - model(x)).abs().max()) < 3 * step


def test_what_was_never_calibrated_is_refused() -> None:
    model, x = ConvBN(), torch.randn(4, 3, 6, 6)
    student = edgeqat.prepare(model, edgeqat.plan(model, x))
    with pytest.raises(ValueError, match=r"has seen no data; call edgeqat\.calibrate"):
        edgeqat.convert(student)
    with pytest.raises(TypeError, match=r"found ConvBN; call edgeqat\.prepare"):
        edgeqat.convert(model)
    student = edgeqat.calibrate(student, [x]).train()
    student(torch.full((2, 3, 6, 6), float("nan")))
    with pytest.raises(ValueError, match="convert: NaN or infinity"):
        edgeqat.convert(student)


def test_converted_model_is_an_ordinary_module() -> None:
    model, x = ConvBN(), torch.randn(4, 3, 6, 6)
    student = student_of(model, x)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    converted = edgeqat.convert(student)
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items()), (
        "convert leaves the student alone"
    )
    assert edgeqat.convert(converted) is converted
    for other in (copy.deepcopy(converted), pickle.loads(pickle.dumps(converted))):
        assert torch.equal(other(x), converted(x))
    assert list(converted.parameters()) == []
    torch.export.export(converted, (x,))


EXECUTABLE = [name for name in models.ZOO if name not in ("tiny_lm", "lstm", "gru", "dict_output")]


@pytest.mark.parametrize("recipe", ["int8", "w4a8", "w2a4"])
@pytest.mark.parametrize("name", EXECUTABLE)
def test_integer_reference_agrees_with_the_simulation(name: str, recipe: str) -> None:
    case = models.ZOO[name]
    model, x = case.model(), case.inputs(8)
    student = edgeqat.prepare(model, edgeqat.plan(model, x, recipe=recipe))
    converted = edgeqat.convert(edgeqat.calibrate(student, [x]))
    text, constants = lower(converted)
    graph = _C.Graph.parse(text)
    document = json.loads(text)
    codes = _C.run_reference(graph, constants, {document["inputs"][0]: x.numpy()})[
        document["outputs"][0]
    ]
    quant = document["tensors"][document["outputs"][0]]["quant"]
    scale, zero = constants[quant["scale"]], constants[quant["zero_point"]]
    with torch.no_grad():
        simulated = np.rint(converted(x).numpy() / scale) + zero
    off = np.abs(codes.astype(int) - simulated)
    assert off.max() <= 2, off.max()
    assert (off > 0).mean() <= 0.03, "each difference starts at a value half way between two codes"


class OneImage(nn.Module):
    """A convolution and a pooling on one image without a batch axis, summed over every image of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(self.conv(x.sum(0)), 2)


def test_an_image_without_batch_axis_keeps_its_aten_operators() -> None:
    torch.manual_seed(0)
    model, x = OneImage(), torch.randn(3, 2, 5, 5, 5)
    plan = edgeqat.plan(model, x, recipe="w4a4")
    student = edgeqat.calibrate(edgeqat.prepare(model, plan), [x]).eval()
    converted = edgeqat.convert(student)
    document = json.loads(lower(converted)[0])
    assert [node["op"] for node in document["nodes"]][-2:] == ["aten.conv3d", "aten.max_pool3d"]
    with torch.no_grad():
        torch.testing.assert_close(student(x), converted(x), rtol=0, atol=1e-6)


def test_lowered_graph_is_deterministic_and_complete() -> None:
    case = models.ZOO["conv"]
    model, x = case.model(), case.inputs()
    student = edgeqat.calibrate(edgeqat.prepare(model, edgeqat.plan(model, x)), [x])
    first, second = lower(edgeqat.convert(student)), lower(edgeqat.convert(student))
    assert first[0] == second[0]
    document = json.loads(first[0])
    kinds = [node["op"] for node in document["nodes"]]
    assert kinds == ["quantize", "conv", "conv", "add", "adaptive_avg_pool", "reshape", "linear"]
    assert document["nodes"][1]["activation"] == {"kind": "relu"}
    assert all(node["source"] for node in document["nodes"] if node["op"] != "quantize")


def test_student_equals_a_hand_written_qat_network_bit_for_bit() -> None:
    """The whole simulation of Linear-ReLU-Linear against NumPy float32 arithmetic on codes."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), torch.randn(32, 6)
    student = student_of(model, x)
    q = {
        n: (float(m.scale[0]), int(m.zero_point[0]))
        for n, m in student.quantizers.named_modules()
        if n.endswith("output")
    }

    def fake(value: Tensor, name: str) -> Tensor:
        scale, zero = q[name]
        return (
            torch.clamp((value / torch.tensor(scale)).round() + zero, -128, 127) - zero
        ) * torch.tensor(scale)

    def weight(layer: nn.Linear) -> Tensor:
        scale = (layer.weight.abs().amax(1, keepdim=True).double() / 127).float()
        return torch.clamp((layer.weight / scale).round(), -127, 127) * scale

    with torch.no_grad():
        given = next(name for name in q if name not in ("1.output", "2.output"))
        hidden = fake(F.linear(fake(x, given), weight(model[0]), model[0].bias).relu(), "1.output")
        expected = fake(F.linear(hidden, weight(model[2]), model[2].bias), "2.output")
        assert torch.equal(student(x), expected)


class LinearBN(nn.Module):
    """Two linear layers, the second before a BatchNorm whose gammas have both signs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bn = nn.Linear(16, 12), nn.Linear(12, 8), nn.BatchNorm1d(8)
        with torch.no_grad():
            self.bn.weight.copy_(torch.linspace(-1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.second(self.first(x).relu())).relu()


@pytest.mark.parametrize("rule", ["minmax", "lsq"])
@pytest.mark.parametrize("mode", ["live", "frozen"])
def test_groups_before_a_batch_norm(rule: str, mode: str) -> None:
    """A scale for every group of a channel, and gamma for the channel: the axes differ."""
    torch.manual_seed(0)
    model, x = LinearBN(), torch.randn(64, 16)
    fields = {"weight_granularity": "group", "group_size": 4, "weight_quantizer": rule}
    student = student_of(model, x, weight_bits=4, first_last_bits=None, batch_norm=mode, **fields)
    student.train()(x).square().sum().backward()
    assert float(student.get_parameter("second.weight").grad.abs().sum()) > 0
    student.eval()
    state = edgeqat.convert(student).state_dict()
    assert state["second.weight_scale"].shape == (8, 3)
    with torch.no_grad():
        step = float(student.quantizers.get_submodule("relu_1.output").scale)
        difference = (student(x) - edgeqat.convert(student)(x)).abs() / step
        assert float(difference.max()) <= 1.01
        assert float((difference > 0.5).float().mean()) < 0.01
        assert float((student(x) - model.eval()(x)).abs().max()) < 0.6


@pytest.mark.parametrize("rule", ["minmax", "lsq"])
def test_one_scale_for_a_transposed_convolution_before_a_still_batch_norm(rule: str) -> None:
    """Its channels lie along axis 1 of the weight, and no axis of the scale says so."""
    torch.manual_seed(0)
    model, x = ConvBN(transposed=True), torch.randn(4, 3, 6, 6)
    fields = {"weight_granularity": "tensor", "batch_norm": "frozen", "weight_quantizer": rule}
    student = student_of(model, x, weight_bits=4, first_last_bits=None, **fields)
    with torch.no_grad():
        step = float(student.quantizers.get_submodule("relu.output").scale)
        assert float((student(x) - edgeqat.convert(student)(x)).abs().max()) <= 1.01 * step
        assert float((student(x) - model.eval()(x)).abs().max()) < 1.2
