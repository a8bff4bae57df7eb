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

from edgeqat.export.code_names import code_names
from edgeqat.export.cpu import integer_products_are_exact
from edgeqat.export.saturation import check_saturation
from edgeqat.graph.lower import lower
from edgeqat.quantization.calibrate import call
from edgeqat.quantization.convert import convert
from edgeqat.verification import constants, inputs
from edgeqat.verification.comparison import Comparison
from edgeqat.verification.float_twin import float_twin
from edgeqat.verification.judge import Judge
from edgeqat.verification.latency import measure
from edgeqat.verification.report import OutputAgreement, Thresholds, VerifyReport
from edgeqat.verification.runtime import OnnxFile, run, session

Array = np.ndarray[Any, Any]


class _Verification:
    """One run of `verify`, batch by batch."""

    def __init__(
        self,
        student: nn.Module,
        path: str | os.PathLike[str],
        threads: int,
        config: Mapping[str, str] | None,
    ) -> None:
        import onnxruntime

        self.student, self.threads = student, threads
        self.converted = convert(student)
        self.file = OnnxFile(path)
        document, values = lower(self.converted)
        self.judge = Judge(document, values, threads)
        wanted = list(code_names(self.converted).values())
        self.taps = self.file.taps(wanted)
        self.comparison = Comparison(self.judge, self.taps)
        self.plain = session(self.file.data, threads=threads, config=config)
        self.tapped = session(self.file.tapped(self.taps), threads=threads, config=config)
        self.twin = float_twin(self.file.model).SerializeToString()
        self.report = VerifyReport(
            self.file.path.name,
            f"ONNX Runtime {onnxruntime.__version__} (CPU, {threads} thread{'s' if threads > 1 else ''})",
            file_bytes=len(self.file.data),
            float_bytes=len(self.twin),
            outputs=[OutputAgreement(name) for name in self.file.outputs],
            skipped={
                name: "the file has no codes of this name"
                for name in wanted
                if name not in self.taps
            },
        )
        self.same_class = self.classified = 0

    def check_constants(self) -> None:
        """Hold every weight, scale and bias in the file against the model."""
        held = constants.initializers(self.file.model)
        for name, problem in constants.differences(
            held, self.judge.tensors, self.judge.constants, self.file.offsets
        ):
            self.report.failures.append(problem)
            self.report.first_divergence = self.report.first_divergence or name

    def batch(self, batch: Any, judged: int) -> int:
        """Run one batch, and its first `judged` samples through the reference; returns the number of samples."""
        values = inputs.tensors(self.converted, batch)
        feed = inputs.arrays(self.file.inputs, values)
        size = int(values[0].shape[0]) if values and values[0].dim() else 1
        plain = run(self.plain, feed)
        self._outputs(batch, [plain[name] for name in self.file.outputs])
        self.report.samples += size
        if judged > 0:
            # The reference's samples run on their own: where a layer merges batch and sequence, the first rows of its output
            # are not those of the first samples.
            few = {
                name: value[:judged] if name in self.file.batched else value
                for name, value in feed.items()
            }
            self._judge(few)
            self.report.judged += min(judged, size)
        return size

    def _judge(self, feed: dict[str, Array]) -> None:
        plain, tapped = run(self.plain, feed), run(self.tapped, feed)
        if any(plain[name].tobytes() != tapped[name].tobytes() for name in plain):
            self.report.tapped_equal = False
        codes = {
            name: (tapped[name].astype(np.int16) - self.file.offsets[name]).astype(np.int8)
            for name in self.taps
        }
        given = dict(zip(self.judge.graph["inputs"], feed.values(), strict=True))
        self.comparison.add(given, codes, [plain[name] for name in self.file.outputs])

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
        for agreement, ours, theirs in zip(self.report.outputs, trained, found, strict=True):
            agreement.max_error = max(agreement.max_error, _max_error(ours, theirs))
            agreement.largest = max(agreement.largest, float(np.abs(ours).max(initial=0.0)))
        if trained[0].ndim == 2 and trained[0].dtype.kind == "f" and trained[0].shape[1] > 1:
            self.same_class += int((trained[0].argmax(1) == found[0].argmax(1)).sum())
            self.classified += len(trained[0])

    def finish(self, limits: Thresholds) -> VerifyReport:
        """Shares, thresholds and the verdict."""
        report, comparison = self.report, self.comparison
        if report.judged:
            if self.judge.refusal is not None:
                report.notes.append(self.judge.refusal)
                comparison.skipped = dict.fromkeys(
                    self.taps, "the integer reference refuses the model"
                )
            report.skipped |= comparison.skipped
            self._tensors(limits)
        else:
            report.notes.append(
                "the integer reference was switched off: no inner tensor was compared"
            )
        for name, agreement in zip(self.judge.graph["outputs"], report.outputs, strict=False):
            agreement.max_error_reference = comparison.output_errors.get(name)
        if not report.tapped_equal:
            report.failures.append(
                "reading the inner tensors changed the outputs: what was compared is not what runs"
            )
        if any(not np.isfinite(output.max_error) for output in report.outputs):
            report.failures.append("an output is NaN or infinite in one of the two models only")
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

    def _tensors(self, limits: Thresholds) -> None:
        report = self.report
        for name in self.taps:
            if name in report.skipped:
                continue
            agreement = self.comparison.agreement(name)
            report.tensors.append(agreement)
            if agreement.max_lsb > limits.max_lsb or agreement.differing > limits.share(
                agreement.operator
            ):
                report.first_divergence = report.first_divergence or name
                where = ", ".join(part for part in (agreement.operator, agreement.source) if part)
                report.failures.append(
                    f"{name} ({where}) differs from the integer reference by up to {agreement.max_lsb} LSB, in "
                    f"{agreement.differing:.3%} of the codes"
                )


def _max_error(a: Array, b: Array) -> float:
    if a.shape != b.shape:
        raise ValueError(
            f"verify: an output has shape {list(b.shape)} in the file and {list(a.shape)} in the model"
        )
    same = (a == b) | (np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else a == b
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(a.astype(np.float64) - b.astype(np.float64)))
    return float("inf") if np.isnan(error).any() else float(error.max(initial=0.0))


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
        >>> import edgeqat, tempfile, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> student = edgeqat.calibrate(student, [torch.randn(8, 4)])
        >>> path = edgeqat.export(student, tempfile.mkdtemp() + "/model.onnx")
        >>> report = edgeqat.verify(student, path, [torch.randn(8, 4)], latency=False)
        >>> report.ok, report.coverage
        (True, 1.0)
    """
    from edgeqat.export.requirements import require

    require("onnx", "onnxruntime")
    state = _Verification(student, path, threads, session_config)
    state.check_constants()
    first: dict[str, Array] | None = None
    left = reference_samples if reference else 0
    for batch in tqdm(batches, desc="verify", disable=not progress):
        left -= state.batch(batch, max(left, 0))
        if first is None:
            first = inputs.arrays(state.file.inputs, inputs.tensors(state.converted, batch))
    if first is None:
        raise ValueError("verify: batches is empty; give at least one batch of inputs")
    report = state.finish(thresholds or Thresholds())
    if latency:
        report.latency = measure(state.file.data, state.twin, first, threads=threads)
    return report
