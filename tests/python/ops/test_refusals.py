# SPDX-License-Identifier: Apache-2.0
"""Hostile arguments: each is refused before any read, naming the op, the argument, what was found."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from edgeqat import functional
from edgeqat.ops._autocast import POLICY
from op_cases import samples

NAN, INF = float("nan"), float("inf")
SCALES = (0.0, -0.0, -0.1, NAN, INF, -INF)
POSITIONS = (0, 1, 7, 15, 16, 31)  # around vector widths and in the tail of 32 channels


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int32)


def valid(kind: str) -> dict[str, Any]:
    """Good arguments of one granularity for x of shape [4, 32]."""
    axis, group_size, shape = {
        "tensor": (None, None, (1,)),
        "channel": (1, None, (32,)),
        "group": (1, 8, (4, 4)),
    }[kind]
    return {
        "x": torch.randn(4, 32),
        "scale": torch.ones(shape),
        "zero_point": zeros(*shape),
        "qmin": -8,
        "qmax": 7,
        "axis": axis,
        "group_size": group_size,
    }


def hostile() -> list[tuple[str, str, str, Callable[[dict[str, Any]], Any]]]:
    """(label, granularity, argument the message must name, change to the good arguments)."""
    found: list[tuple[str, str, str, Callable[[dict[str, Any]], Any]]] = []

    def add(kind: str, argument: str, value: Any, name: str = "") -> None:
        described = f"{tuple(value.shape)} {value.dtype}" if hasattr(value, "shape") else value
        label = f"{kind} {argument}={described}"
        found.append((label, kind, name or argument, lambda good: {**good, argument: value}))

    def poison(kind: str, argument: str, index: int, value: float) -> None:
        def change(good: dict[str, Any]) -> dict[str, Any]:
            changed = good[argument].clone()
            changed.view(-1)[index] = value
            return {**good, argument: changed}

        found.append((f"{kind} {argument}[{index}]={value}", kind, argument, change))

    for scale in SCALES:
        poison("tensor", "scale", 0, scale)
        for position in POSITIONS:
            poison("channel", "scale", position, scale)
        poison("group", "scale", 9, scale)
    for zero_point in (-9, 8, 2**31 - 1, -(2**31)):
        poison("tensor", "zero_point", 0, zero_point)
        poison("channel", "zero_point", 31, zero_point)
        poison("group", "zero_point", 15, zero_point)
    for dtype in (torch.float64, torch.int32, torch.bool, torch.complex64, torch.int8):
        add("tensor", "x", torch.ones(4, 32).to(dtype))
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int32):
        add("tensor", "scale", torch.ones(1).to(dtype))
    for dtype in (torch.int64, torch.int8, torch.float32, torch.bool):
        add("tensor", "zero_point", torch.zeros(1).to(dtype))
    for shape in ((0,), (2,), (32,), (1, 2)):
        add("tensor", "scale", torch.ones(shape))
    for shape in ((), (0,), (1,), (4,), (31,), (33,), (1, 32), (32, 1)):
        add("channel", "scale", torch.ones(shape))
        add("channel", "zero_point", zeros(*shape))
    for shape in ((32,), (4, 32), (4, 5), (4, 3), (16,), (1, 4), (4, 4, 1)):
        add("group", "scale", torch.ones(shape))
    for axis in (2, -3, 2**31, -(2**31), 2**62):
        add("channel", "axis", axis)
    for group_size in (0, -1, -8, 3, 5, 7, 33, 64, 2**62):
        add("group", "group_size", group_size)
    add("tensor", "group_size", 8, "axis")
    for qmin, qmax in (
        (7, -8),
        (3, 3),
        (-129, 127),
        (-128, 128),
        (0, 256),
        (-1, 255),
        (2**40, 2**41),
    ):

        def change(good: dict[str, Any], limits: tuple[int, int] = (qmin, qmax)) -> dict[str, Any]:
            return {**good, "qmin": limits[0], "qmax": limits[1]}

        found.append((f"range {qmin}..{qmax}", "tensor", "qmin, qmax", change))
    return found


CASES = hostile()
CHECKED = {
    "fake_quantize": ("x", "scale", "zero_point", "qmin", "qmax", "axis", "group_size"),
    "fake_quantize_train": ("x", "scale", "zero_point", "qmin", "qmax", "axis", "group_size"),
    "quantize": ("x", "scale", "zero_point", "qmin", "qmax", "axis", "group_size"),
    "dequantize": ("x", "scale", "zero_point", "axis", "group_size"),
}


def call(op: str, arguments: dict[str, Any]) -> Any:
    names = CHECKED[op]
    positional = [arguments[n] for n in names if n not in ("axis", "group_size")]
    if op == "dequantize" and arguments["x"].dtype == torch.float32:
        positional[0] = arguments["x"].to(torch.int8)
    options = {n: arguments[n] for n in ("axis", "group_size")}
    return getattr(functional, op)(*positional, **options)


def test_at_least_sixty_cases() -> None:
    assert len(CASES) >= 60


def applies(op: str, label: str, name: str) -> bool:
    """dequantize has no code range and takes int8; a zero point must fit the codes' type."""
    if op != "dequantize":
        return True
    code_range = name == "qmin, qmax" or label.endswith(("]=-9", "]=8"))
    return not code_range and label != "tensor x=(4, 32) torch.int8"


