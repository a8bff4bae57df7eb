# SPDX-License-Identifier: Apache-2.0
"""Large rounded weights are rounded again in backward: the same bits as keeping them, and nothing kept."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import edgeqat
from edgeqat.ops import _recompute


class Layers(nn.Module):
    """Convolutions in front of BatchNorm, one of them strided and grouped, and linear layers with and without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, 2, 1, groups=2, bias=False), nn.BatchNorm2d(8)
        self.fc1, self.fc2 = nn.Linear(128, 32), nn.Linear(32, 10, bias=False)
        with torch.no_grad():
            self.bn2.weight[::2] *= -1

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return self.fc2(self.fc1(x.flatten(1)).relu())


def student_of(rule: str = "lsq", mode: str = "graph") -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 8, 8)
    recipe = edgeqat.Recipe(
        weight_bits=4, activation_bits=4, weight_quantizer=rule, activation_quantizer="lsq"
    )
    model = Layers()
    plan = edgeqat.plan(model, x, recipe=recipe, mode=mode)
    return edgeqat.calibrate(edgeqat.prepare(model, plan), [x]).train(), x


@pytest.fixture(params=["kept", "again"])
def choice(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(_recompute, "RECOMPUTED_FROM", 1 if request.param == "again" else 1 << 40)
    value: str = request.param
    return value


def results(student: nn.Module, x: Tensor, autocast: bool) -> list[Tensor | None]:
    student.zero_grad()
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = student(x)
    y.float().square().sum().backward()
    return [y.detach(), x.grad, *(p.grad for _, p in sorted(student.named_parameters()))]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("mode", ["graph", "module"])
@pytest.mark.parametrize("rule", ["minmax", "lsq", "power_of_two", "dorefa"])
def test_gives_the_bits_of_keeping(
    rule: str, mode: str, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(monkeypatch, lambda: results(*student_of(rule, mode), autocast))


@pytest.mark.parametrize("mode", ["graph", "module"])
def test_no_rounded_weight_is_saved(mode: str, choice: str) -> None:
    student, x = student_of(mode=mode)
    parameters = {p.data_ptr() for p in student.parameters()}
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        student(x)
    weight = student.get_parameter("fc1.weight")
    copies = [
        t
        for t in saved
        if t.numel() == weight.numel() and t.is_floating_point() and t.data_ptr() not in parameters
    ]
    assert len(copies) == (0 if choice == "again" else 1)


@pytest.mark.usefixtures("choice")
def test_weights_changed_before_backward_are_refused() -> None:
    student, x = student_of()
    loss = student(x).sum()
    with torch.no_grad():
        student.get_parameter("fc1.weight").mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def both(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[], list[Tensor | None]], tolerance: float = 0.0
) -> None:
    """Runs with weights rounded again and kept: the same bits, or within a tolerance."""
    found = []
    for limit in (1, 1 << 40):
        monkeypatch.setattr(_recompute, "RECOMPUTED_FROM", limit)
        found.append(run())
    assert any(t is not None and bool(t.abs().sum() > 0) for t in found[0])
    for again, kept in zip(*found, strict=True):
        assert (again is None) == (kept is None)
        if again is not None and kept is not None:
            torch.testing.assert_close(again, kept, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("rule", ["minmax", "lsq"])
def test_second_derivatives(rule: str, autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of x through x for both; through the weight for straight-through weights, learned steps refuse it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh())
    x = torch.randn(3, 6)
    recipe = edgeqat.Recipe(weight_bits=4, first_last_bits=None, weight_quantizer=rule)
    prepared = edgeqat.calibrate(edgeqat.prepare(model, recipe, x), [x]).train()
    edgeqat.enable_quantizers(prepared, activations=False)

    def run(through_weight: bool) -> list[Tensor | None]:
        student, source = copy.deepcopy(prepared), x.clone().requires_grad_()
        weight = student.get_parameter("2.weight")
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = student(source).float().square().sum()
        first = torch.autograd.grad(y, weight if through_weight else source, create_graph=True)[0]
        return list(torch.autograd.grad(first.square().sum(), (source, weight), allow_unused=True))

    tolerance = 0.01 if autocast else 0.0  # one rounding to bfloat16 less
    both(monkeypatch, lambda: run(False), tolerance)
    if rule == "minmax":
        both(monkeypatch, lambda: run(True), tolerance)
        return
    for limit in (1, 1 << 40):
        monkeypatch.setattr(_recompute, "RECOMPUTED_FROM", limit)
        with pytest.raises(RuntimeError, match="second derivative"):
            run(True)


@pytest.mark.parametrize("rule", ["minmax", "lsq"])
def test_what_happens_to_the_module_before_backward_changes_nothing(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Substituted parameters are those of forward, switches and signs of gamma too."""

    def run() -> list[Tensor | None]:
        student, x = student_of(rule)
        given = {n: (p.detach() * 1.5).requires_grad_() for n, p in student.named_parameters()}
        y = torch.func.functional_call(student, given, (x,))
        edgeqat.enable_quantizers(student, weights=False)
        with torch.no_grad():
            student.get_parameter("bn2.weight").neg_()
        y.square().sum().backward()
        return [t.grad for _, t in sorted(given.items())]

    both(monkeypatch, run)


@pytest.mark.parametrize("rule", ["minmax", "lsq"])
def test_frozen_parameters_and_some_inputs(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(off: bool) -> list[Tensor | None]:
        student, x = student_of(rule)
        student.get_parameter("fc1.weight").requires_grad_(False)
        edgeqat.enable_quantizers(student, weights=not off)
        last = student.get_parameter("fc2.weight")
        student(x).square().sum().backward(inputs=[last, student.get_parameter("conv1.weight")])
        partly = [p.grad for _, p in sorted(student.named_parameters())]
        student(x).square().sum().backward()
        return partly + [p.grad for _, p in sorted(student.named_parameters())]

    both(monkeypatch, lambda: run(False))
    both(monkeypatch, lambda: run(True))


@pytest.mark.usefixtures("choice")
@pytest.mark.parametrize("dtype", [torch.int64, torch.bfloat16])
def test_an_input_of_another_type_is_refused(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 6)), torch.randn(3, 6)
    student = edgeqat.prepare(model, edgeqat.plan(model, x, recipe="w4a8", mode="module")).train()
    student[0].input_quantizer.set_flags(enabled=False, observing=False)
    with pytest.raises(RuntimeError, match=r"dtype|Float"):
        student(x.to(dtype))


def test_data_parallel_replicas_hand_their_gradient_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """They and FSDP hold plain tensors where parameters were."""

    def run() -> list[Tensor | None]:
        student, x = student_of(mode="module")
        step = student.get_parameter("fc1.weight_quantizer.step")
        quantizer = student.get_submodule("fc1.weight_quantizer")
        del quantizer._parameters["step"]
        quantizer.step = step * 1.0
        student(x).square().sum().backward()
        return [step.grad]

    both(monkeypatch, run)


@pytest.mark.usefixtures("choice")
def test_compiled_checkpointed_copied_and_pickled() -> None:
    student, x = student_of()
    expected = results(copy.deepcopy(student), x, False)
    others = [pickle.loads(pickle.dumps(student)), copy.deepcopy(student)]
    others.append(torch.compile(copy.deepcopy(student), fullgraph=True, backend="aot_eager"))
    for other in others:
        for a, b in zip(results(other, x, False), expected, strict=True):
            assert (a is None) == (b is None)
            assert a is None or torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    run = copy.deepcopy(student)
    y = torch.utils.checkpoint.checkpoint(run, x, use_reentrant=False)
    y.square().sum().backward()
    for p, q in zip(sorted(run.named_parameters()), expected[2:], strict=True):
        assert (p[1].grad is None) == (q is None)
        assert q is None or torch.equal(p[1].grad, q)


def test_only_large_weights_are_rounded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of 4 MiB; a smaller one is not worth the time of a call."""
    calls: list[int] = []
    original = _recompute._Recomputed.apply
    monkeypatch.setattr(
        _recompute._Recomputed, "apply", lambda *a: calls.append(a[6].numel()) or original(*a)
    )
    model = nn.Sequential(nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 8))
    x = torch.randn(2, 1024)
    student = edgeqat.calibrate(edgeqat.prepare(model, edgeqat.plan(model, x)), [x])
    student.train()(x).sum().backward()
    assert calls == [1024 * 1024]
    student.eval()(x).sum().backward()
    assert calls == [1024 * 1024]


def test_the_graph_that_others_read_keeps_its_quantizers() -> None:
    student, _ = student_of()
    calls = [str(n.target) for n in student.graph.nodes if n.op == "call_module"]
    assert "quantizers.fc1.weight" in calls
