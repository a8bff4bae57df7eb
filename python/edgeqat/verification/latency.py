# SPDX-License-Identifier: Apache-2.0
"""Time of one call in ONNX Runtime, quantized against float32, measured in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeqat.verification.report import Latency
from edgeqat.verification.runtime import session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Array = np.ndarray[Any, Any]
WARM_UP, MIN_RUNS, MAX_RUNS = 5, 20, 1000


def measure(
    quantized: bytes,
    float32: bytes,
    inputs: Mapping[str, Array],
    *,
    threads: int = 1,
    seconds: float = 1.0,
) -> Latency:
    """Median and spread of both models on the same inputs.

    The two run in turns, so that a change of the clock rate meets both alike.

    Args:
        quantized, float32: serialised models.
        inputs: one batch.
        threads: of ONNX Runtime.
        seconds: time to spend, for both together; at least 20 runs are made.
    """
    sessions = [session(model, threads=threads) for model in (quantized, float32)]
    feed = dict(inputs)
    for _ in range(WARM_UP):
        for one in sessions:
            one.run(None, feed)
    times: list[list[float]] = [[], []]
    end = time.perf_counter() + seconds
    while len(times[0]) < MIN_RUNS or (time.perf_counter() < end and len(times[0]) < MAX_RUNS):
        for one, taken in zip(sessions, times, strict=True):
            taken.append(_time(one, feed))
    (median, low, high), (float_median, float_low, float_high) = (
        (float(np.median(t)), float(np.percentile(t, 10)), float(np.percentile(t, 90)))
        for t in times
    )
    batch = next((int(value.shape[0]) for value in feed.values() if value.ndim), 1)
    return Latency(
        batch, threads, len(times[0]), median, low, high, float_median, float_low, float_high
    )


def _time(one: InferenceSession, feed: dict[str, Array]) -> float:
    start = time.perf_counter()
    one.run(None, feed)
    return 1e3 * (time.perf_counter() - start)
