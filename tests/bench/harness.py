# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: taking turns, processor time, and where and on what it was measured."""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import edgeqat

# What decides a measurement beside the command line: whether a waiting thread works, and whether
# malloc hands memory back, so that every large result is fresh pages.
SETTINGS = ("OMP_WAIT_POLICY", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
SEED = 0
RESULTS = Path(__file__).parent / "results"
#: Milliseconds: median and quartiles over the rounds.
Summary = dict[str, float]


def cpu_name() -> str:
    """The processor as /proc/cpuinfo names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def commit() -> str:
    """The commit that was measured, with a + where the kernels or ops differ from it."""

    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        found = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return found.stdout.strip()

    changed = git("status", "--porcelain", "--", ":/csrc", ":/include", ":/python/edgeqat/ops")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def summarize(values: list[float]) -> Summary:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4)
    return {"median_ms": median, "quartile_low_ms": low, "quartile_high_ms": high}


def take_turns(
    steps: dict[str, Callable[[], Any]],
    rounds: int,
    *,
    calls: int = 1,
    clock: Callable[[], float] = time.thread_time,
) -> dict[str, Summary]:
    """Milliseconds a call of each candidate.

    The candidates take turns inside each round, so that other load on the machine meets all of
    them. `thread_time` leaves other processes out except for shared caches and memory; with more
    than one thread it has to be `time.perf_counter`. Two rounds warm up caches and the allocator.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    gc.collect()
    gc.disable()
    try:
        for round_index in range(rounds + 2):
            for name, step in steps.items():
                start = clock()
                for _ in range(calls):
                    step()
                elapsed = clock() - start
                if round_index >= 2:
                    times[name].append(1e3 * elapsed / calls)
    finally:
        gc.enable()
    return {name: summarize(values) for name, values in times.items()}


def _processor_times() -> dict[str, float]:
    """Seconds that each thread of this process has run."""
    threads = [path.name for path in Path("/proc/self/task").iterdir()]
    # clock_getcpuclockid's formula; the clock of a thread that has just ended cannot be read
    return {tid: time.clock_gettime((~int(tid) << 3) | 6) for tid in threads}


def two_threads_speedup(
    steps: dict[str, Callable[[], Any]], rounds: int, *, calls: int = 1
) -> dict[str, float]:
    """How many times as fast each candidate is with two threads on two free cores.

    Processor time of the busier thread against that of one thread alone: what the clock on the wall
    would show if nothing else ran. A thread that waits must not count as work, so run with
    OMP_WAIT_POLICY=PASSIVE.
    """
    busiest: dict[str, dict[int, list[float]]] = {name: {1: [], 2: []} for name in steps}
    for round_index in range(rounds + 2):
        for name, step in steps.items():
            for threads in (1, 2):
                torch.set_num_threads(threads)
                step()  # the pool starts, and takes over the caches
                before = _processor_times()
                for _ in range(calls):
                    step()
                after = _processor_times()
                if round_index >= 2:
                    used = max(after[tid] - before.get(tid, 0.0) for tid in after)
                    busiest[name][threads].append(used)
    torch.set_num_threads(1)
    return {
        name: statistics.median(times[1]) / statistics.median(times[2])
        for name, times in busiest.items()
    }


def document(task: str, command: str, **fields: Any) -> dict[str, Any]:
    """A results file: the task, the machine, and then the benchmark's own fields."""
    settings = "".join(f"{name}={os.environ[name]} " for name in SETTINGS if name in os.environ)
    return {
        "task": task,
        "command": settings + command,
        "commit": commit(),
        "cpu": cpu_name(),
        "isa": edgeqat._C.active_isa(),
        "threads": torch.get_num_threads(),
        "clock": "processor time of the thread",
        "torch": torch.__version__,
        "seeds": [SEED],
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        **fields,
    }


def write(result: dict[str, Any], path: Path) -> None:
    """Write the JSON file that the tables of the documents are made of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def arguments(description: str | None, output: Path, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--output", type=Path, default=output)
    return parser
