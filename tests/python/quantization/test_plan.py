# SPDX-License-Identifier: Apache-2.0
"""The plan: a decision and a source line for every tensor, editing, the report, JSON."""

from __future__ import annotations

import copy
import inspect
import json
import pickle

import pytest
import torch
from torch import nn

import edgeqat
import models
from edgeqat import CoverageError, Plan, Recipe


def make(name: str = "conv", **options) -> Plan:
    case = models.ZOO[name]
    return edgeqat.plan(case.model(), case.inputs(), **options)


def status(plan: Plan) -> dict[str, str]:
    return {t.name: t.status for t in plan.tensors}


def test_every_tensor_has_a_row_with_bits_or_a_reason() -> None:
    for name in models.ZOO:
        plan = make(name)
        for tensor in plan.tensors:
            assert (tensor.bits is not None) == (tensor.status == "quantized"), tensor
            assert tensor.bits is not None or tensor.note, tensor
        text = str(plan)
        assert all(tensor.name in text for tensor in plan.tensors)


def test_fused_shared_and_quantized() -> None:
    found = status(make())
    assert found["conv1"] == found["bn1"] == "fused"
    assert found["relu"] == "quantized"
    assert found["add"] == "fused"  # the ReLU that follows is the tensor that exists
    assert found["flatten"] == found["dropout"] == "shared"
    assert found["conv1.weight"] == found["x"] == found["fc"] == "quantized"
    assert found["conv2.bias"] == "fused"


def test_source_line_is_the_users() -> None:
    lines, start = inspect.getsourcelines(models.ConvNet.forward)
    wanted = start + next(i for i, line in enumerate(lines) if "conv1" in line)
    assert make()["conv1"].weight.source == f"models.py:{wanted}"


def test_functional_and_module_forms_give_the_same_decisions() -> None:
    count = lambda plan: sorted((t.bits, t.granularity, t.shape) for t in plan.tensors if t.bits)  # noqa: E731
    assert count(make("conv")) == count(make("functional"))


def test_first_and_last_layer_stay_at_8_bits() -> None:
    plan = make("resnet20", recipe="w4a4")
    assert plan["conv1"].weight.bits == 8
    assert plan["linear"].weight.bits == 8
    assert set(plan["layer*"].weight.bits) == {4}
    assert plan["linear"].output.bits == 8
    assert plan["x"].output.bits == 8


def test_edit_by_pattern_and_refusals() -> None:
    plan = make("resnet20")
    plan["layer3.*"].weight.bits = 4
    assert {t.bits for t in plan["layer3.*"].weight} == {4}
    assert {t.bits for t in plan["layer1.*"].weight} == {8}
    with pytest.raises(KeyError, match="no layer matches 'layer9"):
        plan["layer9.*"]
    with pytest.raises(ValueError, match=r"2\.\.8, found 1"):
        plan["layer3.*"].weight.bits = 1
    assert {t.bits for t in plan["layer3.*"].weight} == {4}, "a refused edit changes nothing"
    with pytest.raises(ValueError, match="have no output to edit"):
        plan["conv1"].output.bits = 4
    with pytest.raises(ValueError, match="is fused"):
        plan.layers["conv1"].output.bits = 4
    with pytest.raises(AttributeError, match="say which tensors"):
        plan["conv1"].bits = 4
    plan["linear"].output.bits = None
    assert plan["linear"].output.status == "float"


def test_overrides_of_a_recipe() -> None:
    recipe = Recipe(
        overrides=(
            ("layer1.*", {"weight_bits": 3, "activation_bits": 5}),
            ("layer2.0.*", {"weight_bits": None}),
        )
    )
    plan = make("resnet20", recipe=recipe)
    assert {t.bits for t in plan["layer1.*"].weight} == {3}
    assert plan["layer2.0.conv1"].weight.status == "float"


def test_strict_lists_what_stays_float() -> None:
    make("conv", strict=True)
    with pytest.raises(CoverageError, match=r"(?s)rnn\.weight_ih_l0: .*aten\.lstm.*models\.py:"):
        make("lstm", strict=True)


