# SPDX-License-Identifier: Apache-2.0
"""prepare and calibrate: names, ranges against plain min and max, gradients, resume, plumbing."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import edgeqat
import models
from edgeqat.nn import ActivationQuantizer, Quantizer


def student_of(name: str = "conv", recipe: str = "w4a8", calibrated: bool = True) -> nn.Module:
    case = models.ZOO[name]
    model = case.model()
    student = edgeqat.prepare(model, edgeqat.plan(model, case.inputs(), recipe=recipe))
    if calibrated:
        edgeqat.calibrate(student, [case.inputs(8, seed=s) for s in (5, 6)])
    return student


def batches(name: str = "conv", count: int = 100) -> Iterator[Tensor]:
    seed = 10
    while seed < 10 + count:
        yield models.ZOO[name].inputs(8, seed=seed)
        seed += 1


def step(student: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    optimizer.zero_grad()
    student(x).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("name", models.ZOO)
def test_state_dict_holds_the_models_own_names(name: str) -> None:
    model = models.ZOO[name].model()
    student = student_of(name, calibrated=False)
    own, state = model.state_dict(), student.state_dict()
    assert own.keys() <= state.keys()
    assert all(torch.equal(own[key], state[key]) for key in own)
    assert all(key in own or key.startswith("quantizers.") for key in state)


@pytest.mark.parametrize("name", models.ZOO)
def test_switched_off_quantizers_leave_the_float_model(name: str) -> None:
    case = models.ZOO[name]
    student = edgeqat.enable_quantizers(
        student_of(name, calibrated=False), weights=False, activations=False
    )
    flat = lambda out: torch.utils._pytree.tree_leaves(out)  # noqa: E731
    with torch.no_grad():
        for a, b in zip(
            flat(student.eval()(case.inputs())),
            flat(case.model().eval()(case.inputs())),
            strict=True,
        ):
            if case.exact:
                assert torch.equal(a, b)
            else:
                torch.testing.assert_close(a, b)


def test_calibration_finds_plain_minimum_and_maximum() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x)

    model, data = Net(), [torch.randn(16, 4) * k for k in (1, 3, 2)]
    student = edgeqat.prepare(model, edgeqat.plan(model, data[0]))
    student.train()
    edgeqat.calibrate(student, data)
    assert student.training, "calibrate gives the mode back"
    every = torch.cat(data)
    observed = student.quantizers.x.output
    assert float(observed.min_val) == float(every.min())
    assert float(observed.max_val) == float(every.max())
    low, high = min(float(every.min()), 0.0), max(float(every.max()), 0.0)
    assert float(observed.scale) == pytest.approx((high - low) / 255, rel=1e-6)
    assert int(observed.count[0]) == 3


def test_moving_average_of_training() -> None:
    quantizer = ActivationQuantizer(edgeqat.QuantSpec(8, symmetric=False), averaging=0.25).train()
    expected = None
    for x in (torch.tensor([0.0, 4.0]), torch.tensor([-2.0, 8.0]), torch.tensor([1.0, 2.0])):
        quantizer(x)
        high = float(x.max())
        expected = high if expected is None else expected + 0.25 * (high - expected)
    assert float(quantizer.max_val) == pytest.approx(expected)
    before = quantizer.max_val.clone()
    quantizer.eval()(torch.tensor([100.0]))
    assert torch.equal(quantizer.max_val, before), "eval() must not move the range"


def test_one_nan_is_skipped_counted_and_refused() -> None:
    case, student = models.ZOO["conv"], student_of()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    bad = case.inputs()
    bad[0, 0, 0, 0], bad[1, 0, 0, 0] = float("nan"), float("inf")
    with pytest.raises(
        ValueError, match=r"calibrate: NaN or infinity reached .* x\.output \(2 values\)"
    ):
        edgeqat.calibrate(student, [case.inputs(), bad])
    after = student.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before), (
        "a refused calibration changes nothing"
    )


def test_calibrate_refuses_nothing_and_float_models() -> None:
    with pytest.raises(ValueError, match="batches is empty"):
        edgeqat.calibrate(student_of(), [])
    with pytest.raises(ValueError, match=r"call edgeqat\.prepare first"):
        edgeqat.calibrate(nn.Linear(2, 2), [torch.ones(1, 2)])


def test_calibrate_refuses_single_tensors_labels_and_empty_batches() -> None:
    x, student = models.ZOO["conv"].inputs(), student_of(calibrated=False)
    with pytest.raises(TypeError, match=r"found one Tensor; wrap it in a list"):
        edgeqat.calibrate(student, x)
    with pytest.raises(TypeError, match="batches hold no labels"):
        edgeqat.calibrate(student, [(x, torch.zeros(4))])
    with pytest.raises(ValueError, match="every batch was empty"):
        edgeqat.calibrate(student, [x[:0]])


def test_evaluating_before_calibration_is_an_error_and_training_is_not() -> None:
    x, student = models.ZOO["conv"].inputs(), student_of(calibrated=False)
    with pytest.raises(RuntimeError, match=r"seen no data.*edgeqat\.calibrate"):
        student.eval()(x)
    student.train()(x)
    student.eval()(x)


def test_prepared_twice_is_refused() -> None:
    student = student_of()
    with pytest.raises(ValueError, match="found one that was prepared before"):
        edgeqat.prepare(student, student.plan)
    with pytest.raises(ValueError, match="found a QuantizedModel; it was prepared before"):
        edgeqat.plan(student, models.ZOO["conv"].inputs())
    with pytest.raises(ValueError, match="matches no layer"):
        edgeqat.plan(
            models.ConvNet(),
            models.ZOO["conv"].inputs(),
            recipe=edgeqat.Recipe(overrides=(("nosuch*", {"weight_bits": 4}),)),
        )


def reference_conv_bn(model: models.ConvNet, x: Tensor, bits: int) -> Tensor:
    """relu(bn(conv(x, round(w)))) in float64 with batch statistics and a straight-through estimator."""
    weight = model.conv1.weight.double()
    half = (2**bits - 1) / 2 if bits < 7 else 2 ** (bits - 1) - 1
    low = -(2 ** (bits - 1)) if bits < 7 else -(2 ** (bits - 1)) + 1
    scale = (weight.detach().abs().amax((1, 2, 3), keepdim=True).float() / half).double()
    signs = torch.where(model.bn1.weight.detach() < 0, -1.0, 1.0).double().reshape(-1, 1, 1, 1)
    ratio = (weight * signs).float() / scale.float()
    codes = ratio.detach().round().clamp(low, 2 ** (bits - 1) - 1).double()
    inside = (ratio.detach().round() >= low) & (ratio.detach().round() <= 2 ** (bits - 1) - 1)
    rounded = signs * (codes * scale + (weight * signs - (weight * signs).detach()) * inside)
    y = F.conv2d(x.double(), rounded, padding=1)
    y = F.batch_norm(
        y, None, None, model.bn1.weight.double(), model.bn1.bias.double(), training=True
    )
    return y.relu()


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_gradients_of_live_batch_norm_against_float64(bits: int) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)

        def forward(self, x: Tensor) -> Tensor:
            return self.bn1(self.conv1(x)).relu()

    torch.manual_seed(0)
    model, x = Net(), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        model.bn1.weight.copy_(torch.linspace(-1, 1, 8))
    recipe = edgeqat.Recipe(weight_bits=bits, first_last_bits=None)
    student = edgeqat.prepare(model, edgeqat.plan(model, x, recipe=recipe)).train()
    edgeqat.enable_quantizers(student, weights=True, activations=False)
    upstream = torch.randn(4, 8, 8, 8)
    (student(x) * upstream).sum().backward()
    (reference_conv_bn(model, x, bits) * upstream).sum().backward()
    torch.testing.assert_close(
        student.conv1.weight.grad, model.conv1.weight.grad, rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(student.bn1.weight.grad, model.bn1.weight.grad, rtol=1e-3, atol=1e-3)


def test_resume_is_bit_exact() -> None:
    straight = student_of().train()
    optimizer = torch.optim.SGD(straight.parameters(), 0.05, momentum=0.9)
    data = list(batches(count=6))
    for x in data[:3]:
        torch.manual_seed(int(x[0, 0, 0, 0] * 1000) % 997)
        step(straight, optimizer, x)
    saved = {
        "model": save(straight.state_dict()),
        "optimizer": copy.deepcopy(optimizer.state_dict()),
    }
    resumed = student_of(calibrated=False).train()
    resumed.load_state_dict(load(saved["model"]))
    second = torch.optim.SGD(resumed.parameters(), 0.05, momentum=0.9)
    second.load_state_dict(saved["optimizer"])
    for model, opt in ((straight, optimizer), (resumed, second)):
        for x in data[3:]:
            torch.manual_seed(int(x[0, 0, 0, 0] * 1000) % 997)
            step(model, opt, x)
    a, b = straight.state_dict(), resumed.state_dict()
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def test_frozen_observers_survive_a_checkpoint() -> None:
    student = edgeqat.freeze_observers(student_of().train())
    again = student_of(calibrated=False).train()
    again.load_state_dict(student.state_dict())
    before = again.quantizers.x.output.max_val.clone()
    again(100 * models.ZOO["conv"].inputs())
    assert torch.equal(again.quantizers.x.output.max_val, before)


def test_recomputing_a_checkpointed_block_does_not_observe_twice() -> None:
    quantizer = ActivationQuantizer(edgeqat.QuantSpec(8, symmetric=False), averaging=0.5).train()
    layer = nn.Linear(3, 3)
    checkpoint(
        lambda x: quantizer(layer(x)), torch.randn(4, 3), use_reentrant=False
    ).sum().backward()
    assert int(quantizer.count[0]) == 1


@pytest.mark.parametrize("name", ["conv", "depthwise", "tiny_lm", "up"])
def test_copies_pickles_and_files(name: str, tmp_path) -> None:
    case, student = models.ZOO[name], student_of(name)
    student.eval()
    expected = student(case.inputs())
    state = tmp_path / "state.pt"
    torch.save(student.state_dict(), state)
    fresh = student_of(name, calibrated=False).eval()
    fresh.load_state_dict(torch.load(state, weights_only=True))
    for other in (copy.deepcopy(student), pickle.loads(pickle.dumps(student)), fresh):
        assert torch.equal(other(case.inputs()), expected)


def test_compile_full_graph_and_export() -> None:
    case, student = models.ZOO["conv"], student_of().train()
    torch.manual_seed(3)
    plain = copy.deepcopy(student)
    compiled = torch.compile(student, fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (4, 6):
        torch.manual_seed(1)
        a = compiled(case.inputs(batch))
        torch.manual_seed(1)
        b = plain(case.inputs(batch))
        torch.testing.assert_close(a, b)
        a.sum().backward()
    exported = torch.export.export(
        student.eval(), (case.inputs(),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
    )
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(case.inputs(7)), student(case.inputs(7)))


def test_any_batch_keywords_and_attributes() -> None:
    case, student = models.ZOO["conv"], student_of().eval()
    for batch in (1, 2, 9):
        assert student(x=case.inputs(batch)).shape == (batch, 5)
    assert student.fc.out_features == 5
    with pytest.raises(TypeError):
        student()


def test_at_most_two_helpers_a_layer_and_a_short_repr() -> None:
    case, student = models.ZOO["resnet20"], student_of("resnet20", calibrated=False)
    layers = sum(1 for m in case.model().modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    helpers = [m for m in student.modules() if isinstance(m, Quantizer)]
    # one a weight, one an activation; the nine residual sums and the input have outputs of their own
    assert len(helpers) <= 2 * layers + 11
    assert all("\n" not in repr(m) for m in helpers)
    assert "int4, symmetric, per channel, axis=0" in repr(student.quantizers.layer1)


def test_results_do_not_depend_on_the_thread_count() -> None:
    case, threads = models.ZOO["conv"], torch.get_num_threads()
    outputs = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            student = student_of()
            outputs.append([q.scale.clone() for q in student.modules() if isinstance(q, Quantizer)])
            x = case.inputs(64).requires_grad_()
            y = student.quantizers.x.output(x)
            y.sum().backward()
            outputs[-1] += [y.detach(), x.grad]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


def test_volumes_with_channels_last() -> None:
    """Quantizers keep the layout and its bits; convolutions may add in another order, which moves a code at a tie."""
    last = torch.channels_last_3d
    x, student = models.ZOO["volume"].inputs(8), student_of("volume").eval()
    other = copy.deepcopy(student).to(memory_format=last)
    assert other.conv.weight.is_contiguous(memory_format=last)
    rounded = other.quantizers.x.output(x.contiguous(memory_format=last))
    assert rounded.is_contiguous(memory_format=last)
    assert torch.equal(rounded, student.quantizers.x.output(x))
    assert torch.equal(
        other.quantizers.conv.weight(other.conv.weight),
        student.quantizers.conv.weight(student.conv.weight),
    )
    step = float(student.quantizers.fc.output.scale)
    off = (other(x.contiguous(memory_format=last)) - student(x)).abs() / step
    assert off.max() <= 2.01
    assert (off > 0.5).float().mean() <= 0.03
    gradients = []
    for model in (student.train(), other.train()):
        torch.manual_seed(0)  # the same channels are dropped
        model(x.contiguous(memory_format=last)).square().sum().backward()
        gradients.append(model.conv.weight.grad)
    assert (gradients[0] - gradients[1]).norm() <= 0.05 * gradients[0].norm()


def test_module_mode_for_what_cannot_be_captured() -> None:
    model = models.ValueBranchNet()
    x = torch.randn(6, 4)
    with pytest.raises(edgeqat.CaptureError, match="mode='module'"):
        edgeqat.plan(model, x)
    plan = edgeqat.plan(model, x, recipe="w4a8", mode="module")
    student = edgeqat.prepare(model, plan)
    edgeqat.calibrate(student, [x])
    assert set(model.state_dict()) <= set(student.state_dict())
    scale = float(x.max() - x.min()) / 255
    zero = round(-128 - float(x.min()) / scale)
    rounded = ((x / scale).round() + zero).clamp(-128, 127).sub(zero) * scale
    weight = model.fc.weight.detach()
    step_size = weight.abs().amax(1, keepdim=True) / 127
    expected = rounded @ ((weight / step_size).round() * step_size).T + model.fc.bias
    out = student(x) if x.sum() > 0 else -student(x)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    assert "QuantizedLinear(in_features=4" in repr(student.fc)
    with pytest.raises(ValueError, match="module mode starts from the float model"):
        edgeqat.prepare(student, plan)
    pickle.loads(pickle.dumps(student))
    copy.deepcopy(student)


def test_module_mode_names_what_it_leaves_float() -> None:
    plan = edgeqat.plan(models.ZOO["lstm"].model(), None, mode="module")
    assert plan.layers["rnn"].output.note == "module mode does not see inside LSTM"
    with pytest.raises(edgeqat.CoverageError):
        plan.check(strict=True)
    with pytest.raises(ValueError, match="nothing to quantize"):
        edgeqat.plan(nn.Sequential(nn.ReLU()), None, mode="module")
