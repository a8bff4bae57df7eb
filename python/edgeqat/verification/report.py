# SPDX-License-Identifier: Apache-2.0
"""What `verify` found: per tensor, per output, sizes and times; prints as tables."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from tabulate import tabulate

# Operators whose integer kernels are the reference's arithmetic, operation by operation.
PRODUCTS = frozenset({"conv", "conv_transpose", "linear", "matmul"})
# Operators that only move codes.
MOVES = frozenset({"reshape", "transpose", "slice", "expand", "identity", "max_pool", "embedding"})


@dataclass(frozen=True)
class Thresholds:
    """How far a file may be from the integer reference and from the trained model.

    ONNX Runtime computes products exactly, but rounds fused additions and poolings in its own way: 1 LSB in up to 0.7 % of the
    outputs of Add (none as `export` writes it by default), in 24 % of AveragePool (measured with 1.31), each on the inputs that
    the file itself had.

    Args:
        max_lsb: largest difference of a code.
        product_share: share of codes of conv, linear and matmul that may differ (float sums of layers that were not fused).
        other_share: the same for other computing operators.
        pooling_share: the same for average pooling.
        top1: share of samples on which file and trained model must predict the same class; one sample may always differ.

    Example:
        >>> Thresholds(top1=0.99).top1
        0.99
    """

    max_lsb: int = 1
    product_share: float = 1e-4
    other_share: float = 0.05
    pooling_share: float = 0.4
    top1: float = 0.998

    def share(self, operator: str) -> float:
        """Share of codes that may differ after `operator`.

        Example:
            >>> Thresholds().share("linear"), Thresholds().share("max_pool")
            (0.0001, 0.0)
        """
        if operator in MOVES:
            return 0.0
        if operator in PRODUCTS or operator == "quantize":
            return self.product_share
        return self.pooling_share if operator.endswith("avg_pool") else self.other_share


@dataclass
class TensorAgreement:
    """One quantized tensor, in LSBs.

    Attributes:
        max_lsb, differing: against the integer reference run on the inputs that the file had at this layer.
        accumulated_lsb, accumulated: against the integer reference run from the model's inputs on.

    Example:
        >>> TensorAgreement("fc", "linear", "model.py:7", bits=8, elements=20).row()
        ['fc', 'linear', 8, 20, 0, '0.000%', '', 'model.py:7']
    """

    name: str
    operator: str
    source: str
    bits: int
    elements: int = 0
    max_lsb: int = 0
    differing: float = 0.0
    accumulated_lsb: int | None = None
    accumulated: float | None = None

    def row(self) -> list[Any]:
        """One row of the printed table."""
        far = "" if self.accumulated is None else f"{self.accumulated_lsb} / {self.accumulated:.2%}"
        return [
            self.name,
            self.operator,
            self.bits,
            self.elements,
            self.max_lsb,
            f"{self.differing:.3%}",
            far,
            self.source,
        ]


@dataclass
class OutputAgreement:
    """One output of the model against the trained model, and against the integer reference (None: it did not run).

    Example:
        >>> OutputAgreement("fc", max_error=0.0, largest=3.5).max_error_reference is None
        True
    """

    name: str
    max_error: float = 0.0
    largest: float = 0.0
    max_error_reference: float | None = None


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call; median, and the 10th and 90th percentile.

    Example:
        >>> print(Latency(1, 1, 100, 0.5, 0.4, 0.6, 1.0, 0.9, 1.1))
        batch 1, 1 thread(s): 0.500 ms (0.400 to 0.600), float 1.000 ms (0.900 to 1.100), 2.00 times as fast; 100 runs
    """

    batch: int
    threads: int
    runs: int
    median_ms: float
    p10_ms: float
    p90_ms: float
    float_median_ms: float
    float_p10_ms: float
    float_p90_ms: float

    def __str__(self) -> str:
        return (
            f"batch {self.batch}, {self.threads} thread(s): {self.median_ms:.3f} ms ({self.p10_ms:.3f} to {self.p90_ms:.3f}), "
            f"float {self.float_median_ms:.3f} ms ({self.float_p10_ms:.3f} to {self.float_p90_ms:.3f}), "
            f"{self.float_median_ms / self.median_ms:.2f} times as fast; {self.runs} runs"
        )


