# SPDX-License-Identifier: Apache-2.0
"""An ONNX file in ONNX Runtime, as it is and with its quantized tensors as extra outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeqat.export.requirements import require

if TYPE_CHECKING:
    import onnxruntime
    from onnx import ModelProto

Array = np.ndarray[Any, Any]


class OnnxFile:
    """A model file and what its metadata says.

    Attributes:
        model: the parsed `onnx.ModelProto`.
        offsets: activation name -> what was added to its codes when they were stored.

    Raises:
        ImportError: onnx or onnxruntime is missing.
        FileNotFoundError: there is no such file.
        ValueError: it is not an ONNX model.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        require("onnx", "onnxruntime")
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

        self.path = Path(path)
        if self.path.suffix.lower() != ".onnx":
            raise ValueError(
                f"verify: expected an .onnx file, found {self.path.name!r}; export to .onnx first"
            )
        if not self.path.is_file():
            raise FileNotFoundError(
                f"verify: there is no file {str(path)!r}; write it with edgeqat.export(student, path)"
            )
        self.data = self.path.read_bytes()
        try:
            self.model: ModelProto = onnx.load_from_string(self.data)
            onnx.checker.check_model(self.model)
        except (DecodeError, onnx.checker.ValidationError) as error:
            raise ValueError(
                f"verify: {self.path.name} is no valid ONNX model ({error}); export it again"
            ) from error
        metadata = {entry.key: entry.value for entry in self.model.metadata_props}
        records = json.loads(metadata.get("edgeqat.tensors", "{}"))
        self.offsets: dict[str, int] = {
            name: int(record["offset"])
            for name, record in records.items()
            if record["kind"] == "activation"
        }

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return [value.name for value in self.model.graph.input]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return [value.name for value in self.model.graph.output]

    @property
    def batched(self) -> set[str]:
        """The inputs whose first size may change."""
        sizes = {value.name: value.type.tensor_type.shape.dim for value in self.model.graph.input}
        return {name for name, size in sizes.items() if len(size) and size[0].dim_param}

    def taps(self, wanted: Sequence[str]) -> list[str]:
        """Those of `wanted` that the file computes as integer codes."""
        made = {
            name
            for node in self.model.graph.node
            if node.op_type in ("QuantizeLinear", "Clip")
            for name in node.output
        }
        return [name for name in wanted if name in made and name in self.offsets]

    def tapped(self, names: Sequence[str]) -> bytes:
        """The model with the codes `names` as further outputs.

        Only codes are read out: a float tensor between two layers exists in no fused model, and asking for it would make
        ONNX Runtime compute those layers in float.
        """
        import onnx

        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        data: bytes = copy.SerializeToString()
        return data


def session(
    model: bytes, *, threads: int = 1, config: Mapping[str, str] | None = None
) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU.

    Raises:
        ValueError: ONNX Runtime refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ValueError(
            f"verify: ONNX Runtime {onnxruntime.__version__} refuses the model: {error}"
        ) from error


def run(
    open_session: onnxruntime.InferenceSession, inputs: Mapping[str, Array]
) -> dict[str, Array]:
    """All outputs by name."""
    names = [value.name for value in open_session.get_outputs()]
    return dict(zip(names, open_session.run(None, dict(inputs)), strict=True))
