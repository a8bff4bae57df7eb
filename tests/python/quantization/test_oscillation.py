# SPDX-License-Identifier: Apache-2.0
"""Oscillation control: what is counted, damped, frozen and reported."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edgeqat
from edgeqat.quantization.oscillation import Oscillation


def student_of(rule: str = "lsq") -> nn.Module:
    """One linear layer with 3-bit weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4, bias=False))
    recipe = edgeqat.Recipe(weight_bits=3, first_last_bits=None, weight_quantizer=rule)
    student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 6), recipe=recipe))
    return edgeqat.calibrate(student, [torch.randn(16, 6)])


def test_a_weight_that_jumps_back_and_forth_is_counted_and_frozen() -> None:
    student = student_of()
    weight = student.get_parameter("0.weight")
    step = float(student.quantizers.get_submodule("0.weight").scale[0])
    oscillation = Oscillation(student, momentum=0.1, freeze=0.3)
    for index in range(20):
        with torch.no_grad():
            weight[0, 0] = (1.4 if index % 2 else 1.6) * step  # codes 1 and 2 in turn
        oscillation.step()
    (row,) = oscillation.report()
    assert row.frozen == 1 / 24
    frozen = float(weight[0, 0].detach() / step)
    assert frozen in (1.0, 2.0)
    with torch.no_grad():
        weight[0, 0] = 3.3 * step  # the optimizer may pull; the weight stays
    oscillation.step()
    assert float(weight[0, 0].detach() / step) == frozen


def test_steady_weights_do_not_count() -> None:
    student = student_of()
    oscillation = Oscillation(student)
    with torch.no_grad():
        for _ in range(5):
            student.get_parameter("0.weight").add_(0.3)  # one direction only
            oscillation.step()
    assert oscillation.report()[0].oscillating == 0.0
    assert "0.weight" in str(oscillation.report())


def test_dampening_pulls_weights_to_the_grid() -> None:
    student = student_of()
    oscillation = Oscillation(student, dampen=0.5)
    weight = student.get_parameter("0.weight")
    student.train()
    rounded = student.quantizers.get_submodule("0.weight")(weight).detach()
    student(torch.zeros(2, 6)).sum().backward()
    ratio = weight.detach() / student.quantizers.get_submodule("0.weight").scale[:, None]
    in_range = (ratio >= -4) & (ratio <= 3)
    assert bool(in_range.any())
    expected = torch.where(in_range, 2 * 0.5 * (weight.detach() - rounded), 0.0)
    torch.testing.assert_close(weight.grad, expected)
    assert oscillation.progress == 0.0


def test_schedules_and_refusals() -> None:
    student = student_of()
    oscillation = Oscillation(student, freeze=(0.04, 0.01), dampen=(0.0, 0.1), total_steps=4)
    for _ in range(4):
        oscillation.step()
    assert oscillation.progress == 1.0
    assert student.quantizers.get_submodule("0.weight").damping == pytest.approx(0.1)
    with pytest.raises(ValueError, match="total_steps"):
        Oscillation(student, freeze=(0.04, 0.01))
    with pytest.raises(ValueError, match="momentum"):
        Oscillation(student, momentum=0.0)
    with pytest.raises(ValueError, match="learned weight quantizers"):
        Oscillation(student_of("minmax"), dampen=0.1).step()
    with pytest.raises(ValueError, match="no quantized weights"):
        Oscillation(nn.Linear(2, 2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"freeze": -1.0},
        {"freeze": 2.0},
        {"freeze": (0.1, 0.2, 0.3), "total_steps": 5},
        {"dampen": -1.0},
        {"dampen": float("nan")},
        {"total_steps": 0},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"Oscillation: {next(iter(wrong))} must be"):
        Oscillation(student_of(), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["live", "frozen"])