@dataclass
class VerifyReport:
    """Result of `verify`; print it, or take `to_dict()` / `to_json()`.

    Attributes:
        file: the name of the file.
        runtime: runtime, version and threads.
        samples: samples that were run; `judged` of them also by the integer reference.
        tensors: the quantized tensors, in the order of the graph.
        outputs: the model's outputs.
        skipped: tensors that could not be compared -> why.
        top1_agreement: share of samples with the trained model's class; None if the output is no matrix of class scores.
        tapped_equal: reading the inner tensors did not change a bit of the outputs.
        file_bytes, float_bytes: size of the file, and of the same model in float32.
        failures: what is wrong; empty if `ok`.
        notes: what a reader should know.

    Example:
        >>> report = VerifyReport("model.onnx", "ONNX Runtime", failures=["fc.weight: 3 of 20 codes differ"])
        >>> report.ok
        False
        >>> print(report)
        model.onnx on ONNX Runtime: DIFFERS
          failure: fc.weight: 3 of 20 codes differ
        ...
    """

    file: str
    runtime: str
    samples: int = 0
    judged: int = 0
    tensors: list[TensorAgreement] = field(default_factory=list)
    outputs: list[OutputAgreement] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    top1_agreement: float | None = None
    tapped_equal: bool = True
    file_bytes: int = 0
    float_bytes: int = 0
    latency: Latency | None = None
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first_divergence: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the file computes what was trained, within the thresholds."""
        return not self.failures

    @property
    def coverage(self) -> float:
        """Share of the quantized tensors that were compared."""
        total = len(self.tensors) + len(self.skipped)
        return len(self.tensors) / total if total else 1.0

    @property
    def exact(self) -> bool:
        """Whether every compared code equals the reference's, given the same inputs."""
        return all(tensor.max_lsb == 0 for tensor in self.tensors)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "ok": self.ok, "exact": self.exact, "coverage": self.coverage}

    def to_json(self, **options: Any) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), **options)

    def __str__(self) -> str:
        parts = [f"{self.file} on {self.runtime}: {'ok' if self.ok else 'DIFFERS'}"]
        parts += [f"  failure: {line}" for line in self.failures]
        parts += [f"  note: {line}" for line in self.notes]
        if self.tensors:
            header = [
                "tensor",
                "operator",
                "bits",
                "codes",
                "max LSB",
                "differing",
                "accumulated",
                "source",
            ]
            parts.append(
                tabulate(
                    [t.row() for t in self.tensors],
                    header,
                    tablefmt="simple",
                    disable_numparse=True,
                )
            )
        parts += [f"not compared: {name}: {reason}" for name, reason in self.skipped.items()]
        for output in self.outputs:
            parts.append(
                f"output {output.name}: at most {output.max_error:.3g} from the trained model (largest value "
                f"{output.largest:.3g})"
                + (
                    ""
                    if output.max_error_reference is None
                    else f", {output.max_error_reference:.3g} from the reference"
                )
            )
        parts.append(self._summary())
        if self.latency is not None:
            parts.append(str(self.latency))
        return "\n".join(parts)

    def _summary(self) -> str:
        agreement = (
            ""
            if self.top1_agreement is None
            else f"same class on {self.top1_agreement:.2%} of {self.samples} samples; "
        )
        ratio = (
            f" ({self.file_bytes / self.float_bytes:.3f} of float32)" if self.float_bytes else ""
        )
        return (
            f"{agreement}{self.coverage:.0%} of {len(self.tensors) + len(self.skipped)} quantized tensors compared on "
            f"{self.judged} samples; {self.file_bytes:,} bytes{ratio}"
        )
