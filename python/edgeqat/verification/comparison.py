# SPDX-License-Identifier: Apache-2.0
"""Counts, over batches, by how many LSBs the codes of a file differ from those of the integer reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeqat.verification.judge import Judge
from edgeqat.verification.report import TensorAgreement

Array = np.ndarray[Any, Any]


@dataclass
class Distance:
    """Largest difference and number of differing values among those seen."""

    most: int = 0
    differing: int = 0
    total: int = 0

    def add(self, found: Array, expected: Array) -> None:
        """Count one pair of tensors of codes."""
        distance = np.abs(found.astype(np.int32) - expected.astype(np.int32))
        self.most = max(self.most, int(distance.max(initial=0)))
        self.differing += int(np.count_nonzero(distance))
        self.total += distance.size

    @property
    def share(self) -> float:
        """Share of the values that differ."""
        return self.differing / self.total if self.total else 0.0


class Comparison:
    """Codes of a file against the integer reference, tensor by tensor.

    Attributes:
        skipped: tensor -> why it was not compared.
        output_errors: output of the graph -> largest difference of the real numbers.
    """

    def __init__(self, judge: Judge, names: list[str]) -> None:
        self.judge, self.names = judge, names
        self.local = {name: Distance() for name in names}
        self.accumulated = {name: Distance() for name in names}
        self.skipped: dict[str, str] = {}
        self.output_errors: dict[str, float] = {}

    def add(
        self, given: Mapping[str, Array], codes: Mapping[str, Array], outputs: list[Array]
    ) -> None:
        """Count one batch.

        Args:
            given: the model's inputs.
            codes: what the file computed.
            outputs: the file's outputs, in the order of the graph's.
        """
        known = {**given, **codes}
        for name in self.names:
            if name in self.skipped:
                continue
            expected = self.judge.local(
                name, {key: value for key, value in known.items() if key != name}
            )
            if isinstance(expected, str):
                self.skipped[name] = expected
            elif expected.shape != codes[name].shape:
                self.skipped[name] = (
                    f"shape {list(codes[name].shape)} in the file, {list(expected.shape)} in the reference"
                )
            else:
                self.local[name].add(codes[name], expected)
        finals = self.judge.graph["outputs"]
        whole = self.judge.whole(given, list(dict.fromkeys([*self.names, *finals])))
        for name in self.names:
            if name in whole and name not in self.skipped:
                self.accumulated[name].add(codes[name], whole[name])
        if len(finals) == len(outputs):
            for name, value in zip(finals, outputs, strict=True):
                if name in whole:
                    error = np.abs(self._real(name, whole[name]).astype(np.float64) - value)
                    self.output_errors[name] = max(
                        self.output_errors.get(name, 0.0), float(error.max(initial=0.0))
                    )

    def _real(self, name: str, value: Array) -> Array:
        """Codes as the numbers they stand for."""
        quant = self.judge.tensors[name]["quant"]
        if quant is None:
            return value
        scale, zero_point = (
            self.judge.constants[quant[key]].reshape(()) for key in ("scale", "zero_point")
        )
        return (value.astype(np.float32) - np.float32(zero_point)) * scale

    def agreement(self, name: str) -> TensorAgreement:
        """What was counted for `name`."""
        node, quant = self.judge.producers[name], self.judge.tensors[name]["quant"]
        local, far = self.local[name], self.accumulated[name]
        return TensorAgreement(
            name,
            node["op"],
            node["source"],
            int(quant["bits"]),
            local.total,
            local.most,
            local.share,
            far.most if far.total else None,
            far.share if far.total else None,
        )
