# SPDX-License-Identifier: Apache-2.0
"""The grid of op cases (shapes, layouts, dtypes, granularities) and a dozen samples of every op."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgeqat.ops import _reference as reference
from edgeqat.testing import LAYOUTS, SHAPES, QParams, layouts_of, qparams, values

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
GRANULARITIES = ("tensor", "channel", "group")
SHORT = SHAPES[::4]  # 13 of the 49 shapes, ranks 1 to 8


class Case(NamedTuple):
    """One point of the grid."""

    label: str
    x: Tensor
    qparams: QParams
    mask: Tensor | None


def grid(granularity: str, dtype: torch.dtype, *, full: bool) -> Iterator[Case]:
    """Every layout of every shape; every second case has a mask, in another layout than x."""
    seed = 0
    for shape in SHAPES if full else SHORT:
        names = list(layouts_of(shape))
        for position, name in enumerate(names):
            seed += 1
            q = qparams(shape, granularity, seed)
            x = LAYOUTS[name](values(shape, dtype, float(q.scale.median()), seed))
            keep = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.7
            mask = LAYOUTS[names[position - 1]](keep) if seed % 2 else None
            options = f"{q.qmin}..{q.qmax} axis={q.axis} group_size={q.group_size}"
            label = f"{dtype} {shape} {name} {granularity} {options} mask={mask is not None}"
            yield Case(label, x, q, mask)


def on_device(value: Any, device: str) -> Any:
    """Copies with the strides and the storage offset that the tensors have here, in nested lists too.

    `Tensor.to` packs views: on the device every pointer would be aligned and no element left out.
    """
    if isinstance(value, (list, tuple)):
        return [on_device(item, device) for item in value]
    if isinstance(value, dict):
        return {key: on_device(item, device) for key, item in value.items()}
    if not isinstance(value, Tensor):
        return value
    length = value.untyped_storage().nbytes() // value.element_size()
    storage = torch.as_strided(value.detach(), (length,), (1,), 0).to(device, copy=True)
    moved = storage.as_strided(value.shape, value.stride(), value.storage_offset())
    return moved.requires_grad_(value.requires_grad)


def array(tensor: Tensor | None) -> Any:
    """NumPy view of a tensor in row-major order; 16-bit floats become float32, which is exact."""
    if tensor is None:
        return None
    tensor = tensor.detach().contiguous()
    return (tensor.float() if tensor.dtype in DTYPES else tensor).numpy()


def tensor(result: np.ndarray[Any, Any], dtype: torch.dtype | None = None) -> Tensor:
    """A reference's result as a tensor, rounded to dtype by torch."""
    return torch.from_numpy(np.array(result, order="C")).to(dtype)


def reference_fake_quantize(case: Case, *, masked: bool = True) -> tuple[Tensor, Tensor]:
    """y in the dtype of x, and in-range flags in its shape."""
    q = case.qparams
    y, in_range = reference.fake_quantize(
        array(case.x),
        q.scale.numpy(),
        q.zero_point.numpy(),
        q.qmin,
        q.qmax,
        **q.options(),
        mask=array(case.mask) if masked else None,
    )
    return tensor(y, case.x.dtype), tensor(in_range)


Sample = tuple[tuple[Any, ...], dict[str, Any]]


