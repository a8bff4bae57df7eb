# SPDX-License-Identifier: Apache-2.0
"""Recipes with learned quantizers: placement, training, deployment, compile, resume."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import edgeqat
from edgeqat.nn import LearnedActivationQuantizer, LearnedWeightQuantizer
from edgeqat.nn.initial_step import mse_step
from models import ConvNet

RULES = {
    "lsq": ("lsq", "lsq"),
    "lsq+": ("lsq", "lsq+"),
    "pact": ("dorefa", "pact"),
    "power_of_two": ("power_of_two", "power_of_two"),
}


def student_of(weight: str = "lsq", activation: str = "lsq", bits: int = 4, **options: Any) -> Any:
    """A prepared and calibrated ConvNet with batches."""
    torch.manual_seed(0)
    model = ConvNet()
    recipe = edgeqat.Recipe(
        weight_bits=bits,
        activation_bits=bits,
        weight_quantizer=weight,
        activation_quantizer=activation,
        **options,
    )
    x = torch.randn(8, 3, 12, 12)
    student = edgeqat.prepare(model, edgeqat.plan(model, x, recipe=recipe))
    edgeqat.calibrate(student, [x, torch.randn(8, 3, 12, 12)])
    return student, x


def train(student: nn.Module, x: torch.Tensor, steps: int = 5) -> list[float]:
    """A few steps of SGD; the losses."""
    optimizer = torch.optim.SGD(student.parameters(), 0.05)
    target = torch.arange(len(x)) % 5
    losses = []
    student.train()
    for _ in range(steps):
        torch.manual_seed(1)  # the same dropout in every step
        loss = nn.functional.cross_entropy(student(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_trained_is_deployed(rule: str, bits: int, tmp_path: Path) -> None:
    student, x = student_of(*RULES[rule], bits=bits)
    losses = train(student, x)
    assert losses[-1] < losses[0]
    student.eval()
    with torch.no_grad():
        expected = student(x)
        # float sums in another order: a value on an edge between two codes may fall to the other side
        torch.testing.assert_close(edgeqat.convert(student)(x), expected, rtol=0, atol=0.02)
    edgeqat.export(student, tmp_path / "m.onnx")
    report = edgeqat.verify(student, tmp_path / "m.onnx", [x], latency=False)
    assert report.ok, str(report)
    assert report.coverage == 1.0
    edgeqat.save(student, tmp_path / "m.safetensors")
    with torch.no_grad():
        loaded = edgeqat.load(tmp_path / "m.safetensors", ConvNet())
        torch.testing.assert_close(loaded(x), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("rule", RULES)
def test_the_last_step_of_the_optimizer_is_deployed(rule: str) -> None:
    """No call in eval mode stands between training and convert."""
    student, x = student_of(*RULES[rule])
    train(student, x)
    converted = edgeqat.convert(student)
    with torch.no_grad():
        torch.testing.assert_close(converted(x), student.eval()(x), rtol=0, atol=0.02)
    quantizer = student.quantizers.conv2.input
    assert float(converted.state_dict()["conv2.input_scale"]) == float(quantizer.scale)


def test_ternary_weights() -> None:
    student, x = student_of("ternary", "lsq", bits=2)
    train(student, x)
    with torch.no_grad():
        student.eval()
        converted = edgeqat.convert(student)
        assert torch.equal(converted(x), student(x))
    assert set(converted.state_dict()["conv2.weight"].unique().tolist()) <= {-1, 0, 1}


def test_steps_are_learned_and_the_exceptions_are_not() -> None:
    student, x = student_of(bits=4)
    before = {k: v.clone() for k, v in student.state_dict().items() if k.endswith("step")}
    train(student, x, 3)
    after = student.state_dict()
    assert before
    assert all(not torch.equal(v, after[k]) for k, v in before.items())
    quantizers = student.quantizers
    assert isinstance(quantizers.conv2.weight, LearnedWeightQuantizer)
    assert not isinstance(quantizers.conv1.weight, LearnedWeightQuantizer)  # first layer: 8 bits
    assert isinstance(quantizers.conv2.input, LearnedActivationQuantizer)
    assert not isinstance(quantizers.relu.output, LearnedActivationQuantizer)  # read by a sum: 8


def test_a_layer_rounds_its_own_input_where_a_sum_reads_it_too() -> None:
    model = ConvNet()
    plan = edgeqat.plan(model, torch.randn(2, 3, 8, 8), recipe="w2a2")
    assert plan["relu"].output.bits == 8
    assert plan["conv2"].input.bits == 2
    assert plan["bn2"].output.bits == 8
    assert plan["relu_1"].output.bits == 8
    narrow = edgeqat.Recipe(weight_bits=2, activation_bits=2, elementwise_bits=None)
    plan = edgeqat.plan(model, torch.randn(2, 3, 8, 8), recipe=narrow)
    assert plan["relu"].output.bits == 2
    assert not len(plan["conv2"].input)


def test_plan_with_inputs_survives_its_file() -> None:
    plan = edgeqat.plan(ConvNet(), torch.randn(2, 3, 8, 8), recipe="w2a2")
    again = edgeqat.Plan.from_json(plan.to_json())
    assert again.to_dict() == plan.to_dict()
    assert again["conv2"].input.bits == 2


def test_input_can_be_edited() -> None:
    model = ConvNet()
    x = torch.randn(2, 3, 8, 8)
    plan = edgeqat.plan(model, x, recipe="w2a2")
    plan["conv2"].input.bits = 3
    student = edgeqat.prepare(model, plan)
    assert student.quantizers.conv2.input.spec.bits == 3
    plan["conv2"].input.bits = None
    student = edgeqat.prepare(model, plan)
    assert not hasattr(student.quantizers.conv2, "input")


def test_fused_activation_keeps_less_for_backward() -> None:
    def saved_bytes(module: nn.Module, x: torch.Tensor) -> int:
        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            module(x)
        return sum(seen.values())

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)
            self.bn = nn.BatchNorm2d(4)
            self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv2(torch.relu(self.bn(self.conv(x))))

    x = torch.randn(8, 4, 32, 32)
    block = Block()
    recipe = edgeqat.Recipe(
        weight_bits=4,
        activation_bits=4,
        first_last_bits=None,
        output_bits=None,
        weight_quantizer="lsq",
        activation_quantizer="lsq",
    )
    student = edgeqat.prepare(block, edgeqat.plan(block, x, recipe=recipe))
    edgeqat.calibrate(student, [x])
    elements = x.numel()
    extra = saved_bytes(student.train(), x) - saved_bytes(block.train(), x)
    # the input's min-max bits (1/8) and one byte for the activation; the float ReLU keeps nothing that we do not
    assert extra <= 1.2 * elements


def test_compiled_step_has_no_graph_break() -> None:
    student, x = student_of()
    student.train()
    other = copy.deepcopy(student)  # a step moves the ranges of the 8-bit tensors
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    torch.manual_seed(3)
    expected = student(x)
    torch.manual_seed(3)
    got = compiled(x)
    torch.testing.assert_close(got, expected)
    got.sum().backward()
    assert all(p.grad is not None for n, p in other.named_parameters() if n.endswith("step"))


def test_resume_is_bit_exact(tmp_path: Path) -> None:
    student, x = student_of()
    train(student, x, 3)
    torch.save(student.state_dict(), tmp_path / "state.pt")
    other = copy.deepcopy(student)
    rest = train(student, x, 3)
    fresh, _ = student_of()
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert train(fresh, x, 3) == rest == train(other, x, 3)


def test_parameter_groups() -> None:
    student, _x = student_of("lsq", "pact")
    groups = {g["name"]: g for g in edgeqat.parameter_groups(student, lr=0.1, weight_decay=1e-4)}
    assert groups["steps"]["weight_decay"] == 0.0
    assert groups["norms and biases"]["weight_decay"] == 0.0
    assert groups["clipping values"]["weight_decay"] == 1e-4
    listed = [id(p) for g in groups.values() for p in g["params"]]
    assert sorted(listed) == sorted(id(p) for p in student.parameters())
    torch.optim.SGD(list(groups.values()), lr=0.1).step()


def test_batch_norm_in_every_mode() -> None:
    """Some gammas are negative: then sign(gamma) * w is what is rounded and what is deployed."""
    for mode in ("live", "folded", "frozen"):
        student, x = student_of(batch_norm=mode)
        with torch.no_grad():
            student.get_parameter("bn2.weight")[::2] *= -1
        train(student, x, 2)
        student.eval()
        with torch.no_grad():
            expected = student(x)
            torch.testing.assert_close(edgeqat.convert(student)(x), expected, rtol=0, atol=0.02)
            assert float(expected.std()) > 0.02


def test_first_step_is_that_of_the_mirrored_weight_behind_a_negative_gamma() -> None:
    """2-bit codes are -2..1: of weights that reach further up than down, -w has the smaller step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    with torch.no_grad():
        model[0].weight[1] = model[0].weight[0].abs() * torch.linspace(0.1, 2.0, 9).reshape(3, 3)
        model[0].weight[0] = model[0].weight[1]
        model[1].weight.copy_(torch.tensor([1.0, -1.0]))
    recipe = edgeqat.Recipe(weight_bits=2, first_last_bits=None, weight_quantizer="lsq")
    plan = edgeqat.plan(model, torch.randn(2, 1, 5, 5), recipe=recipe)
    step = edgeqat.prepare(model, plan).get_parameter("quantizers.0.weight.step").detach()
    rows = model[0].weight.detach().flatten(1) * torch.tensor([[1.0], [-1.0]])
    assert torch.equal(step, mse_step(rows, -2, 1))
    assert float(step[1]) < float(step[0])