def test_target_limits_widths_and_operators() -> None:
    with pytest.raises(ValueError, match="'npu_int8' has no int4 for"):
        make("conv", recipe="w4a8", target="npu_int8")
    plan = make("encoder", target="npu_int8")
    reasons = {t.note for t in plan.unquantized()}
    assert any("target npu_int8 runs layer_norm in float" in reason for reason in reasons)


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.a(x), self.b(10 * x)], 1).relu()


def test_shared_scale_where_the_target_needs_it() -> None:
    x = torch.randn(4, 3, 6, 6)
    for target, shared in (("onnxruntime", False), ("npu_int8", True)):
        model = Concat()
        student = edgeqat.prepare(model, edgeqat.plan(model, x, target=target))
        edgeqat.calibrate(student, [x])
        scales = {n: float(b) for n, b in student.named_buffers() if n.endswith("output.scale")}
        equal = (
            len({scales[k] for k in scales if not k.startswith("quantizers.x") and "mul" not in k})
            == 1
        )
        assert equal == shared, scales


def test_json_restores_the_plan() -> None:
    plan = make("tiny_lm", recipe="w4a8")
    plan["qkv"].weight.bits = 3
    again = Plan.from_json(plan.to_json())
    assert again.to_dict() == plan.to_dict()
    assert str(again) == str(plan)
    assert again.layers["embedding"].weight is again.layers["lm_head"].weight, (
        "tied weights stay tied"
    )
    data = plan.to_dict() | {"version": 99}
    with pytest.raises(ValueError, match="version 99"):
        Plan.from_dict(data)
    with pytest.raises(ValueError, match="damaged plan"):
        Plan.from_dict({"version": 1})
    json.dumps(plan.to_dict())


def test_a_plan_that_contradicts_itself_is_neither_written_nor_read() -> None:
    plan = make()
    data = plan.to_dict()
    plan.shared_groups = [["relu", "nowhere"]]
    with pytest.raises(ValueError, match="found 'nowhere', which is none"):
        plan.to_json()
    data["layers"][0]["output"]["bit"] = 8
    for read in (lambda: Plan.from_dict(data), lambda: Plan.from_json(json.dumps(data))):
        with pytest.raises(
            edgeqat.FormatError,
            match=r"damaged plan data: layers\[0\]\.output: unknown key 'bit'; did you mean 'bits'",
        ):
            read()
    with pytest.raises(edgeqat.FormatError, match="expected a mapping, found a list"):
        Plan.from_dict([])
    with pytest.raises(edgeqat.FormatError, match="valid JSON"):
        Plan.from_json("{")


def test_a_tensor_copies_and_checks_types() -> None:
    weight = make().layers["conv1"].weight
    for other in (copy.deepcopy(weight), pickle.loads(pickle.dumps(weight))):
        assert other == weight
        other.bits = 3
        assert other != weight
    with pytest.raises(ValueError, match=r"plan: conv1\.weight\.bits must be none or .*found 4\.0"):
        weight.bits = 4.0
    with pytest.raises(
        ValueError, match="status must be 'quantized', 'fused', 'shared' or 'float'"
    ):
        weight.status = "done"
    with pytest.raises(AttributeError):
        weight.colour = 3
    assert "bits=8" in repr(weight)


def test_every_plan_of_the_zoo_survives_json() -> None:
    for name in models.ZOO:
        for options in ({}, {"recipe": "w4a4"}, {"target": "npu_int8"}):
            plan = make(name, **options)
            assert Plan.from_json(plan.to_json()).to_dict() == plan.to_dict()


def test_a_plan_from_a_file_needs_inputs() -> None:
    case = models.ZOO["conv"]
    plan = Plan.from_json(make().to_json())
    with pytest.raises(ValueError, match="give example_inputs"):
        edgeqat.prepare(case.model(), plan)
    edgeqat.prepare(case.model(), plan, case.inputs())
    with pytest.raises(ValueError, match="the model lacks"):
        edgeqat.prepare(models.ZOO["audio"].model(), plan, models.ZOO["audio"].inputs())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "int9"}, "unknown recipe"),
        ({"target": "toaster"}, "unknown target"),
        ({"mode": "fx"}, "mode must be"),
    ],
)
def test_wrong_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)
