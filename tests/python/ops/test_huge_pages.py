# SPDX-License-Identifier: Apache-2.0
"""Large results are asked for in pages of 2 MiB, as the kernel reports it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from edgeqat import functional

SMAPS = Path("/proc/self/smaps")
ELEMENTS = 10_000_000  # 40 MB: malloc maps anything above 32 MB on its own
# A kernel that was built without them refuses the request, and the results are as before.
HUGE = Path("/sys/kernel/mm/transparent_hugepage").exists()


def advised(tensor: Tensor) -> bool:
    """Whether the middle of the tensor's memory carries `hg`, the mark of madvise(MADV_HUGEPAGE)."""
    address = tensor.data_ptr() + tensor.untyped_storage().nbytes() // 2
    inside = False
    for line in SMAPS.read_text().splitlines():
        word = line.split(maxsplit=1)[0]
        if "-" in word:
            first, last = (int(end, 16) for end in word.split("-"))
            inside = first <= address < last
        elif inside and word == "VmFlags:":
            return "hg" in line.split()
    raise AssertionError("the kernel does not list that memory")


def test_large_results_are_advised() -> None:
    x = torch.randn(ELEMENTS, requires_grad=True)
    scale = torch.tensor([0.05], requires_grad=True)
    assert not advised(x)  # torch's own memory, so that the mark below is ours
    rounded = functional.lsq_fake_quantize(x, scale, -128, 127)
    assert advised(rounded) == HUGE
    grads = torch.autograd.grad(rounded, (x, scale), torch.ones_like(x))
    assert advised(grads[0]) == HUGE
    assert advised(functional.quantize(x.detach().repeat(5), 0.05, 0, -128, 127)) == HUGE


def test_results_of_strided_inputs_are_advised() -> None:
    x = torch.randn(ELEMENTS, 2)[:, 0]
    assert advised(functional.fake_quantize(x, 0.05, 0, -128, 127)) == HUGE


def test_only_whole_pages_inside_a_result_are_advised() -> None:
    """Neighbours are left as they are: the marked range begins and ends inside the tensor."""
    y = functional.fake_quantize(torch.randn(ELEMENTS), 0.05, 0, -128, 127)
    begin, end = y.data_ptr(), y.data_ptr() + y.untyped_storage().nbytes()
    found = []
    for line in SMAPS.read_text().splitlines():
        word = line.split(maxsplit=1)[0]
        if "-" in word:
            place = tuple(int(edge, 16) for edge in word.split("-"))
        elif word == "VmFlags:" and "hg" in line.split() and begin < place[1] and place[0] < end:
            found.append(place)
    assert len(found) == int(HUGE)
    for first, last in found:
        assert begin <= first < last <= end
        assert first % (2 << 20) == last % (2 << 20) == 0


def test_small_results_are_left_alone() -> None:
    """Below 4 MiB a page at an end would be a large share; a fresh process has no other marks."""
    script = """
import torch
from edgeqat import functional
marks = []
for elements in (1_048_575, 1_048_576):  # 4 bytes below 4 MiB, and 4 MiB
    kept = functional.fake_quantize(torch.randn(elements), 0.05, 0, -128, 127)
    lines = open("/proc/self/smaps").read().splitlines()
    marks.append(sum("hg" in line.split() for line in lines if line.startswith("VmFlags:")))
print(*marks)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.split() == ["0", str(int(HUGE))], found.stderr
