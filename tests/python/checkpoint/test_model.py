# SPDX-License-Identifier: Apache-2.0
"""save and load of models: bit-equal results from the untouched float model, the float twin, files that do not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import edgeqat
import models
from edgeqat.checkpoint import read_checkpoint, write_checkpoint


def saved(tmp_path, name: str = "conv", recipe: str = "w4a8"):
    case = models.ZOO[name]
    model, x = case.model(), case.inputs()
    student = edgeqat.calibrate(edgeqat.prepare(model, edgeqat.plan(model, x, recipe=recipe)), [x])
    path = tmp_path / "model.safetensors"
    edgeqat.save(student, path)
    return student, path, x


def flat(out) -> list[torch.Tensor]:
    return torch.utils._pytree.tree_leaves(out)


@pytest.mark.parametrize("name", models.ZOO)
def test_one_call_onto_the_untouched_float_model(name: str, tmp_path) -> None:
    student, path, x = saved(tmp_path, name)
    other = models.ZOO[name].model(seed=7)  # other weights: nothing may come from them
    if name == "functional":
        other.load_state_dict(models.ZOO[name].model().state_dict())
    before = {k: v.clone() for k, v in other.state_dict().items()}
    loaded = edgeqat.load(path, other)
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    with torch.no_grad():
        for a, b in zip(flat(loaded(x)), flat(edgeqat.convert(student)(x)), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["conv", "resnet20", "depthwise", "audio", "up", "encoder"])
def test_float_twin(name: str, tmp_path) -> None:
    student, path, x = saved(tmp_path, name)
    twin = edgeqat.load(path, models.ZOO[name].model(seed=7), dequantize=True)
    assert type(twin) is type(models.ZOO[name].model())
    edgeqat.enable_quantizers(student.eval(), activations=False)
    with torch.no_grad():
        expected, found = student(x), twin(x)
    # the twin holds the biases on their int32 grid, the student with switched-off activations does not
    assert float((expected - found).abs().max() / expected.abs().max()) < 0.02


class Branches(nn.Module):
    """Two convolutions before their BatchNorms, and one BatchNorm that no weight can absorb."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(3, 4, 3)
        self.bn_a, self.bn_b, self.bn = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.a(x), self.b(x)
        return self.fc(self.bn(self.bn_b(b) + self.bn_a(a)).relu().mean((2, 3)))


def test_float_twin_of_branches_and_a_batch_norm_of_its_own(tmp_path) -> None:
    torch.manual_seed(0)
    model, x = Branches().train(), torch.randn(32, 3, 8, 8)
    with torch.no_grad():
        for norm in (model.bn_a, model.bn_b, model.bn):
            norm.weight.uniform_(-2, 2)
            norm.bias.uniform_(-1, 1)
        model(x)
    student = edgeqat.calibrate(edgeqat.prepare(model, edgeqat.plan(model, x)), [x])
    path = tmp_path / "model.safetensors"
    edgeqat.save(student, path)
    twin = edgeqat.load(path, Branches(), dequantize=True)
    edgeqat.enable_quantizers(student.eval(), activations=False)
    with torch.no_grad():
        torch.testing.assert_close(twin(x), student(x), rtol=1e-3, atol=1e-3)


def test_independent_reader_finds_packed_int4(tmp_path) -> None:
    student, path, _ = saved(tmp_path)
    raw = load_file(path)
    codes = edgeqat.convert(student).state_dict()["conv2.weight"].numpy().reshape(-1)
    nibbles = np.stack([raw["conv2.weight"] & 15, raw["conv2.weight"] >> 4], 1).reshape(-1)[
        : codes.size
    ]
    assert np.array_equal(np.where(nibbles > 7, nibbles.astype(np.int8) - 16, nibbles), codes)


def test_resnet20_w4_is_at_most_0_16_of_the_float_file(tmp_path) -> None:
    _, path, _ = saved(tmp_path, "resnet20")
    floats = sum(
        v.numel() * 4
        for v in models.ZOO["resnet20"].model().state_dict().values()
        if v.is_floating_point()
    )
    assert path.stat().st_size / floats <= 0.16


def test_same_model_same_bytes(tmp_path) -> None:
    student, path, _ = saved(tmp_path)
    first = path.read_bytes()
    edgeqat.save(student, path)
    assert path.read_bytes() == first


def test_another_architecture_is_refused(tmp_path) -> None:
    _, path, _ = saved(tmp_path)
    with pytest.raises(edgeqat.FormatError, match="does not fit AudioNet"):
        edgeqat.load(path, models.ZOO["audio"].model())
    wider = models.ConvNet()
    wider.fc = nn.Linear(8, 6)
    with pytest.raises(
        edgeqat.FormatError,
        match=r"does not fit ConvNet: .*fc\.weight has shape \[5, 8\] there and \[6, 8\] in the model",
    ):
        edgeqat.load(path, wider)


def test_another_activation_is_refused(tmp_path) -> None:
    x = torch.randn(8, 4)
    make = lambda act: nn.Sequential(nn.Linear(4, 8), act, nn.Linear(8, 2))  # noqa: E731
    student = edgeqat.calibrate(edgeqat.prepare(make(nn.ReLU()), "int8", x), [x])
    edgeqat.save(student, tmp_path / "m.safetensors")
    with pytest.raises(edgeqat.FormatError, match="1 is relu there and sigmoid in the model"):
        edgeqat.load(tmp_path / "m.safetensors", make(nn.Sigmoid()))
    with pytest.raises(ValueError, match=r"expected a name in \.safetensors"):
        edgeqat.save(student, tmp_path / "m.pt")