ALL = [(op, *case) for op in CHECKED for case in CASES if applies(op, case[0], case[2])]


@pytest.mark.parametrize(
    ("op", "label", "kind", "name", "change"), ALL, ids=[f"{c[0]} {c[1]}" for c in ALL]
)
def test_quantization_parameters(
    op: str, label: str, kind: str, name: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    arguments = change(valid(kind))
    if op == "dequantize" and name == "x":
        name = "codes"
    with pytest.raises((ValueError, IndexError)) as caught:
        call(op, arguments)
    message = str(caught.value)
    assert re.match(rf"edgeqat::{op}: .*{name}", message), message
    assert "found" in message, message
    assert message.rstrip().endswith("."), message  # the next step is a sentence
    call(op, valid(kind))  # the good arguments still work


@pytest.mark.parametrize("op", ["fake_quantize", "fake_quantize_train"])
@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(4, 32),
        torch.ones(4, 31, dtype=torch.bool),
        torch.ones(32, dtype=torch.bool),
        torch.ones((), dtype=torch.bool),
        torch.ones(0, dtype=torch.bool),
        torch.ones(32, 4, dtype=torch.bool),
        torch.ones(4, 32, dtype=torch.uint8),
    ],
    ids=lambda m: f"{tuple(m.shape)} {m.dtype}",
)
def test_masks(op: str, mask: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=rf"edgeqat::{op}: mask must be"):
        getattr(functional, op)(torch.randn(4, 32), 1.0, 0, -8, 7, mask=mask)


@pytest.mark.parametrize("numel", [0, 1, 7, 8, 9, 63, 64, 65, 1000])
@pytest.mark.parametrize("change", [-1, 1, 100])
def test_bits_of_another_length(numel: int, change: int) -> None:
    size = abs((numel + 7) // 8 + change)
    with pytest.raises(ValueError, match=r"edgeqat::fake_quantize_backward: bits must be"):
        functional.fake_quantize_backward(torch.ones(numel), torch.zeros(size, dtype=torch.uint8))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.int64, torch.float32])
def test_bits_and_gradients_of_other_types(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"fake_quantize_backward: bits must be a uint8"):
        functional.fake_quantize_backward(torch.ones(8), torch.ones(1).to(dtype))
    if dtype != torch.float32:
        with pytest.raises(ValueError, match=r"fake_quantize_backward: grad must be"):
            functional.fake_quantize_backward(
                torch.ones(8).to(dtype), torch.ones(1, dtype=torch.uint8)
            )


