# SPDX-License-Identifier: Apache-2.0
"""calibrate: shows data to a prepared model so that its activation quantizers learn their ranges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from edgeqat.nn.bias import BiasRounder
from edgeqat.nn.quantizers import ActivationQuantizer, Quantizer


def quantizers(model: nn.Module) -> dict[str, Quantizer]:
    """The quantizers of a prepared model by path."""
    return {name: m for name, m in model.named_modules() if isinstance(m, Quantizer)}


def call(model: nn.Module, batch: Any) -> Any:
    """`model` on one batch: a tensor, a tuple (positional) or a dict (keyword)."""
    if isinstance(batch, dict):
        return model(**batch)
    if isinstance(batch, (tuple, list)):
        return model(*batch)
    return model(batch)


def check_batches(who: str, batches: object) -> None:
    """Refuse one batch where several belong: a tensor's rows would pass for batches."""
    if isinstance(batches, (torch.Tensor, dict)) or not isinstance(batches, Iterable):
        raise TypeError(
            f"{who}: batches must be an iterable of batches, found one {type(batches).__name__}; wrap it in a list: [batch]"
        )


def feed(who: str, model: nn.Module, batch: Any) -> None:
    """`call`, where a TypeError says what a batch of `who` has to be."""
    try:
        call(model, batch)
    except TypeError as error:
        raise TypeError(
            f"{who}: the model does not take this batch as its inputs ({error}); batches hold no labels: "
            "(x for x, _ in loader)"
        ) from error


@contextmanager
def _calibrating(model: nn.Module, activations: list[ActivationQuantizer]) -> Iterator[None]:
    training = {module: module.training for module in model.modules()}
    before = [(q, q.enabled) for q in activations]
    model.eval()
    for quantizer in activations:
        quantizer.calibrating, quantizer.enabled = True, False
    try:
        yield
    finally:
        for quantizer, enabled in before:
            quantizer.calibrating, quantizer.enabled = False, enabled
        for module, mode in training.items():
            module.training = mode


def check_finite(model: nn.Module, operation: str) -> None:
    """Raise if an activation quantizer has seen NaN or infinity.

    Raises:
        ValueError: names the tensors and how many values were skipped.
    """
    bad = {
        name: int(q.count[1])
        for name, q in quantizers(model).items()
        if isinstance(q, ActivationQuantizer) and int(q.count[1]) > 0
    }
    if bad:
        listed = ", ".join(
            f"{name.removeprefix('quantizers.')} ({n} values)" for name, n in list(bad.items())[:5]
        )
        raise ValueError(
            f"{operation}: NaN or infinity reached {len(bad)} activation quantizers, first in {listed}; check the data and the "
            "loss, then calibrate again"
        )


def calibrate(
    model: nn.Module, batches: Iterable[Any], *, steps: int | None = None, progress: bool = False
) -> nn.Module:
    """Set the activation ranges to the minimum and maximum over `batches`.

    The model runs in eval mode without gradients: BatchNorm statistics and weights do not change, and activations are
    observed as floats behind quantized weights. Post-training quantization ends here; training goes on from here.

    Steps that activations learn start anew here, also those that training has moved. Steps of weights do not: they start in
    `prepare` from the weights of that time, so load trained weights before.

    Args:
        model: from `prepare`.
        batches: tensors, tuples (positional arguments) or dicts (keyword arguments). Items of a labelled data set must be
            reduced to the inputs first: ``(x for x, _ in loader)``.
        steps: stop after this many batches.
        progress: show a progress bar.

    Returns:
        The same model.

    Raises:
        ValueError: no batch was given, the model has no quantizers, or data held NaN or infinity (ranges are then restored).

    Example:
        >>> import edgeqat
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> student = edgeqat.prepare(model, edgeqat.plan(model, torch.randn(2, 4)))
        >>> _ = edgeqat.calibrate(student, [torch.randn(8, 4)])
    """
    activations = [q for q in quantizers(model).values() if isinstance(q, ActivationQuantizer)]
    check_batches("calibrate", batches)
    if not quantizers(model):
        raise ValueError("calibrate: the model has no quantizers; call edgeqat.prepare first")
    saved = [{k: v.clone() for k, v in q.state_dict().items()} for q in activations]
    for quantizer in activations:
        quantizer.reset()
    seen = 0
    try:
        with _calibrating(model, activations), torch.no_grad():
            for batch in tqdm(batches, desc="calibrate", disable=not progress, total=steps):
                feed("calibrate", model, batch)
                seen += 1
                if steps is not None and seen >= steps:
                    break
        if activations and not any(q.ready for q in activations if q.fixed_range is None) and seen:
            raise ValueError("calibrate: every batch was empty (no rows); give batches with data")
        if seen == 0:
            raise ValueError("calibrate: batches is empty; give at least one batch of inputs")
        check_finite(model, "calibrate")
    except BaseException:
        for quantizer, state in zip(activations, saved, strict=True):
            quantizer.load_state_dict(state)
        raise
    return model


def freeze_observers(model: nn.Module, frozen: bool = True) -> nn.Module:
    """Stop (or resume) the tracking of activation ranges while training; rounding goes on.

    Learned steps are parameters, not observed: give them learning rate 0 (``parameter_groups(..., step_lr=0.0)``) to stop them.

    Args:
        model: from `prepare`.
        frozen: False resumes the tracking.

    Returns:
        The same model.

    Example:
        >>> import edgeqat
        >>> quantizer = edgeqat.nn.ActivationQuantizer(edgeqat.QuantSpec(8, symmetric=False))
        >>> model = freeze_observers(torch.nn.Sequential(quantizer))
        >>> quantizer.observing, quantizer.enabled
        (False, True)
    """
    for quantizer in quantizers(model).values():
        if isinstance(quantizer, ActivationQuantizer) and quantizer.fixed_range is None:
            quantizer.set_flags(observing=not frozen)
    return model


def enable_quantizers(
    model: nn.Module, *, weights: bool = True, activations: bool = True
) -> nn.Module:
    """Switch rounding on or off, for weights and activations apart: what does each cost?

    Args:
        model: from `prepare`.
        weights: round weights.
        activations: round activations.

    Returns:
        The same model.

    Example:
        >>> import edgeqat
        >>> quantizer = edgeqat.nn.WeightQuantizer(edgeqat.QuantSpec(2), (1, 2))
        >>> model = enable_quantizers(torch.nn.Sequential(quantizer), weights=False)
        >>> model(torch.tensor([[0.3, 1.0]]))
        tensor([[0.3000, 1.0000]])
    """
    for quantizer in quantizers(model).values():
        quantizer.set_flags(
            enabled=activations if isinstance(quantizer, ActivationQuantizer) else weights
        )
    for module in model.modules():
        if isinstance(module, BiasRounder):
            module.enabled = weights and activations
    return model