def test_wrong_files(tmp_path) -> None:
    with pytest.raises(OSError, match="absent"):
        edgeqat.load(tmp_path / "absent.safetensors", models.ConvNet())
    _, path, _ = saved(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(edgeqat.FormatError, match="checksum"):
        edgeqat.load(path, models.ConvNet())


def test_a_plan_that_lies_is_refused(tmp_path) -> None:
    _, path, _ = saved(tmp_path)
    data = read_checkpoint(path)
    plan = json.loads(data.plan)
    plan["version"] = 9
    write_checkpoint(path, type(data)(json.dumps(plan), data.graph, data.tensors, data.packed))
    with pytest.raises(edgeqat.FormatError, match="version 9"):
        edgeqat.load(path, models.ConvNet())
    write_checkpoint(path, type(data)("", data.graph, data.tensors, data.packed))
    with pytest.raises(edgeqat.FormatError, match="holds no plan"):
        edgeqat.load(path, models.ConvNet())


def test_unprepared_and_uncalibrated(tmp_path) -> None:
    model = models.ZOO["conv"].model()
    path = tmp_path / "x.safetensors"
    with pytest.raises(TypeError, match=r"edgeqat\.prepare"):
        edgeqat.save(model, path)
    with pytest.raises(ValueError, match="seen no data"):
        edgeqat.save(edgeqat.prepare(model, "int8", models.ZOO["conv"].inputs()), path)
    assert not path.exists()


def test_module_mode(tmp_path) -> None:
    model, x = models.ValueBranchNet(), torch.randn(6, 4)
    student = edgeqat.prepare(model, edgeqat.plan(model, x, recipe="w4a8", mode="module"))
    path = tmp_path / "m.safetensors"
    with pytest.raises(ValueError, match="seen no data"):
        edgeqat.save(student, path)
    edgeqat.calibrate(student, [x]).eval()
    edgeqat.save(student, path)
    torch.manual_seed(5)
    loaded = edgeqat.load(path, models.ValueBranchNet())
    with torch.no_grad():
        assert torch.equal(loaded(x), student(x))
    twin = edgeqat.load(path, models.ValueBranchNet(), dequantize=True)
    assert type(twin.fc) is nn.Linear
    with pytest.raises(edgeqat.FormatError, match="does not fit"):
        edgeqat.load(path, nn.Sequential(nn.Linear(4, 2)))


class Twice(nn.Module):
    """One layer called twice, each time in front of a BatchNorm of its own."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer, self.last = nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm1, self.norm2 = nn.BatchNorm1d(8), nn.BatchNorm1d(8)
        with torch.no_grad():
            for norm in (self.norm1, self.norm2) if seed else ():
                norm.weight.uniform_(-2.0, 2.0)
                norm.running_mean.uniform_(-0.5, 0.5)
                norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm2(self.layer(self.norm1(self.layer(x)).relu())).relu())


@pytest.mark.parametrize("mode", ["live", "folded", "frozen"])
@pytest.mark.parametrize("seeds", [(1, 0), (0, 1), (1, 1)], ids=str)
def test_a_layer_called_twice_loads_onto_any_weights(
    seeds: tuple[int, int], mode: str, tmp_path
) -> None:
    """Names of constants follow the structure: equal BatchNorms (seed 0) have a set of codes each, too."""
    model, x = Twice(seeds[0]), torch.randn(64, 8)
    recipe = edgeqat.Recipe(weight_bits=4, batch_norm=mode)
    student = edgeqat.calibrate(edgeqat.prepare(model, recipe, x), [x]).eval()
    path = tmp_path / "model.safetensors"
    edgeqat.save(student, path)
    assert torch.equal(edgeqat.load(path, Twice(seeds[1]))(x), edgeqat.convert(student)(x))
    with pytest.raises(edgeqat.FormatError, match="read by several layers"):
        edgeqat.load(path, model, dequantize=True)


def test_switched_off_weights_are_not_converted() -> None:
    case = models.ZOO["conv"]
    model, x = case.model(), case.inputs()
    student = edgeqat.calibrate(edgeqat.prepare(model, "w4a8", x), [x])
    edgeqat.enable_quantizers(student, weights=False)
    with pytest.raises(ValueError, match="is switched off"):
        edgeqat.convert(student)


@pytest.mark.parametrize("rule", ["minmax", "lsq", "dorefa"])
def test_module_mode_saved_again_is_the_same_file(rule: str, tmp_path) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(32, 8)
    recipe = edgeqat.Recipe(weight_bits=4, first_last_bits=None, weight_quantizer=rule)
    plan = edgeqat.plan(model, x, recipe=recipe, mode="module")
    student = edgeqat.calibrate(edgeqat.prepare(model, plan), [x]).eval()
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    edgeqat.save(student, first)
    loaded = edgeqat.load(first, model)
    edgeqat.save(loaded, second)
    assert torch.equal(edgeqat.load(second, model)(x), loaded(x))
    edgeqat.enable_quantizers(student, weights=False)
    with pytest.raises(ValueError, match="does not lie on its grid"):
        edgeqat.save(student, second)