def state(*shape: int) -> dict[str, torch.Tensor]:
    return {
        "min_val": torch.full(shape, INF),
        "max_val": torch.full(shape, -INF),
        "count": torch.zeros(2, dtype=torch.int64),
    }


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("x", torch.ones(4, 3).to(d)) for d in (torch.float64, torch.int32, torch.bool)),
        *(("min_val", torch.ones(s)) for s in ((), (0,), (1,), (2,), (4,), (3, 1))),
        *(("max_val", torch.ones(s)) for s in ((), (0,), (1,), (2,), (4,), (3, 1))),
        *((n, torch.ones(3).double()) for n in ("min_val", "max_val")),
        *((n, torch.ones(3).bfloat16()) for n in ("min_val", "max_val")),
        *(("count", torch.zeros(n, dtype=torch.int64)) for n in (0, 1, 3)),
        *(("count", torch.zeros(2, dtype=d)) for d in (torch.int32, torch.float32)),
        *(("axis", a) for a in (2, -3, 99)),
        *(("averaging", a) for a in (0.0, -0.1, 1.1, NAN, INF)),
    ],
    ids=str,
)
def test_observer_state(argument: str, value: Any) -> None:
    good: dict[str, Any] = {"x": torch.randn(4, 3), **state(3), "axis": 1, "averaging": None}
    untouched = {n: t.clone() for n, t in good.items() if isinstance(t, torch.Tensor)}
    bad = {**good, argument: value}
    with pytest.raises((ValueError, IndexError), match=rf"edgeqat::observe_minmax_: .*{argument}"):
        functional.observe_minmax_(**bad)
    for name, before in untouched.items():
        assert torch.equal(good[name], before), f"{name} was written although the call failed"


@pytest.mark.parametrize(
    ("low", "high", "qmin", "qmax"),
    [
        (torch.zeros(2), torch.ones(3), -8, 7),
        (torch.zeros(2, 1), torch.ones(2), -8, 7),
        (torch.zeros(2).double(), torch.ones(2).double(), -8, 7),
        (torch.zeros(2).half(), torch.ones(2).half(), -8, 7),
        (torch.zeros(2), torch.ones(2).int(), -8, 7),
        (torch.zeros(2), torch.ones(2), 7, -8),
        (torch.zeros(2), torch.ones(2), 0, 0),
        (torch.zeros(2), torch.ones(2), 0, 256),
        (torch.zeros(2), torch.ones(2), 0, 2**40),
    ],
)
def test_choose_qparams(low: torch.Tensor, high: torch.Tensor, qmin: int, qmax: int) -> None:
    for symmetric in (True, False):
        with pytest.raises(ValueError, match=r"choose_qparams: .*(min_val|max_val|qmin)"):
            functional.choose_qparams(low, high, qmin, qmax, symmetric)


@pytest.mark.parametrize("bits", [-1, 0, 1, 3, 5, 6, 7, 9, 16, 2**40])
def test_bit_widths(bits: int) -> None:
    with pytest.raises(ValueError, match=r"pack: bits must be"):
        functional.pack(torch.zeros(8, dtype=torch.int8), bits)
    with pytest.raises(ValueError, match=r"unpack: bits must be"):
        functional.unpack(torch.zeros(8, dtype=torch.uint8), bits, (8,), True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.bool, torch.int64])
def test_packing_types(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"pack: codes must be int8 or uint8"):
        functional.pack(torch.zeros(8).to(dtype), 4)
    with pytest.raises(ValueError, match=r"unpack: packed must be a uint8"):
        functional.unpack(torch.zeros(8).to(dtype), 4, (16,), True)


@pytest.mark.parametrize(
    "shape", [(15,), (0,), (3, 7), (-1,), (-1, -16), (2**32, 2**32), (2**62, 4, 0)]
)
def test_unpack_shapes(shape: tuple[int, ...]) -> None:
    packed = torch.zeros(9, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"unpack: (shape|packed) must"):
        functional.unpack(packed, 4, shape, True)


@pytest.mark.parametrize("zero_point", [0.5, 3.0, 256, -129, 2**40])
def test_python_zero_points(zero_point: float) -> None:
    with pytest.raises(ValueError, match=r"zero_point must be an int"):
        functional.fake_quantize(torch.ones(2), 1.0, zero_point, -8, 7)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0, -1.0, NAN, INF, 1e300, 1e-300])
