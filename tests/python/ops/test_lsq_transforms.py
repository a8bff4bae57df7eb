# SPDX-License-Identifier: Apache-2.0
"""The learned quantizers under torch.compile, torch.export, autocast, torch.func and checkpointing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

from edgeqat import functional
from edgeqat.testing import assert_bit_equal

SAVES = ("exact", "compact")


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def leaves(rows: int) -> list[Tensor]:
    """x, a scale a channel, an offset a channel."""
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 6, 4, generator=generator)
    return [x, torch.rand(6, generator=generator) + 0.1, torch.randn(6, generator=generator) * 0.2]


def quantize(save: Any, **options: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def run(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        y = functional.lsq_fake_quantize(
            x, scale, -8, 7, axis=1, offset=offset, delta=0.1, save=save, **options
        )
        return y * y

    return run


def gradients(function: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
    inputs = [t.clone().requires_grad_() for t in tensors]
    y = function(*inputs)
    return [y.detach(), *torch.autograd.grad(y.sum(), inputs)]


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_as_one_graph(save: str, dynamic: bool) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    function = quantize(save)
    run = torch.compile(function, fullgraph=True, backend=counter, dynamic=dynamic)
    frames = []
    for rows in (5, 9, 13):
        tensors = leaves(rows)
        for a, w in zip(gradients(run, tensors), gradients(function, tensors), strict=True):
            assert_bit_equal(a, w)
        frames.append(counter.frame_count)
    # dynamo may start over once within the first compilation, for the float arguments
    assert len(set(frames)) == (1 if dynamic else 3)


@pytest.mark.parametrize(("save", "saved_bytes"), [("exact", 0), ("compact", 1)])
def test_saves_as_little_when_compiled(save: str, saved_bytes: int) -> None:
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    x, scale, _ = leaves(64)
    x, scale = x.requires_grad_(), scale.requires_grad_()
    run = torch.compile(
        lambda x, s: functional.lsq_fake_quantize(x, s, -8, 7, axis=1, save=save),
        fullgraph=True,
        backend="aot_eager",
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run(x, scale)
    extra = [t for t in saved if t.data_ptr() not in (x.data_ptr(), scale.data_ptr())]
    assert sum(t.numel() * t.element_size() for t in extra if t.numel() > 6) == (
        saved_bytes * x.numel()
    )


@pytest.mark.full  # the first C++ compilation of inductor takes 15 s and more
@pytest.mark.parametrize("save", SAVES)
def test_inductor(save: str) -> None:
    function = quantize(save)
    run = torch.compile(function, fullgraph=True, dynamic=True)
    for rows in (5, 9):
        tensors = leaves(rows)
        for a, w in zip(gradients(run, tensors), gradients(function, tensors), strict=True):
            assert_bit_equal(a, w)


class Quantizer(torch.nn.Module):
    """One op with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((6,), 0.3))
        self.offset = torch.nn.Parameter(torch.full((6,), -0.5))

    def forward(self, x: Tensor) -> Tensor:
        return functional.lsq_fake_quantize(
            x, self.scale, 0, 15, axis=1, offset=self.offset, save="compact"
        )


