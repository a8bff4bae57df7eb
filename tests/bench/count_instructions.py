# SPDX-License-Identifier: Apache-2.0
"""Instructions per element of each kernel, counted by callgrind: a figure that other load cannot move.

A loop that stopped vectorising shows as several times as many instructions; times on a shared machine
show it less clearly. Needs valgrind and `make bench`'s build; valgrind runs no AVX-512, so the sets
are baseline and v3. Takes about 20 seconds.

    python tests/bench/count_instructions.py            # prints, and fails above the limits
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/bench/tests/bench/cpp/edgeqat_call_kernel"
ELEMENTS = 65_536
#: Instructions an element; a fifth above what was counted when a limit was set.
LIMITS = {
    ("fake_quantize", "baseline"): 4.2,
    ("fake_quantize", "v3"): 1.95,
    ("fake_quantize_train", "baseline"): 8.5,
    ("fake_quantize_train", "v3"): 3.7,
    ("fake_quantize_backward", "baseline"): 10.3,
    ("fake_quantize_backward", "v3"): 2.0,
    ("observe_fake_quantize", "baseline"): 15.8,
    ("observe_fake_quantize", "v3"): 6.5,
}


def instructions(kernel: str, isa: str) -> int:
    """What callgrind counts for the whole program."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    result = subprocess.run(
        [*command, str(PROGRAM), kernel, isa, "float32"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Collected : (\d+)", result.stderr)
    if found is None:
        raise RuntimeError(f"callgrind printed no count:\n{result.stderr}")
    return int(found.group(1))


def main() -> int:
    """Count, print, compare with the limits."""
    if not PROGRAM.exists():
        print(f"count_instructions: {PROGRAM.name} is not built; run `make bench` first")
        return 2
    start = instructions("none", "v3")  # the program without a kernel: start-up and the data
    good = True
    for (kernel, isa), limit in LIMITS.items():
        count = (instructions(kernel, isa) - start) / ELEMENTS
        good &= count <= limit
        print(f"{kernel:24} {isa:9} {count:6.2f} instructions an element (limit {limit:g})")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
