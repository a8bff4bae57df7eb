# SPDX-License-Identifier: Apache-2.0
"""Runs an exported file beside the integer reference and the trained model, and says where they differ."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from edgeqat.export.cpu import integer_products_are_exact
from edgeqat.export.onnx_weights import code_names
from edgeqat.export.saturation import check_saturation
from edgeqat.graph.lower import lower
from edgeqat.quantization.calibrate import call
from edgeqat.quantization.convert import convert
from edgeqat.verification import constants, inputs
from edgeqat.verification.float_twin import float_twin
from edgeqat.verification.judge import Judge
from edgeqat.verification.latency import measure
from edgeqat.verification.report import OutputAgreement, TensorAgreement, Thresholds, VerifyReport
from edgeqat.verification.runtime import OnnxFile, run, session

Array = np.ndarray[Any, Any]


class _Verification:
    """One run of `verify`, batch by batch."""

    def __init__(
        self,
        student: nn.Module,
        path: str | os.PathLike[str],
        thresholds: Thresholds,
        threads: int,
        config: Mapping[str, str] | None,
        reference: bool,
    ) -> None:
        import onnxruntime

        self.student, self.thresholds, self.threads = student, thresholds, threads
        self.converted = convert(student)
        self.file = OnnxFile(path)
        document, values = lower(self.converted)
        self.judge = Judge(document, values, threads)
        self.wanted = list(code_names(self.converted).values())
        self.taps = self.file.taps(self.wanted)
        self.plain = session(self.file.data, threads=threads, config=config)
        self.tapped = session(self.file.tapped(self.taps), threads=threads, config=config)
        twin = float_twin(self.file.model).SerializeToString()
        self.twin = twin
        self.report = VerifyReport(
            self.file.path.name,
            f"ONNX Runtime {onnxruntime.__version__} (CPU, {threads} thread{'s' if threads > 1 else ''})",
            file_bytes=len(self.file.data),
            float_bytes=len(twin),
        )
        self.agreements = {name: self._agreement(name) for name in self.taps}
        for name in self.wanted:
            if name not in self.agreements:
                self.report.skipped[name] = "the file has no codes of this name"
        if not reference:
            self.report.notes.append(
                "the integer reference was switched off: no tensor was compared"
            )
        self.reference = reference
        self.same_class = self.classified = 0
        self.differing: dict[str, int] = dict.fromkeys(self.taps, 0)
        self.accumulated: dict[str, list[int]] = {
            name: [0, 0, 0] for name in self.taps
        }  # max, differing, elements

    def _agreement(self, name: str) -> TensorAgreement:
        node, quant = self.judge.producers[name], self.judge.tensors[name]["quant"]
        return TensorAgreement(name, node["op"], node["source"], int(quant["bits"]))

    def check_constants(self) -> None:
        """Hold every weight, scale and bias in the file against the model."""
        held = constants.initializers(self.file.model)
        found = constants.differences(
            held, self.judge.tensors, self.judge.constants, self.file.offsets
        )
        for name, problem in found:
            self.report.failures.append(problem)
            self.report.first_divergence = self.report.first_divergence or name

    def batch(self, batch: Any, judged: int) -> int:
        """Run one batch; the reference looks at its first `judged` samples. Returns the samples seen."""
        values = inputs.tensors(self.converted, batch)
        feed = inputs.arrays(self.file.inputs, values)
        plain, tapped = run(self.plain, feed), run(self.tapped, feed)
        if any(plain[name].tobytes() != tapped[name].tobytes() for name in plain):
            self.report.tapped_equal = False
        size = int(values[0].shape[0]) if values and values[0].dim() else 1
        self._outputs(batch, [plain[name] for name in self.file.outputs])
        if self.reference and judged > 0:
            few = {name: value[:judged] for name, value in feed.items()}
            codes = {
                name: (tapped[name][:judged].astype(np.int16) - self.file.offsets[name]).astype(
                    np.int8
                )
                for name in self.taps
            }
            given = dict(zip(self.judge.graph["inputs"], few.values(), strict=True))
            self._tensors(given, codes)
            self._accumulated(given, codes, [plain[name][:judged] for name in self.file.outputs])
            self.report.judged += min(judged, size)
        self.report.samples += size
        return size

    def _outputs(self, batch: Any, found: list[Array]) -> None:
        training = {module: module.training for module in self.student.modules()}
        self.student.eval()
        try:
            with torch.no_grad():
                trained = inputs.flat_outputs(call(self.student, batch))
        finally:
            for module, mode in training.items():
                module.training = mode
        if len(trained) != len(found):
            raise ValueError(
                f"verify: the file has {len(found)} outputs, the model {len(trained)}; export it again"
            )
        report = self.report
        report.outputs = report.outputs or [OutputAgreement(name) for name in self.file.outputs]
        for agreement, ours, theirs in zip(report.outputs, trained, found, strict=True):
            agreement.max_error = max(agreement.max_error, _max_error(ours, theirs))
            agreement.largest = max(agreement.largest, float(np.abs(ours).max(initial=0.0)))
        if trained[0].ndim == 2 and trained[0].dtype.kind == "f" and trained[0].shape[1] > 1:
            self.same_class += int((trained[0].argmax(1) == found[0].argmax(1)).sum())
            self.classified += len(trained[0])

    def _tensors(self, given: Mapping[str, Array], codes: Mapping[str, Array]) -> None:
        known = {**given, **codes}
        for name in self.taps:
            if name in self.report.skipped:
                continue
            expected = self.judge.local(
                name, {key: value for key, value in known.items() if key != name}
            )
            if isinstance(expected, str):
                self.report.skipped[name] = expected
                continue
            agreement = self.agreements[name]
            distance = np.abs(codes[name].astype(np.int32) - expected.astype(np.int32))
            agreement.max_lsb = max(agreement.max_lsb, int(distance.max(initial=0)))
            agreement.elements += distance.size
            self.differing[name] += int((distance > 0).sum())

    def _accumulated(
        self, given: Mapping[str, Array], codes: Mapping[str, Array], found: list[Array]
    ) -> None:
        outputs = self.judge.graph["outputs"]
        expected = self.judge.whole(
            given, [*self.taps, *(name for name in outputs if name not in self.taps)]
        )
        for name in self.taps:
            if name in expected:
                distance = np.abs(codes[name].astype(np.int32) - expected[name].astype(np.int32))
                entry = self.accumulated[name]
                entry[0] = max(entry[0], int(distance.max(initial=0)))
                entry[1] += int((distance > 0).sum())
                entry[2] += distance.size
        for name, agreement, value in zip(outputs, self.report.outputs, found, strict=False):
            if name in expected and len(outputs) == len(found):
                error = _max_error(self._real(name, expected[name]), value)
                agreement.max_error_reference = max(agreement.max_error_reference or 0.0, error)

    def _real(self, name: str, value: Array) -> Array:
        """Codes as the numbers they stand for."""
        quant = self.judge.tensors[name]["quant"]
        if quant is None:
            return value
        scale, zero_point = (
            self.judge.constants[quant[key]].reshape(()) for key in ("scale", "zero_point")
        )
        return (value.astype(np.float32) - np.float32(zero_point)) * scale

    def finish(self) -> VerifyReport:
        """Shares, thresholds and the verdict."""
        report, limits = self.report, self.thresholds
        for name in self.taps:
            if name in report.skipped or not self.reference:
                continue
            agreement = self.agreements[name]
            agreement.differing = self.differing[name] / max(agreement.elements, 1)
            most, count, total = self.accumulated[name]
            if total:
                agreement.accumulated_lsb, agreement.accumulated = most, count / total
            report.tensors.append(agreement)
            if agreement.max_lsb > limits.max_lsb or agreement.differing > limits.share(
                agreement.operator
            ):
                report.first_divergence = report.first_divergence or name
                report.failures.append(
                    f"{name} ({agreement.operator}{', ' + agreement.source if agreement.source else ''}) differs from the "
                    f"integer reference by up to {agreement.max_lsb} LSB, in {agreement.differing:.3%} of the codes"
                )
        if not report.tapped_equal:
            report.failures.append(
                "reading the inner tensors changed the outputs: what was compared is not what runs"
            )
        if self.classified:
            report.top1_agreement = self.same_class / self.classified
            if self.classified - self.same_class > max(1.0, (1.0 - limits.top1) * self.classified):
                report.failures.append(
                    f"the file predicts another class than the trained model on {self.classified - self.same_class} of "
                    f"{self.classified} samples"
                )
        risks = check_saturation(self.converted)
        if risks and not integer_products_are_exact():
            report.notes.append(
                f"this CPU has no VNNI, and {len(risks)} layers can saturate in ONNX Runtime; first {risks[0]}"
            )
        return report


def _max_error(a: Array, b: Array) -> float:
    if a.shape != b.shape:
        raise ValueError(
            f"verify: an output has shape {list(b.shape)} in the file and {list(a.shape)} in the model"
        )
    if not a.size:
        return 0.0
    error = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return float("inf") if np.isnan(error).any() else float(error.max())


def verify(
    student: nn.Module,
    path: str | os.PathLike[str],
    batches: Iterable[Any],
    *,
    reference: bool = True,
    reference_samples: int = 64,
    latency: bool = True,
    threads: int = 1,
    thresholds: Thresholds | None = None,
    session_config: Mapping[str, str] | None = None,
    progress: bool = False,
) -> VerifyReport:
    """Run the exported file in ONNX Runtime and hold it against the integer reference and the trained model.

    Layer by layer: each quantized tensor of the file is compared with the integer reference run on the inputs that the file
    itself had at that layer, so a difference is counted where it arises and not again further down; the column "accumulated"
    has the difference of a run from the model's inputs on. Weights, scales and biases are compared number by number. Only
    integer codes are read out of the runtime, and a run without any such reading must give the same output bits.

    Args:
        student: the model that was exported: from `prepare`, or `convert`'s result.
        path: the .onnx file.
        batches: inputs: tensors, tuples (positional arguments) or dicts (keyword arguments), without labels.
        reference: compare inner tensors with the integer reference.
        reference_samples: samples that the integer reference runs (its products are not fast); all samples run elsewhere.
        latency: measure the time of one call on the first batch, against the float32 model (about one second).
        threads: of ONNX Runtime and of the reference.
        thresholds: what counts as a failure.
        session_config: entries for ONNX Runtime's session, such as {"session.qdq_matmulnbits_accuracy_level": "1"}.
        progress: show a progress bar.

    Returns:
        The report; `report.ok` tells whether all is within the thresholds, `print(report)` shows the tables.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no ONNX model, no batches, or batches and outputs that do not fit the file.
        TypeError: the batch does not fit the model's arguments.
        ImportError: onnx or onnxruntime is missing.

    Example:
        >>> print(edgeqat.verify(student, "model.onnx", [torch.randn(8, 3, 32, 32)]))  # doctest: +SKIP
    """
    from edgeqat.export.requirements import require

    require("onnx", "onnxruntime")
    state = _Verification(
        student, path, thresholds or Thresholds(), threads, session_config, reference
    )
    state.check_constants()
    first: dict[str, Array] | None = None
    left = reference_samples
    for batch in tqdm(batches, desc="verify", disable=not progress):
        left -= state.batch(batch, max(left, 0))
        if first is None:
            first = inputs.arrays(state.file.inputs, inputs.tensors(state.converted, batch))
    if first is None:
        raise ValueError("verify: batches is empty; give at least one batch of inputs")
    report = state.finish()
    if latency:
        report.latency = measure(state.file.data, state.twin, first, threads=threads)
    return report