@pytest.mark.parametrize("strict", [False, True])
def test_exports_as_one_node(strict: bool) -> None:
    rows = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(
        Quantizer(), (torch.randn(4, 6, 4),), dynamic_shapes=({0: rows},), strict=strict
    )
    targets = [n.target for n in program.graph.nodes if n.op == "call_function"]
    assert targets == [torch.ops.edgeqat.lsq_fake_quantize.default]
    for size in (3, 11):
        x = torch.randn(size, 6, 4)
        assert_bit_equal(program.module()(x), Quantizer()(x).detach())
    trained = program.module()
    x = torch.randn(7, 6, 4)
    trained(x).square().sum().backward()
    module = Quantizer()
    module(x).square().sum().backward()
    found = dict(trained.named_parameters())
    for name, parameter in module.named_parameters():
        assert_bit_equal(found[name].grad, parameter.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_dtypes(dtype: torch.dtype) -> None:
    x, scale, offset = (t.requires_grad_() for t in leaves(4))
    with torch.autocast("cpu", dtype):
        for value in (x, x.to(dtype)):
            y = functional.lsq_fake_quantize(value, scale, -8, 7, axis=1, offset=offset)
            assert y.dtype == value.dtype
            y.float().sum().backward()
    assert scale.grad is not None
    assert scale.grad.dtype == torch.float32


@pytest.mark.parametrize("save", SAVES)
def test_gradients_per_sample(save: str) -> None:
    x, scale, offset = leaves(3)

    def loss(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        y = functional.lsq_fake_quantize(x, scale, -8, 7, axis=0, offset=offset, save=save)
        return y.square().sum()

    for argnums in ((0, 1, 2), (1,)):
        batched = torch.vmap(torch.func.grad(loss, argnums), in_dims=(0, None, None))
        found = batched(x, scale, offset)
        for i, row in enumerate(x):
            wanted = torch.func.grad(loss, argnums)(row, scale, offset)
            for f, w in zip(found, wanted, strict=True):
                assert_bit_equal(f[i], w)
    eager = [t.clone().requires_grad_() for t in (x[0], scale, offset)]
    expected = torch.autograd.grad(loss(*eager), eager)
    for f, w in zip(torch.func.grad(loss, (0, 1, 2))(x[0], scale, offset), expected, strict=True):
        assert_bit_equal(f, w)


def test_vmap_over_data_scales_and_masks() -> None:
    x, _, _ = leaves(3)
    scale, mask = torch.rand(3, 6) + 0.1, torch.rand(x.shape) < 0.5

    def run(x: Tensor, scale: Tensor, mask: Tensor) -> Tensor:
        return functional.lsq_fake_quantize(x, scale, -8, 7, axis=0, mask=mask)

    wanted = torch.stack([run(*row) for row in zip(x, scale, mask, strict=True)])
    assert_bit_equal(torch.vmap(run)(x, scale, mask), wanted)
    wanted = torch.stack([functional.learned_step(s, -8, 7, "pact") for s in scale])
    assert_bit_equal(torch.vmap(lambda s: functional.learned_step(s, -8, 7, "pact"))(scale), wanted)


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(save: str, reentrant: bool) -> None:
    function = quantize(save)

    def recomputed(*tensors: Tensor) -> Tensor:
        result: Tensor = checkpoint(
            lambda x, s, o: function(x.relu(), s, o), *tensors, use_reentrant=reentrant
        )
        return result

    tensors = leaves(5)
    plain = gradients(lambda x, s, o: function(x.relu(), s, o), tensors)
    if reentrant:  # it refuses torch.autograd.grad
        inputs = [t.clone().requires_grad_() for t in tensors]
        recomputed(*inputs).sum().backward()
        found = [t.grad for t in inputs]
    else:
        found = gradients(recomputed, tensors)[1:]
    for f, w in zip(found, plain[1:], strict=True):
        assert_bit_equal(f, w)


@pytest.mark.parametrize("save", SAVES)
def test_a_tensor_that_escaped_from_torch_func_is_the_tensor_it_wrapped(save: Any) -> None:
    x, scale, offset = leaves(5)
    escaped: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        escaped.append(value)
        return value.sum()

    torch.func.grad(keep)(x)
    assert torch._C._functorch.is_gradtrackingtensor(
        escaped[0]
    )  # what eager calls do not search for

    found, expected = [], []
    for results, value in ((found, escaped[0]), (expected, x)):
        learned = [t.clone().requires_grad_() for t in (scale, offset)]
        y = quantize(save)(value, *learned)
        y.sum().backward()
        results += [y.detach(), *(t.grad for t in learned)]
    for name, one, other in zip(("y", "scale", "offset"), found, expected, strict=True):
        assert_bit_equal(one, other, name)
