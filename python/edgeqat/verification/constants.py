# SPDX-License-Identifier: Apache-2.0
"""Compares the numbers that a file holds with those of the converted model: codes, scales, zero points, biases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# How the exporter names a constant that it had to reshape or repack.
_FORMS = ("", ".int8", ".transposed", ".transposed.int8")


def initializers(model: Any) -> dict[str, Array]:
    """The initialisers of an `onnx.ModelProto` as arrays; integers as int64."""
    from onnx import numpy_helper

    found: dict[str, Array] = {}
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        found[tensor.name] = value if value.dtype.kind == "f" else value.astype(np.int64)
    return found


def differences(
    file: Mapping[str, Array],
    tensors: Mapping[str, Mapping[str, Any]],
    constants: Mapping[str, Array],
    offsets: Mapping[str, int],
) -> Iterator[tuple[str, str]]:
    """(tensor, what is wrong) for each number of the converted model that the file holds differently or not at all.

    Args:
        file: initialisers of the file.
        tensors: tensors of the lowered graph.
        constants: its constants.
        offsets: activation -> what the file added to its codes.
    """
    for name, tensor in tensors.items():
        quant = tensor["quant"]
        if quant is None:
            if tensor["constant"] and f"{name}.int32" in file:
                yield from _bias(name, file, constants[name])
            continue
        if not tensor["constant"] and name not in offsets:
            continue
        if tensor["constant"]:
            yield from _compare(name, "codes", file, name, constants[name])
        yield from _compare(name, "scale", file, quant["scale"], constants[quant["scale"]])
        zero_point = constants[quant["zero_point"]].astype(np.int64) + offsets.get(name, 0)
        yield from _compare(name, "zero point", file, quant["zero_point"], zero_point)


def _compare(
    name: str, what: str, file: Mapping[str, Array], key: str, wanted: Array
) -> Iterator[tuple[str, str]]:
    held = [(form, file[key + form]) for form in _FORMS if key + form in file]
    if not held and not any(
        _equal(value, wanted) for value in file.values()
    ):  # equal constants may be merged
        yield name, f"the file holds no {what} of {name}"
    for form, value in held:
        # The exporter transposes weights of linear layers (two axes), with scales per group alike.
        target = wanted.T if form.startswith(".transposed") and wanted.ndim > 1 else wanted
        if value.size != target.size or (value.shape != target.shape and value.size != 1):
            yield (
                name,
                f"{what} of {name}: the file has shape {list(value.shape)}, the model {list(target.shape)}",
            )
            continue
        count = int((value.reshape(-1) != target.reshape(-1)).sum())
        if count:
            yield name, f"{what} of {name}: {count} of {value.size} values differ from the model"


def _equal(value: Array, wanted: Array) -> bool:
    return any(
        value.shape == form.shape and bool((value == form).all()) for form in (wanted, wanted.T)
    )


def _bias(name: str, file: Mapping[str, Array], wanted: Array) -> Iterator[tuple[str, str]]:
    value = file[f"{name}.int32"] * file[f"{name}.scale"].astype(np.float64)
    step = np.broadcast_to(file[f"{name}.scale"].astype(np.float64), value.shape)
    added = file.get(f"{name}.float")
    if added is not None:
        value = value + added.reshape(-1)
    # Half a step is the rounding to int32; 1e-6 the rounding of the product to float32.
    count = int((np.abs(value - wanted) > 0.5 * step + 1e-6 * np.abs(wanted)).sum())
    if value.shape != wanted.shape or count:
        yield name, f"bias {name}: {count} of {wanted.size} values differ from the model"