def test_module_mode_follows_the_rules_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    recipe = edgeqat.Recipe(
        weight_bits=3, activation_bits=3, weight_quantizer="lsq", activation_quantizer="lsq"
    )
    x = torch.randn(16, 6)
    student = edgeqat.prepare(model, edgeqat.plan(model, x, recipe=recipe, mode="module"))
    assert isinstance(student[2].weight_quantizer, LearnedWeightQuantizer)
    assert isinstance(student[2].input_quantizer, LearnedActivationQuantizer)
    assert not isinstance(student[0].weight_quantizer, LearnedWeightQuantizer)  # 8 bits
    weight = student[2].weight.detach()  # the step started from it: 1 is the step without that
    assert float((student[2].weight_quantizer(weight).detach() - weight).abs().max()) < 0.2
    edgeqat.calibrate(student, [x])
    student.train()(x).square().sum().backward()
    assert student[2].weight_quantizer.step.grad is not None


def test_module_mode_shares_the_step_of_a_shared_weight(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        model[2].weight = model[0].weight
        return model

    model, x = tied(), torch.randn(32, 6)
    recipe = edgeqat.Recipe(
        weight_bits=3, activation_bits=4, first_last_bits=None, weight_quantizer="lsq"
    )
    student = edgeqat.prepare(model, edgeqat.plan(model, x, recipe=recipe, mode="module"))
    assert student[2].weight_quantizer is student[0].weight_quantizer
    edgeqat.calibrate(student, [x])
    train(student, x, 5)
    expected = student.eval()(x)
    edgeqat.save(student, tmp_path / "tied.safetensors")
    found = edgeqat.load(tmp_path / "tied.safetensors", tied())(x)
    torch.testing.assert_close(found, expected)
    with pytest.raises(TypeError, match="prepared in module mode"):
        edgeqat.export(student, tmp_path / "tied.onnx")


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="weight_quantizer"):
        edgeqat.Recipe(weight_quantizer="lsg")
    with pytest.raises(ValueError, match="activation_quantizer"):
        edgeqat.Recipe(activation_quantizer="dorefa")


