# SPDX-License-Identifier: Apache-2.0
"""libedgeqat_cuda as a file: what it needs and shows, which GPUs it has code for, what it registers.

Runs wherever the library was built, with or without a GPU: beside `_C`, or in a build folder of the
source tree (`cmake --preset cuda`), or at EDGEQAT_CUDA_LIBRARY.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgeqat import _loader

pytestmark = pytest.mark.cuda_compile

CUDA_SHIM = {
    "aoti_torch_get_current_cuda_stream",
    "torch_c10_cuda_check_msg",
    "torch_c10_cuda_free_error_msg",
}
FATBIN_MAGIC = struct.pack("<I", 0xBA55ED50)
PTX, MACHINE_CODE = 1, 2


@pytest.fixture(scope="module")
def library() -> Path:
    if named := os.environ.get("EDGEQAT_CUDA_LIBRARY"):
        return Path(named)
    if (installed := _loader.cuda_library()) is not None:
        return installed
    builds = Path(__file__).parents[2].glob("build/*/csrc/cuda/libedgeqat_cuda.so")
    found = max(builds, key=lambda path: path.stat().st_mtime, default=None)
    if found is None:
        pytest.skip("libedgeqat_cuda.so is not built (make cuda)")
    return found


def lines_of(tool: str, *arguments: str) -> list[str]:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} (binutils) is not installed")
    done = subprocess.run([path, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def symbols(library: Path, which: str) -> set[str]:
    return {line.split()[-1] for line in lines_of("nm", "-D", which, str(library))}


def test_needs_both_torch_libraries_and_nothing_unusual(library: Path) -> None:
    dynamic = lines_of("readelf", "-d", str(library))
    needed = {m.group(1) for line in dynamic if (m := re.search(r"NEEDED.*\[(.*)\]", line))}
    assert {"libtorch_cpu.so", "libtorch_cuda.so"} <= needed
    system = r"lib(stdc\+\+|m|gcc_s|c|dl|rt|pthread)\.so\.\d+|ld-linux.*"
    rest = {
        n for n in needed - {"libtorch_cpu.so", "libtorch_cuda.so"} if not re.fullmatch(system, n)
    }
    assert not rest, "cudart is static, the core's dependencies stay out, Python has no place here"


def test_exports_nothing(library: Path) -> None:
    assert symbols(library, "--defined-only") == set()


def test_undefined_symbols_are_the_shim_and_the_system(library: Path) -> None:
    undefined = symbols(library, "--undefined-only")
    versioned = {s for s in undefined if "@" in s}  # glibc, libstdc++, libgcc
    linker = {"_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__gmon_start__"}
    rest = undefined - versioned - linker
    assert {s for s in rest if not s.startswith(("aoti_torch_", "torch_"))} == set()
    assert rest >= CUDA_SHIM


def fatbin_entries(data: bytes) -> list[tuple[int, int]]:
    """(kind, architecture) of every image: header {magic, version, header size, size}, then entries."""
    found = []
    position = data.find(FATBIN_MAGIC)
    while position >= 0:
        header, size = struct.unpack_from("<HQ", data, position + 6)
        entry, end = position + header, position + header + size
        while entry < end:
            kind, _, entry_header, entry_size = struct.unpack_from("<HHIQ", data, entry)
            found.append((kind, struct.unpack_from("<I", data, entry + 28)[0]))
            entry += entry_header + entry_size
        position = data.find(FATBIN_MAGIC, end)
    return found


def test_every_kernel_file_has_code_for_every_architecture(library: Path) -> None:
    entries = fatbin_entries(library.read_bytes())
    machine = [arch for kind, arch in entries if kind == MACHINE_CODE]
    assert machine, "no machine code for any GPU"
    per_file = {arch: machine.count(arch) for arch in machine}
    files = len(list((Path(__file__).parents[2] / "csrc" / "cuda").glob("*.cu")))
    assert set(per_file.values()) == {files}, f"one image for each of {files} .cu files: {per_file}"
    if len(per_file) > 1:  # the release list; a quick check has one architecture
        assert sorted(per_file) == [75, 80, 86, 89, 90]
        assert [arch for kind, arch in entries if kind == PTX] == [90] * files


def test_ptx_rounds_each_operation_once(library: Path, tmp_path: Path) -> None:
    """The build's own compiler commands give no contraction, flushing or approximate division."""
    commands = library.parents[2] / "compile_commands.json"
    if not commands.exists():
        pytest.skip(f"{commands} does not exist: the library is not in its build folder")
    entries = [e for e in json.loads(commands.read_text()) if e["file"].endswith(".cu")]
    entries = [e for e in entries if "edgeqat_cuda_kernels" in e["command"]]  # not the emulation
    assert entries
    for entry in entries:
        words = [w for w in shlex.split(entry["command"]) if not w.startswith("--generate-code")]
        words = words[: words.index("-o")]
        words.remove("-c")
        ptx = tmp_path / "kernel.ptx"
        words += ["-arch=compute_75", "-ptx", "-o", str(ptx)]
        subprocess.run(words, check=True, cwd=entry["directory"], capture_output=True)
        code = ptx.read_text()
        assert "\tst.global" in code
        for forbidden in ("fma.rn.f", ".ftz", "div.approx", "div.full", "rcp.approx"):
            assert forbidden not in code, f"{entry['file']}: {forbidden}"


REGISTERED = """
import sys, torch, edgeqat
from edgeqat.ops._autocast import POLICY
torch.ops.load_library(sys.argv[1])
has = torch._C._dispatch_has_kernel_for_dispatch_key
print([op for op in POLICY if not has(f"edgeqat::{op}", "CUDA")])
"""


def test_registers_every_op(library: Path) -> None:
    if torch.version.cuda is None and not list(library.parents[2].glob("torch_cuda_stub/*.so")):
        pytest.skip(
            "this torch has no CUDA and the linker's stub of libtorch_cuda is not beside the build"
        )
    done = subprocess.run(
        [sys.executable, "-c", REGISTERED, str(library)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]", "ops without a CUDA kernel"
