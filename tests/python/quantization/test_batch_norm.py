# SPDX-License-Identifier: Apache-2.0
"""Re-estimated BatchNorm statistics against the plain average computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edgeqat
from models import ConvNet


def test_statistics_are_the_average_over_batches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=0.01), nn.Dropout(0.5)).train()
    batches = [torch.randn(4, 3, 5, 5) * 2 + 1 for _ in range(3)]
    edgeqat.reestimate_batch_norm(model, batches)
    mean = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    variance = torch.stack([b.transpose(0, 1).flatten(1).var(1) for b in batches]).mean(0)
    torch.testing.assert_close(model[0].running_mean, mean)
    torch.testing.assert_close(model[0].running_var, variance)
    assert model[0].momentum == 0.01
    assert model.training
    assert model[1].training


def test_a_prepared_model_keeps_weights_and_ranges() -> None:
    torch.manual_seed(0)
    model = ConvNet()
    x = torch.randn(8, 3, 12, 12)
    student = edgeqat.prepare(model, edgeqat.plan(model, x, recipe="w4a8"))
    edgeqat.calibrate(student, [x])
    before = {k: v.clone() for k, v in student.state_dict().items()}
    edgeqat.reestimate_batch_norm(student, [x, 2 * x])
    changed = {k for k, v in student.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all("running" in k or "num_batches" in k for k in changed)


def test_folded_weights_keep_the_statistics_that_they_hold() -> None:
    torch.manual_seed(0)
    model = ConvNet()
    x = torch.randn(8, 3, 12, 12)
    model.train()(x)  # statistics that differ from 0 and 1
    recipe = edgeqat.Recipe(batch_norm="folded")
    student = edgeqat.prepare(model.eval(), edgeqat.plan(model, x, recipe=recipe))
    edgeqat.calibrate(student, [x])
    expected = student.eval()(x)
    with pytest.raises(ValueError, match="calls none of its BatchNorm layers"):
        edgeqat.reestimate_batch_norm(student, [x])
    assert torch.equal(student(x), expected)


def test_a_layer_that_is_not_called_keeps_its_statistics() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
            self.spare.running_mean.fill_(7.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    model = Spare()
    edgeqat.reestimate_batch_norm(model, [torch.tensor([[1.0, 4.0], [3.0, 8.0]])])
    assert model.used.running_mean.tolist() == [2.0, 6.0]
    assert model.spare.running_mean.tolist() == [7.0, 7.0]


def test_nothing_is_lost_where_it_fails() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    with torch.no_grad():
        model[0].running_mean.fill_(5.0)
    with pytest.raises(ValueError, match="batches is empty"):
        edgeqat.reestimate_batch_norm(model, [])
    assert model[0].running_mean.tolist() == [5.0, 5.0]
    with pytest.raises(ValueError, match="no BatchNorm"):
        edgeqat.reestimate_batch_norm(nn.Linear(2, 2), [torch.ones(1, 2)])


def test_statistics_of_nan_are_refused() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    x = torch.tensor([[1.0, 4.0], [3.0, 8.0]])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match="NaN or infinity reached the statistics"):
        edgeqat.reestimate_batch_norm(model, [x, x * torch.nan])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_batches_that_are_none_are_named() -> None:
    """Labels among the inputs, or one batch where a list of them belongs: its rows would pass for batches."""
    model = nn.Sequential(nn.BatchNorm1d(2))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(4, 2)
    with pytest.raises(TypeError, match=r"reestimate_batch_norm: .*batches hold no labels"):
        edgeqat.reestimate_batch_norm(model, [(x, torch.zeros(4))])
    with pytest.raises(TypeError, match=r"reestimate_batch_norm: .*found one Tensor; wrap it in a"):
        edgeqat.reestimate_batch_norm(model, x)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