def test_python_scales(scale: float) -> None:
    with pytest.raises(ValueError, match=r"edgeqat::fake_quantize: scale must be"):
        functional.fake_quantize(torch.ones(2), scale, 0, -8, 7)


def test_an_error_of_the_kernel_leaves_the_next_call_alone() -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match="scale"):
            functional.fake_quantize(torch.ones(2), 0.0, 0, -8, 7)
        assert functional.fake_quantize(torch.ones(1), 1.0, 0, -8, 7).item() == 1.0


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.parametrize("op", POLICY)
def test_sparse_tensors(op: str, layout: torch.layout) -> None:
    """Any tensor argument of any op; the message says what to do."""
    packet = getattr(torch.ops.edgeqat, op)
    arguments, options = samples(op, requires_grad=False)[0]
    names = [argument.name for argument in packet.default._schema.arguments]
    given = {**dict(zip(names, arguments, strict=False)), **options}
    tried = 0
    for name, value in given.items():
        first = value[0] if isinstance(value, list) and value else value
        if not isinstance(first, torch.Tensor) or (layout == torch.sparse_csr and first.dim() != 2):
            continue
        tried += 1
        sparse = first.to_sparse(layout=layout)
        with pytest.raises(RuntimeError) as caught:
            packet(**{**given, name: [sparse, *value[1:]] if isinstance(value, list) else sparse})
        found = f"{name}[0]" if isinstance(value, list) else name
        assert str(caught.value) == (
            f"edgeqat::{op}: {found} must be a strided (dense) tensor, found {layout}. "
            "Convert it with .to_dense()."
        )
    assert tried > 0 or layout == torch.sparse_csr


def test_a_sparse_activation_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"fake_quantize: x must be .*found torch\.sparse_coo"):
        functional.fake_quantize(torch.eye(4).to_sparse(), 0.1, 0, -8, 7)


def named_arguments(op: str, sample: int) -> dict[str, Any]:
    """A sample of valid arguments by the names of the schema."""
    arguments, options = samples(op, requires_grad=False)[sample]
    schema = getattr(torch.ops.edgeqat, op).default._schema
    return {**dict(zip([a.name for a in schema.arguments], arguments, strict=False)), **options}


def with_each_tensor(
    given: dict[str, Any], change: Callable[[torch.Tensor], Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every tensor in turn, also inside lists, changed: its name and all arguments."""
    for name, value in given.items():
        if isinstance(value, torch.Tensor):
            yield name, {**given, name: change(value)}
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, torch.Tensor):
                    changed = [*value[:index], change(item), *value[index + 1 :]]
                    yield f"{name}[{index}]", {**given, name: changed}


@pytest.mark.parametrize("op", POLICY)
def test_one_argument_on_the_meta_device_is_refused(op: str) -> None:
    """Such a call is sent to the fake kernel, whose result nobody writes."""
    overload = getattr(torch.ops.edgeqat, op).default
    tensors = sum("Tensor" in str(argument.type) for argument in overload._schema.arguments)
    tried = 0
    for sample in range(12):
        changes = list(with_each_tensor(named_arguments(op, sample), lambda t: t.to("meta")))
        for index, (name, given) in enumerate(changes if len(changes) > 1 else []):
            blamed = re.escape(name) if index else ".*"  # the first decides where all belong
            with pytest.raises(RuntimeError, match=rf"edgeqat::{op}: {blamed} must be on the dev"):
                overload(**given)
            tried += 1
    assert tried > 0 or tensors == 1


@pytest.mark.parametrize("op", POLICY)
def test_arrays_are_refused_by_name(op: str) -> None:
    function = getattr(functional, op)
    known = inspect.signature(function).parameters
    codes = {"activation", "rule", "save"}  # whose names these functions take
    for sample in range(12):
        given = named_arguments(op, sample)
        given = {k: v for k, v in given.items() if k in known and k not in codes}
        changes = list(with_each_tensor(given, lambda t: t.float().numpy()))
        for name, changed in changes:
            with pytest.raises(
                TypeError,
                match=rf"^edgeqat::{op}: {re.escape(name)} must be a tensor, found ndarr",
            ):
                function(**changed)
        assert changes