def samples(op: str, *, requires_grad: bool = True) -> list[Sample]:
    """At least 12 valid calls of torch.ops.edgeqat.<op> over dtypes, layouts and granularities."""
    shapes = [(5, 8), (2, 3, 4, 5), (17,), (1, 6), (3, 4, 2), (2, 4, 3, 3)]
    found: list[Sample] = []
    for seed in range(12):
        shape = shapes[seed % len(shapes)]
        layout = list(layouts_of(shape))[seed % 5]
        dtype = DTYPES[seed % 3]
        q = qparams(shape, GRANULARITIES[seed // 2 % 3], seed)
        x = LAYOUTS[layout](values(shape, dtype, 0.1, seed).nan_to_num(0.0, 1.0, -1.0))
        found.append(_sample(op, x.detach(), q, seed, requires_grad))
    return found


def _sample(op: str, x: Tensor, q: QParams, seed: int, requires_grad: bool) -> Sample:
    grad = x.requires_grad_(requires_grad)
    mask = (torch.arange(x.numel()) % 3 > 0).reshape(x.shape) if seed % 2 else None
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-2, 2, x.shape, generator=generator).to(torch.int8)
    bits = (2, 4, 8)[seed % 3]
    if op in ("fake_quantize", "fake_quantize_train"):
        return (grad, *q.positional()), {**q.options(), "mask": mask, "activation": seed % 4}
    if op == "fake_quantize_backward":
        size = ((x.numel() + 7) // 8,)
        packed = torch.randint(0, 256, size, generator=generator).to(torch.uint8)
        return (grad, packed, *((x.detach(), 3) if seed % 2 else ())), {}
    if op == "learned_step" or op.startswith("lsq_"):
        return _learned_sample(op, grad, q, seed, mask)
    if op == "quantize":
        return (grad, *q.positional()), q.options()
    if op == "dequantize":
        return (codes, q.scale, q.zero_point.clamp(-128, 127)), q.options()
    if op == "observe_minmax_":
        axis = None if seed % 2 else seed % x.ndim
        n = 1 if axis is None else x.shape[axis]
        state = (torch.full((n,), torch.inf), torch.full((n,), -torch.inf))
        options = {"averaging": (None, 0.1, 1.0)[seed % 3], "axis": axis, "mask": mask}
        return (x.detach(), *state, torch.zeros(2, dtype=torch.int64)), options
    if op == "ternary_fake_quantize":
        return (grad,), {**q.options(), "mask": mask}
    if op == "dorefa_fake_quantize":
        return (grad, -8, (1, 7)[seed % 2]), {**q.options(), "mask": mask}
    if op == "dorefa_fake_quantize_backward":
        incoming = torch.randn(x.shape, generator=generator).to(x.dtype)
        return (incoming.requires_grad_(requires_grad), grad), {**q.options(), "mask": mask}
    if op == "per_token_fake_quantize":
        return (grad, q.qmin, q.qmax, seed % 2 == 0), {}
    if op == "oscillation_update_":
        weight = x.detach().clone() if 0 in x.stride() else x.detach()
        limits = (q.qmin, q.qmax) if q.qmin < 0 else (-8, 7)
        qparams_ = (q.scale, q.zero_point.clamp(*limits), *limits)
        counters = (torch.rand(x.shape, generator=generator), codes.float() + 0.5 * (codes > 0))
        frozen = (torch.arange(x.numel()) % 5 == 0).reshape(x.shape)
        options = {"freeze_threshold": None if seed % 3 == 0 else 0.5, **q.options()}
        state = (codes, codes.sign(), *counters, frozen)
        return (weight, *qparams_, *state, 0.1), options
    if op == "observe_fake_quantize_":
        axis = None if seed % 2 else seed % x.ndim
        n = 1 if axis is None else x.shape[axis]
        # every third state is fresh
        spread = (torch.inf, -1.0, -0.5)[seed % 3]
        low, high = torch.full((n,), spread), torch.full((n,), -spread)
        qparams_ = (torch.ones(n), torch.zeros(n, dtype=torch.int32))
        state = (low, high, torch.zeros(2, dtype=torch.int64), *qparams_)
        options = {"averaging": (None, 0.1)[seed % 2], "axis": axis, "activation": seed % 4}
        options["mask"] = mask if seed % 4 == 1 else None  # also without, with averaging
        return (grad, *state, q.qmin, q.qmax, seed % 2 == 0), options
    if op == "choose_qparams":
        low = torch.linspace(-3.0, 0.5, seed + 1)
        return (low, low + 1.5, q.qmin, q.qmax, seed % 2 == 0), {}
    if op == "pack":
        return (codes, bits), {}
    if op == "unpack":
        packed = reference.pack(array(codes), bits)
        return (tensor(packed), bits, list(x.shape), seed % 2 == 0), {}
    raise ValueError(f"no samples for op {op!r}; add them here")


def _learned_sample(op: str, x: Tensor, q: QParams, seed: int, mask: Tensor | None) -> Sample:
    """Scales of both signs that require grad where x does, every rule and activation."""
    scale = q.scale * (1.0 if seed % 2 else -1.0)
    scale.requires_grad_(x.requires_grad)
    rule = seed % 3
    if op == "learned_step":
        return (scale.detach(), q.qmin, q.qmax, rule), {}
    incoming = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.dtype)
    if op.startswith("lsq_fake_quantize_multi"):
        gradient = [incoming, incoming[:1]] if op.endswith("backward") else None
        data = [x.detach(), x.detach()[:1]] if gradient else [x, x.detach()[:1]]
        scales = [scale.detach() if gradient else scale, torch.tensor([0.3])]
        axis = -(2**31) if q.axis is None else q.axis
        places = ([axis, -(2**31)], [q.group_size or 0, 0])
        lists = (data, scales, [q.qmin, -8], [q.qmax, 7], *places)
        return ((gradient, *lists) if gradient else lists), {"rule": rule}
    offset = -q.zero_point * q.scale * 1.1 if seed % 2 and rule != 2 else None
    compact = op in ("lsq_fake_quantize_train", "lsq_fake_quantize_compact_backward")
    options = {**q.options(), "offset": offset, "rule": rule, "delta": (0.0, 0.2)[seed % 2]}
    options["activation"] = seed % (3 if compact else 4)
    if op == "lsq_fake_quantize_compact_backward":
        residual = torch.randint(-128, 128, x.shape, generator=torch.Generator().manual_seed(seed))
        saved = residual.to(torch.int8)
        return (incoming, saved, scale.detach(), q.qmin, q.qmax), options
    options["mask"] = mask
    if op == "lsq_fake_quantize_backward":
        options["damping"] = (0.0, 0.5)[seed // 2 % 2]
        return (incoming, x.detach(), scale.detach(), q.qmin, q.qmax), options
    if op == "lsq_fake_quantize":
        options["save"] = int(seed % 4 == 0)
    return (x, scale, q.qmin, q.qmax), options
