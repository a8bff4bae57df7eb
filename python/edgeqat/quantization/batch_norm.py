# SPDX-License-Identifier: Apache-2.0
"""reestimate_batch_norm: fresh running statistics for a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm.auto import tqdm

from edgeqat.quantization.calibrate import check_batches, feed


@contextmanager
def _only_norms_train(model: nn.Module, norms: list[_BatchNorm]) -> Iterator[None]:
    """Evaluation mode but for `norms`, which take plain averages of the batches' statistics."""
    training = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # torch: the average of all batches, each with the same weight
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in training.items():
            module.training = mode


def reestimate_batch_norm(
    model: nn.Module, batches: Iterable[Any], *, steps: int | None = None, progress: bool = False
) -> nn.Module:
    """Replace the running statistics of every BatchNorm by the plain average over `batches`.

    The moving average of training follows weights that jump between two codes late and holds a mixture of both; with few
    bits and depthwise layers that costs points of accuracy. Weights, steps and ranges do not change.

    Args:
        model: a trained model, usually from `prepare`.
        batches: training inputs: tensors, tuples (positional arguments) or dicts (keyword arguments), without labels.
        steps: stop after this many batches; 50 to 200 are enough.
        progress: show a progress bar.

    Returns:
        The same model.

    Raises:
        ValueError: no batch was given, data held NaN or infinity, or the model calls no BatchNorm with statistics: with
            batch_norm="folded" the weights hold them. The statistics are then as before; so are those of single layers that
            the model does not call.
        TypeError: `batches` is one batch, or the model does not take one as its inputs; the statistics are then as before.

    Source: Nagel et al., Overcoming Oscillations in Quantization-Aware Training, ICML 2022, section 4.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(2, momentum=0.001))
        >>> _ = reestimate_batch_norm(model, [torch.tensor([[1.0, 4.0], [3.0, 8.0]])])
        >>> model[0].running_mean
        tensor([2., 6.])
    """
    check_batches("reestimate_batch_norm", batches)
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        raise ValueError(
            "reestimate_batch_norm: the model has no BatchNorm with running statistics"
        )
    saved = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    seen = 0
    try:
        for norm in norms:
            norm.reset_running_stats()
        with _only_norms_train(model, norms), torch.no_grad():
            for batch in tqdm(batches, desc="BatchNorm", disable=not progress, total=steps):
                feed("reestimate_batch_norm", model, batch)
                seen += 1
                if steps is not None and seen >= steps:
                    break
        if seen == 0:
            raise ValueError("reestimate_batch_norm: batches is empty; give at least one batch")
        called = [int(norm.num_batches_tracked) > 0 for norm in norms]  # type: ignore[arg-type]
        if not any(called):
            raise ValueError(
                "reestimate_batch_norm: the model calls none of its BatchNorm layers; with batch_norm='folded' their "
                "statistics are part of the weights and stand still"
            )
        if not all(torch.isfinite(buffer).all() for norm in norms for buffer in norm.buffers()):
            raise ValueError(
                "reestimate_batch_norm: NaN or infinity reached the statistics; check the data and the weights"
            )
    except BaseException:
        _restore(norms, saved)
        raise
    silent = [i for i, was_called in enumerate(called) if not was_called]
    _restore([norms[i] for i in silent], [saved[i] for i in silent])
    return model


def _restore(norms: list[_BatchNorm], saved: list[dict[str, Tensor]]) -> None:
    for norm, state in zip(norms, saved, strict=True):
        for name, value in state.items():
            getattr(norm, name).copy_(value)
