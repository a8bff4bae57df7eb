# SPDX-License-Identifier: Apache-2.0
"""Large rounded weights are rounded again in backward: the same bits as keeping them, and nothing kept."""

from __future__ import annotations

import copy
import pickle

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
    found = []
    for limit in (1, 1 << 40):
        monkeypatch.setattr(_recompute, "RECOMPUTED_FROM", limit)
        found.append(results(*student_of(rule, mode), autocast))
    assert sum(grad is not None for grad in found[0]) > 8
    for again, kept in zip(*found, strict=True):
        assert (again is None) == (kept is None)
        assert again is None or torch.equal(again, kept)


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


@pytest.mark.usefixtures("choice")
def test_second_derivatives_as_without() -> None:
    """Straight-through weights have one, learned steps refuse it."""
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh()),
        torch.randn(3, 6),
    )
    gradients = []
    for rule in ("minmax", "lsq"):
        recipe = edgeqat.Recipe(weight_bits=4, first_last_bits=None, weight_quantizer=rule)
        plan = edgeqat.plan(copy.deepcopy(model), x, recipe=recipe)
        student = edgeqat.calibrate(edgeqat.prepare(copy.deepcopy(model), plan), [x]).train()
        edgeqat.enable_quantizers(student, activations=False)
        source = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(student(source).sum(), source, create_graph=True)
        if rule == "lsq":
            weights = [p for n, p in student.named_parameters() if n.endswith("0.weight")]
            with pytest.raises(RuntimeError, match="second derivative"):
                torch.autograd.grad(
                    torch.autograd.grad(student(source).sum(), weights, create_graph=True)[0].sum(),
                    weights,
                )
        else:
            first.square().sum().backward()
            gradients.append(source.grad)
    assert all(bool(g.abs().sum() > 0) for g in gradients)


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
        assert p[1].grad is None or torch.equal(p[1].grad, q)


def test_only_large_weights_are_rounded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of 4 MiB; a smaller one is not worth the time of a call."""
    calls: list[int] = []
    original = _recompute._Recomputed.apply
    monkeypatch.setattr(
        _recompute._Recomputed, "apply", lambda *a: calls.append(a[5].numel()) or original(*a)
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