def test_negative_gammas_are_counted_with_the_code_that_is_rounded(mode: str) -> None:
    """2-bit codes are -2..1: of +-1.6 and +-1.4 steps only the side that reaches -2 changes its code."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    recipe = edgeqat.Recipe(
        weight_bits=2, first_last_bits=None, weight_quantizer="lsq", batch_norm=mode
    )
    x = torch.randn(8, 1, 6, 6)
    student = edgeqat.calibrate(edgeqat.prepare(model, edgeqat.plan(model, x, recipe=recipe)), [x])
    weight = student.get_parameter("0.weight")
    step = student.quantizers.get_submodule("0.weight").scale.reshape(4, 1, 1, 1)
    sides = torch.tensor([1.0, -1.0, 1.0, -1.0]).reshape(4, 1, 1, 1)
    changes = torch.tensor([True, False, False, True])  # -gamma's sign * side reaches -2
    oscillation = Oscillation(student, momentum=0.1, freeze=0.3)
    for index in range(12):
        with torch.no_grad():
            weight.copy_((1.4 if index % 2 else 1.6) * sides * step.expand_as(weight))
        oscillation.step()
    (row,) = oscillation.report()
    assert row.frozen == 0.5
    code = (weight.detach() / step).flatten(1)
    moved = changes.reshape(4, 1).expand_as(code)
    assert bool((code[moved] == code[moved].round()).all())  # held on a grid point
    assert bool((code[~moved] != code[~moved].round()).all())  # left alone


def test_weights_of_another_grid_are_refused() -> None:
    """Their codes are not round(weight / step): counting those would freeze weights at wrong values."""
    with pytest.raises(ValueError, match="on a uniform grid"):
        Oscillation(student_of("dorefa"))


def test_state_can_be_resumed() -> None:
    student = student_of()
    oscillation = Oscillation(student, momentum=0.5)
    generator = torch.Generator().manual_seed(0)

    def jump() -> None:
        with torch.no_grad():
            weight = student.get_parameter("0.weight")
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
        oscillation.step()

    for _ in range(5):
        jump()
    state = {k: v.clone() for k, v in oscillation.state_dict().items()}
    other = Oscillation(student, momentum=0.5)
    other.load_state_dict(state)
    assert oscillation.report()[0].oscillating > 0.1
    assert other.report() == oscillation.report()
    jump()  # moves the weight once for both
    other.step()
    assert other.report() == oscillation.report()


def test_a_resumed_schedule_goes_on_where_it_stopped() -> None:
    student = student_of()
    quantizer = student.quantizers.get_submodule("0.weight")
    oscillation = Oscillation(student, dampen=(0.0, 1.0), total_steps=4)
    oscillation.step()
    oscillation.step()
    assert quantizer.damping == pytest.approx(0.5)  # the middle of a cosine from 0 to 1
    state = oscillation.state_dict()
    other = Oscillation(student, dampen=(0.0, 1.0), total_steps=4)
    assert quantizer.damping == 0.0
    other.load_state_dict(state)
    assert (other.progress, quantizer.damping) == (0.5, pytest.approx(0.5))


def test_frozen_weights_are_held_after_freezing_ended() -> None:
    """Also behind a negative gamma, where what is rounded is a copy."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    recipe = edgeqat.Recipe(weight_bits=2, first_last_bits=None, weight_quantizer="lsq")
    x = torch.randn(8, 1, 6, 6)
    student = edgeqat.calibrate(edgeqat.prepare(model, recipe, x), [x])
    freezing = Oscillation(student, freeze=0.04)
    freezing.step()
    for state in freezing.states.values():
        state.frozen.fill_(True)
    freezing.step()
    counting = Oscillation(student)
    counting.load_state_dict(freezing.state_dict())
    weight = student.get_parameter("0.weight")
    held = weight.detach().clone()
    with torch.no_grad():
        weight.add_(0.3)
    counting.step()
    assert torch.allclose(weight.detach(), held, atol=1e-6)


def test_wrapped_and_nested_models() -> None:
    class Outer(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

    student = student_of()
    plain = [row.name for row in Oscillation(student).report()]
    for wrapped in (torch.compile(student, backend="eager"), nn.DataParallel(student)):
        assert [row.name for row in Oscillation(wrapped).report()] == plain
    assert [row.name for row in Oscillation(Outer(student)).report()] == [f"inner.{plain[0]}"]


def test_a_list_is_a_pair() -> None:
    with pytest.raises(ValueError, match=r"a \(start, end\) pair needs total_steps"):
        Oscillation(student_of(), freeze=[0.04, 0.01])  # type: ignore[arg-type]