def test_the_first_batch_with_values_sets_the_step() -> None:
    """An empty batch, or one of NaN alone, is none."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(64, 4)
    recipe = edgeqat.Recipe(weight_bits=4, activation_bits=4, activation_quantizer="lsq")
    steps = []
    for before in ((), (torch.randn(0, 4), torch.full((3, 4), torch.nan))):
        student = edgeqat.prepare(model, recipe.replace(first_last_bits=None), x).train()
        for batch in (*before, x):
            student(batch)
        quantizer = student.quantizers.get_submodule("1.output")
        assert not quantizer.signed
        steps.append(float(quantizer.step.detach()))
    assert steps[0] == steps[1] != 1.0


def test_a_quantizer_of_several_tensors_wants_calibration() -> None:
    class Cat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(8, 8)
            self.d = nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.d(self.c(torch.cat([torch.relu(self.a(x)), self.b(x)], 1)))

    x = torch.randn(16, 4)
    recipe = edgeqat.Recipe(weight_quantizer="lsq", activation_quantizer="lsq")
    plan = edgeqat.plan(Cat(), x, recipe=recipe, target="npu_int8")
    student = edgeqat.prepare(Cat(), plan).train()
    with pytest.raises(RuntimeError, match="several tensors share an activation quantizer"):
        student(x)
    student = edgeqat.calibrate(student, [x])
    assert student.quantizers.get_submodule("relu.output").signed
    student.train()(x).sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("off", [False, True])
def test_a_checkpointed_model_that_was_not_calibrated(reentrant: bool, off: bool) -> None:
    student, x = student_of()
    fresh = copy.deepcopy(student).train()
    for module in fresh.modules():
        if isinstance(module, LearnedActivationQuantizer):
            module.reset()
    if off:
        fresh = student.train()
        edgeqat.enable_quantizers(fresh, activations=False)
    x = x.clone().requires_grad_()
    y = torch.utils.checkpoint.checkpoint(fresh, x, use_reentrant=reentrant)
    y.square().sum().backward()
    assert float(x.grad.abs().sum()) > 0


def test_module_mode_follows_overrides_edges_and_groups() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
    recipe = edgeqat.Recipe(
        weight_bits=4,
        activation_bits=2,
        weight_granularity="group",
        group_size=4,
        overrides=(("2", {"weight_bits": 3, "input_bits": None}),),
    )
    x = torch.randn(16, 8)
    plan = edgeqat.plan(model, x, recipe=recipe, mode="module")
    layers = plan.layers
    assert [layers[n].weight.bits for n in "024"] == [8, 3, 8]
    assert [layers[n].output.bits for n in "024"] == [8, None, 8]
    assert [layers[n].weight.granularity for n in "024"] == ["group", "group", "channel"]
    assert "groups of 4 do not fit" in layers["4"].weight.note
    student = edgeqat.calibrate(edgeqat.prepare(model, plan), [x])
    assert student[2].weight_quantizer.scale.shape == (6, 2)
    student.train()(x).sum().backward()
    with pytest.raises(ValueError, match="'nothing' of the recipe matches no layer"):
        edgeqat.plan(
            model,
            x,
            recipe=edgeqat.Recipe(overrides=(("nothing", {"weight_bits": 4}),)),
            mode="module",
        )
