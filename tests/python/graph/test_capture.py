# SPDX-License-Identifier: Apache-2.0
"""The captured graph computes what the model computes: outputs, gradients, buffers, in both modes."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import models
from edgeqat.graph import CaptureError, QuantizedModel, capture


def step(model: nn.Module, x: Any, *, training: bool) -> list[Tensor]:
    """Outputs, gradients and buffers after one step with a fixed seed."""
    model.train(training)
    model.zero_grad()
    torch.manual_seed(3)
    outputs = pytree.tree_leaves(model(x))
    loss = sum((y.double() ** 2).sum() for y in outputs)
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    buffers = [b.clone() for n, b in model.named_buffers() if not n.startswith("_constants.")]
    return [*outputs, *gradients, *buffers]


@pytest.mark.parametrize("name", models.ZOO)
def test_same_bits_as_the_original(name: str) -> None:
    case = models.ZOO[name]
    original = case.model()
    if not case.exact:
        original = original.double()  # written-out attention rounds differently: compare in double
    x = case.inputs(1)
    x = x if case.exact or case.integers else x.double()
    student = QuantizedModel(capture(original, x))
    assert set(student.state_dict()) == set(original.state_dict())
    for training in (True, False):
        for batch in (4, 1, 7):
            x = case.inputs(batch, seed=batch)
            x = x if case.exact or case.integers else x.double()
            expected = step(original, x, training=training)
            found = step(student, x, training=training)
            assert len(found) == len(expected)
            for want, have in zip(expected, found, strict=True):
                if case.exact:
                    assert torch.equal(have, want)
                else:
                    torch.testing.assert_close(have, want, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["conv", "resnet20", "shared_relu", "lstm", "tiny_lm"])
def test_the_caller_keeps_an_untouched_model(name: str) -> None:
    case = models.ZOO[name]
    model = case.model()
    first = next(m for m in model.modules() if m is not model)
    model.train()
    first.eval()
    before = copy.deepcopy(model.state_dict())
    modes = {n: m.training for n, m in model.named_modules()}
    attributes = set(vars(model))
    captured = capture(model, case.inputs(1))
    assert captured.model is not model
    assert {n: m.training for n, m in model.named_modules()} == modes
    assert {n: m.training for n, m in captured.model.named_modules()} == modes
    assert set(vars(model)) == attributes
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_inplace_shares_the_parameters() -> None:
    model = models.ConvNet()
    captured = capture(model, torch.randn(2, 3, 8, 8), inplace=True)
    assert captured.model is model
    student = QuantizedModel(captured)
    assert all(a is b for a, b in zip(student.parameters(), model.parameters(), strict=True))


def names(model: nn.Module, x: Tensor) -> list[str]:
    graph = capture(model, x).graph
    return [
        n.meta["tensor_name"]
        for n in graph.nodes
        if n.op in ("call_function", "call_module") and n.meta["shape"] is not None
    ]


def test_names_are_the_models_own() -> None:
    assert names(models.ConvNet(), torch.randn(1, 3, 8, 8)) == [
        *("conv1", "bn1", "relu", "conv2", "bn2", "add", "relu_1"),
        *("pool", "flatten", "dropout", "fc"),
    ]
    block = names(models.ResNet20(1), torch.randn(1, 3, 16, 16))
    assert block[3:10] == [
        f"layer1.0.{n}" for n in ("conv1", "bn1", "relu", "conv2", "bn2", "add", "relu_1")
    ]
    assert "layer2.0.pad" in block
    assert names(models.SharedReluNet(), torch.randn(1, 3, 8, 8)) == [
        *("conv", "relu", "conv_1", "relu_1", "mean", "fc")
    ]


def test_names_of_a_layer_with_several_ops() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"))
    assert names(model, torch.randn(1, 1, 5, 5)) == ["0.pad", "0"]


def test_every_node_knows_its_source_line() -> None:
    graph = capture(models.ResNet20(1), torch.randn(1, 3, 16, 16)).graph
    node = next(n for n in graph.nodes if n.meta.get("tensor_name") == "layer2.0.add")
    file, line = node.meta["source"].split(":")
    assert file == "models.py"
    assert Path(models.__file__).read_text().splitlines()[int(line) - 1].strip() == "y += x"
    for n in graph.nodes:
        if n.op in ("call_function", "call_module") and n.meta["shape"] is not None:
            assert n.meta["source"].startswith("models.py:"), n


def test_shapes_and_dtypes_are_plain() -> None:
    graph = capture(models.ConvNet(), torch.randn(1, 3, 8, 8)).graph
    by_name = {n.meta.get("tensor_name"): n.meta for n in graph.nodes}
    assert by_name["x"]["shape"] == (-1, 3, 8, 8)
    assert by_name["flatten"]["shape"] == (-1, 8)
    assert by_name["conv1.weight"]["shape"] == (8, 3, 3, 3)
    assert by_name["fc"]["dtype"] is torch.float32


@pytest.mark.parametrize("name", ["resnet20", "depthwise", "shared_relu"])
def test_no_node_writes_in_place(name: str) -> None:
    case = models.ZOO[name]
    for node in capture(case.model(), case.inputs(1)).graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            assert not node.target._schema.is_mutable


def test_batch_norm_and_dropout_are_the_users_modules() -> None:
    graph = capture(models.ConvNet(), torch.randn(1, 3, 8, 8)).graph
    assert [n.target for n in graph.nodes if n.op == "call_module"] == ["bn1", "bn2", "dropout"]


def test_tied_weights_are_one_node() -> None:
    graph = capture(models.TinyLM(), torch.zeros(1, 6, dtype=torch.long)).graph
    weights = [n for n in graph.nodes if n.op == "get_attr" and "embedding" in str(n.target)]
    assert [n.target for n in weights] == ["embedding.weight"]
    assert {u.meta["tensor_name"] for u in weights[0].users} == {"embedding", "lm_head"}
    assert not any(n.target == "lm_head.weight" for n in graph.nodes)


def test_frozen_batch_norm_follows_its_module() -> None:
    model = models.ZOO["conv"].model()
    student = QuantizedModel(capture(model, torch.randn(1, 3, 8, 8)))
    for m in (model, student):
        m.train()
        m.bn1.eval()
    torch.manual_seed(0)
    want = model(models.ZOO["conv"].inputs(4))
    torch.manual_seed(0)
    assert torch.equal(student(models.ZOO["conv"].inputs(4)), want)
    assert torch.equal(student.bn1.running_mean, model.bn1.running_mean)
    assert int(student.bn1.num_batches_tracked) == 0
    assert int(student.bn2.num_batches_tracked) == 1


def test_cumulative_average_batch_norm() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, momentum=None))
    student = QuantizedModel(capture(model, torch.randn(1, 2, 4, 4)))
    assert model[1].momentum is None
    for _ in range(3):
        x = torch.randn(5, 2, 4, 4)
        assert torch.equal(student(x), model(x))
    assert torch.equal(student.get_submodule("1").running_var, model[1].running_var)


class State(nn.Module):
    """Updates its own buffers, uses tensors it never registered, and blocks gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(1))
        self.table = torch.linspace(0, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        y = self.fc(x) * self.table + torch.tensor([1.0, 2.0, 3.0, 4.0]) + torch.arange(4)
        with torch.no_grad():
            scale = self.fc(x).abs().mean()
        return y * scale + self.fc(x).detach()


def test_state_constants_and_blocked_gradients() -> None:
    torch.manual_seed(0)
    model = State()
    student = QuantizedModel(capture(model, torch.randn(1, 4)))
    for _ in range(2):
        x = torch.randn(3, 4)
        for want, have in zip(
            step(model, x, training=True), step(student, x, training=True), strict=False
        ):
            assert torch.equal(have, want)
    assert float(student.calls) == 2.0
    assert set(student.state_dict()) == set(model.state_dict())


class KeepsView(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        part = y.view(-1)
        part.add_(1)
        return y


class OverwritesCopy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        z = y.view(-1, 4)
        z.mul_(3).add_(1)
        y = x + 1
        y += z.view(x.shape)
        y.clamp_(min=0.5)
        y.zero_().add_(x)
        return F.relu_(y)


def test_a_changed_view_is_refused_with_its_line() -> None:
    with pytest.raises(CaptureError, match=r"test_capture\.py:\d+.*shares memory.*mode='module'"):
        capture(KeepsView(), torch.randn(2, 4))


def test_in_place_chains_become_functional() -> None:
    x = torch.randn(3, 4)
    student = QuantizedModel(capture(OverwritesCopy(), torch.randn(1, 4)))
    before = x.clone()
    assert torch.equal(student(x), OverwritesCopy()(before.clone()))
    assert torch.equal(x, before)


def test_a_mode_branch_is_refused_with_its_line() -> None:
    with pytest.raises(CaptureError, match=r"models\.py:\d+: `if self\.training:`"):
        capture(models.ModeBranchNet(), torch.randn(2, 4))


def test_a_value_branch_is_refused_with_its_line() -> None:
    with pytest.raises(
        CaptureError, match=r"(?s)models\.py:\d+: `if x\.sum\(\) > 0:`.*mode='module'"
    ):
        capture(models.ValueBranchNet(), torch.randn(2, 4))


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(2, 4).flatten()


def test_wrong_example_inputs_are_refused() -> None:
    with pytest.raises(
        CaptureError, match=r"(?s)models\.py:\d+.*check that model\(\*example_inputs\) runs"
    ):
        capture(models.ConvNet(), torch.randn(1, 5, 8, 8))
    with pytest.raises(CaptureError, match=r"example inputs of that size and dynamic_batch=False"):
        capture(FixedBatch(), torch.randn(2, 4), dynamic_shapes={"x": {0: torch.export.Dim("n")}})
    with pytest.raises(TypeError, match=r"do not fit ConvNet\.forward"):
        capture(models.ConvNet(), {"image": torch.randn(1, 3, 8, 8)})
    with pytest.raises(TypeError, match=r"must be an nn\.Module, found function"):
        capture(lambda x: x, torch.ones(1))  # type: ignore[arg-type]


def test_sizes_may_vary_where_the_caller_says_so() -> None:
    model = models.ZOO["conv"].model().eval()
    student = QuantizedModel(
        capture(
            model,
            torch.randn(2, 3, 8, 8),
            dynamic_shapes={"x": {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO}},
        )
    )
    x = torch.randn(3, 3, 12, 8)
    assert torch.equal(student(x), model(x))
    with pytest.raises(
        ValueError, match=r"'x': expected shape \[-1, 3, -1, 8\].*found \[3, 3, 8, 9\]"
    ):
        student(torch.randn(3, 3, 8, 9))


class DropPath(nn.Module):
    """Stochastic depth as image models write it: another graph in each mode."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(0.5)
        return x * keep.div_(0.5)


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.path = DropPath()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(self.fc(x))


class DropoutInTrain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = F.dropout(x, 0.5)
        return F.relu(x)


def test_a_dropout_only_in_train_mode_hides_nothing() -> None:
    captured = capture(nn.Sequential(nn.Linear(4, 4), DropoutInTrain()), torch.randn(1, 4))
    assert not [n for n in captured.graph.nodes if n.op == "call_module"]
    student = QuantizedModel(captured).eval()
    x = torch.randn(4, 4)
    assert torch.equal(student(x), F.relu(student.get_submodule("0")(x)))
    torch.manual_seed(0)
    y = student.train()(x)
    torch.manual_seed(0)
    assert torch.equal(y, F.relu(F.dropout(student.get_submodule("0")(x), 0.5)))


def test_a_stateless_layer_with_its_own_modes_is_kept_whole() -> None:
    torch.manual_seed(0)
    model = Deep()
    captured = capture(model, torch.randn(1, 4))
    assert [n.target for n in captured.graph.nodes if n.op == "call_module"] == ["path"]
    student = QuantizedModel(captured)
    x = torch.randn(8, 4)
    for training in (True, False):
        for want, have in zip(
            step(model, x, training=training), step(student, x, training=training), strict=True
        ):
            assert torch.equal(have, want)
    assert "forward" not in vars(student.path)


class Stateful(nn.Module):
    """Recurrent state comes in and goes out: its batch is dimension 1."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5, 2, batch_first=True)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.last = x * 2  # tracing must not leave its fake tensor behind
        return self.rnn(x, state)


@pytest.mark.parametrize("batch", [1, 3])
def test_recurrent_state_has_its_batch_second(batch: int) -> None:
    torch.manual_seed(0)
    model = Stateful()
    student = QuantizedModel(capture(model, (torch.randn(batch, 6, 4), torch.randn(2, batch, 5))))
    for size in (1, 4):
        inputs = torch.randn(size, 6, 4), torch.randn(2, size, 5)
        for want, have in zip(model(*inputs), student(*inputs), strict=True):
            assert torch.equal(have, want)
    copy.deepcopy(student)


class OneByOne(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(1, 4) + x.squeeze(0)


def test_a_batch_fixed_by_the_model_stays_fixed_and_says_so() -> None:
    student = QuantizedModel(capture(OneByOne(), torch.randn(1, 4)))
    x = torch.randn(1, 4)
    assert torch.equal(student(x), OneByOne()(x))
    with pytest.raises(ValueError, match=r"'x': expected shape \[1, 4\].*found \[2, 4\]"):
        student(torch.randn(2, 4))


@dataclass
class Result:
    logits: Tensor
    hidden: tuple[Tensor, None]


class Structured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.alias = self.fc
        self.norm = nn.BatchNorm1d(4)
        self.again = self.norm

    def forward(self, *xs: Tensor, **more: Tensor) -> Result:
        y = self.again(self.norm(self.alias(xs[0]) + self.fc(more["bias"])))
        return Result(y, (xs[1], None))


def test_dataclass_result_star_arguments_and_shared_layers() -> None:
    torch.manual_seed(0)
    model = Structured()
    example = torch.randn(1, 4)
    captured = capture(model, (example, example), example_kwargs={"bias": example})
    student = pickle.loads(pickle.dumps(QuantizedModel(captured)))
    x, y, bias = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 4)
    want, have = model(x, y, bias=bias), student(x, y, bias=bias)
    assert isinstance(have, Result)
    assert torch.equal(have.logits, want.logits)
    assert have.hidden[0] is y
    assert torch.equal(student.norm.running_mean, model.norm.running_mean)
    assert int(student.norm.num_batches_tracked) == 2
    assert set(student.state_dict()) == set(model.state_dict())


class Autocast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ x.T


def test_autocast_inside_forward_is_refused_with_its_line() -> None:
    with pytest.raises(CaptureError, match=r"test_capture\.py:\d+ uses wrap_with_autocast"):
        capture(Autocast(), torch.randn(2, 4))


class SlicesWritten(nn.Module):
    """Temporal shift and friends: writes into slices of a fresh tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = torch.zeros_like(x)
        y[:, :2, 1:] = x[:, :2, :-1]
        y[:, 2] += x[:, 3]
        y[..., 0, ::2].mul_(3.0)
        z = self.bn(x)
        z.relu_()
        return y * 2 + z + x


def test_writes_into_slices_and_gradients_through_them() -> None:
    torch.manual_seed(0)
    model = SlicesWritten()
    student = QuantizedModel(capture(model, torch.randn(1, 3, 4, 4)))
    x = torch.randn(3, 3, 4, 4)
    for want, have in zip(
        step(model, x, training=True), step(student, x, training=True), strict=True
    ):
        torch.testing.assert_close(have, want, rtol=1e-6, atol=1e-6)


class SizeBranch(nn.Module):
    def forward(self, x: Tensor, **more: Tensor) -> Tensor:
        y = x * 2 if x.shape[0] > 4 else x.flip(0)
        return y + more["bias"]


def test_a_branch_on_a_size_holds_only_for_its_side() -> None:
    example = torch.randn(1, 4)
    captured = capture(SizeBranch(), example, example_kwargs={"bias": example})
    student = copy.deepcopy(QuantizedModel(captured))
    for size in (1, 2, 4):
        x, bias = torch.randn(size, 4), torch.randn(size, 4)
        assert torch.equal(student(x, bias=bias), SizeBranch()(x, bias=bias))
    with pytest.raises(ValueError, match=r"captured for inputs with x\.size\(\)\[0\] <= 4"):
        student(torch.randn(5, 4), bias=torch.randn(5, 4))
    with pytest.raises(ValueError, match=r"x\.size\(\)\[0\] == more\['bias'\]\.size\(\)\[0\]"):
        student(torch.randn(3, 4), bias=torch.randn(1, 4))
