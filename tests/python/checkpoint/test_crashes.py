# SPDX-License-Identifier: Apache-2.0
"""A save that is interrupted anywhere leaves the whole old file or the whole new one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from power_cut import Disk
from torch_free import LOAD, run_python

SHIM = Path(__file__).with_name("fault_shim.c")

# Two checkpoints; `save(path, i)` writes the i-th, `whole(path)` says which one lies there.
CHECKPOINTS = """
import contextlib, ctypes, errno, json, os, random, signal, sys, time
from pathlib import Path

def parts(i, elements):
    tensors = {f"layer{k}.bias": np.full(elements, i + k, np.float32) for k in range(8)}
    tensors |= {"s": np.full(1, 0.5 + i, np.float32), "z": np.zeros(1, np.int32)}
    packed = {"w": {"codes": np.full(elements, i, np.int8), "bits": 4, "scale": "s", "zero_point": "z"}}
    return {"plan": json.dumps({"i": i}), "graph": "", "tensors": tensors, "packed": packed}

def save(path, i, elements=64):
    _C.save_checkpoint(path, **parts(i, elements))

def whole(path, elements=64):
    loaded = _C.load_checkpoint(path)
    i = json.loads(loaded["plan"])["i"]
    expected = parts(i, elements)
    assert loaded["packed"]["w"]["codes"].tobytes() == expected["packed"]["w"]["codes"].tobytes()
    for name, array in expected["tensors"].items():
        assert loaded["tensors"][name].tobytes() == array.tobytes()
    return i

def strays(folder):
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]

def wait(child):
    status = os.waitpid(child, 0)[1]
    return "killed" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
"""

FAULTS = """
shim = ctypes.CDLL(None)
shim.fault_disarm.restype = ctypes.c_char_p
folder = Path(arguments[0])
path = folder / "model.safetensors"
NONE, CRASH_BEFORE, CRASH_AFTER, FAIL, SHORT = range(5)
SAVED, REFUSED, REFUSED_LATE = 0, 3, 4

def write(how, i):
    if how == "checkpoint":
        save(path, i)
    elif how == "bytes":
        _C.atomic_write(path, (bytes([i]) * 500 for _ in range(5)))
    else:
        writer = _C.AtomicWriter(path)
        with open(writer.temporary_path, "wb") as file:
            file.write(bytes([i]) * 5000)
        writer.commit()

def content(how, i):
    write(how, i)
    data = path.read_bytes()
    path.unlink()
    return data

def attempt(how, step, action, error):
    child = os.fork()
    if child == 0:
        code = SAVED
        shim.fault_arm(ctypes.c_long(step), action, error)
        try:
            write(how, 1)
        except OSError as refusal:
            code = REFUSED_LATE if "the new version is in place" in str(refusal) else REFUSED
        finally:
            shim.fault_disarm()
        os._exit(code)
    return wait(child)

points = 0
for how in ("checkpoint", "bytes", "path"):
    old, new = content(how, 0), content(how, 1)
    shim.fault_arm(ctypes.c_long(0), NONE, 0)
    write(how, 1)
    calls = shim.fault_disarm().decode().split()
    path.unlink()
    assert calls.count("fsync") == 2 and calls.count("renameat") == 1, calls
    assert calls.index("renameat") == len(calls) - 2 and calls[-1] == calls[-3] == "fsync", calls
    for before in (None, old):
        for step, name in enumerate(calls, 1):
            actions = [(CRASH_BEFORE, 0), (CRASH_AFTER, 0), (FAIL, errno.EIO), (FAIL, errno.ENOSPC), (FAIL, errno.EINTR)]
            if name == "write":
                actions.append((SHORT, 0))
            for action, error in actions:
                where = f"{how}, call {step} ({name}), action {action}, errno {error}, old {before is not None}"
                path.unlink(missing_ok=True)
                if before is not None:
                    path.write_bytes(before)
                code = attempt(how, step, action, error)
                after = path.read_bytes() if path.exists() else None
                points += 1
                assert after in (before, new), where
                crashed = action in (CRASH_BEFORE, CRASH_AFTER)
                assert (code == "killed") == crashed, (where, code)
                if code == SAVED:
                    assert after == new, where
                if code == REFUSED:
                    assert after == before, where
                if code == REFUSED_LATE:
                    assert after == new and step == len(calls), where
                if action == SHORT or error == errno.EINTR:
                    assert code == SAVED, (where, code)
                if crashed:
                    save(path, 5)
                    assert whole(path) == 5, where
                assert strays(folder) == [], where
print(points)
"""

RECORD = """
shim = ctypes.CDLL(None)
shim.fault_record.restype = ctypes.c_char_p
folder, how, existing = Path(arguments[0]), arguments[1], arguments[2] == "True"
path = folder / "model.safetensors"

def write(i):
    if how == "checkpoint":
        save(path, i)
    elif how == "bytes":
        _C.atomic_write(path, (bytes([i + 1]) * 500 for _ in range(5)))
    else:
        writer = _C.AtomicWriter(path)
        with open(writer.temporary_path, "wb") as file:
            file.write(bytes([i + 1]) * 5000)
        writer.commit()

if existing:
    write(0)
before = path.read_bytes() if existing else None
shim.fault_arm(ctypes.c_long(0), 0, 0)
write(1)
events = shim.fault_record().decode().splitlines()
print(json.dumps([before and before.hex(), path.read_bytes().hex(), events]))
"""

KILLS = """
folder = Path(arguments[0])
path = folder / "model.safetensors"
kills, unreadable, left = int(arguments[1]), 0, 0
generator = random.Random(0)
elements = 50_000
save(path, 0, elements)
for _ in range(kills):
    child = os.fork()
    if child == 0:
        for i in range(1_000_000):
            save(path, i % 7, elements)
    time.sleep(generator.uniform(0.001, 0.03))
    os.kill(child, signal.SIGKILL)
    assert wait(child) == "killed"
    left += len(strays(folder))
    try:
        whole(path, elements)
    except Exception as error:
        unreadable += 1
    save(path, 3, elements)
    assert strays(folder) == []
print(json.dumps({"unreadable": unreadable, "strays before the next save": left}))
"""

FULL = """
folder = Path(arguments[0])
path = folder / "model.safetensors"
save(path, 1, 20_000)
for i in range(3):
    try:
        save(path, 2, 600_000)
    except OSError as error:
        assert "the file's old version, if any, is unchanged" in str(error), error
        print(error)
    assert strays(folder) == [] and whole(path, 20_000) == 1
with contextlib.suppress(OSError):
    (folder / "filler").write_bytes(bytes(64 << 20))
for i in range(3):
    try:
        save(path, 2, 20_000)
    except OSError as error:
        print(error)
    assert strays(folder) == [] and whole(path, 20_000) == 1
"""

LIMITED = """
import resource
folder = Path(arguments[0])
path = folder / "model.safetensors"
save(path, 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    save(path, 2, 20_000)
except OSError as error:
    print(error)
assert strays(folder) == [] and whole(path) == 1
"""

RANKS = """
folder = Path(arguments[0])
path = folder / "model.safetensors"
children = []
for rank in range(4):
    child = os.fork()
    if child == 0:
        for _ in range(50):
            save(path, rank, 2000)
        os._exit(0)
    children.append(child)
assert [wait(child) for child in children] == [0] * 4
assert whole(path, 2000) in range(4)
assert strays(folder) == []
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fault library, compiled here."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("fault injection: no C compiler; install gcc")
    library = tmp_path_factory.mktemp("shim") / "fault_shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SHIM, "-ldl"]
    subprocess.run(command, check=True)
    return library


def test_a_fault_at_every_call(shim: Path, tmp_path: Path) -> None:
    """Crash before or after, EIO, ENOSPC, EINTR at each call and short writes."""
    environment = {"LD_PRELOAD": str(shim)}
    printed = run_python(CHECKPOINTS + FAULTS, tmp_path, environment=environment)
    assert int(printed) >= 300


def contents_after_cuts(
    events: list[str], before: bytes | None
) -> tuple[set[bytes | None], set[bytes | None]]:
    """What the file may hold after a cut (anywhere, after the last call)."""
    disk = Disk("model.safetensors", before)
    anywhere = disk.after_cut()
    for event in events:
        disk.change(event)
        anywhere |= disk.after_cut()
    return anywhere, disk.after_cut()


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("how", ["checkpoint", "bytes", "path"])
def test_a_power_cut_after_every_call(how: str, existing: bool, shim: Path, tmp_path: Path) -> None:
    """Whatever was not synced may be lost, in any combination; the old or the new file is whole all the same."""
    environment = {"LD_PRELOAD": str(shim)}
    printed = run_python(CHECKPOINTS + RECORD, tmp_path, how, existing, environment=environment)
    old, new, events = json.loads(printed)
    before, after = (None if x is None else bytes.fromhex(x) for x in (old, new))
    assert before != after
    anywhere, finally_there = contents_after_cuts(events, before)
    assert anywhere == {before, after}
    assert finally_there == {after}, "a save that returned is durable"

    # the model can tell: without either sync, or with the rename before it, a cut does harm
    kinds = [event.split()[0] for event in events]
    first, last = (i for i, kind in enumerate(kinds) if kind == "sync")
    assert kinds[-1] == "sync"
    assert kinds[-2] == "rename"
    assert not contents_after_cuts(events[:first] + events[first + 1 :], before)[0] <= {
        before,
        after,
    }
    assert contents_after_cuts(events[:last], before)[1] == {before, after}
    early = [*events[:first], events[-2], events[first], events[-1]]
    assert not contents_after_cuts(early, before)[0] <= {before, after}


@pytest.mark.parametrize("kills", [30, pytest.param(200, marks=pytest.mark.full)])
def test_kill_at_random_times(kills: int, tmp_path: Path) -> None:
    counts = json.loads(run_python(CHECKPOINTS + KILLS, tmp_path, kills))
    assert counts["unreadable"] == 0


def test_file_size_limit(tmp_path: Path) -> None:
    assert "File too large" in run_python(CHECKPOINTS + LIMITED, tmp_path)


def test_four_processes_save_the_same_file(tmp_path: Path) -> None:
    run_python(CHECKPOINTS + RANKS, tmp_path)


def test_full_disk(tmp_path: Path) -> None:
    """A file system of 2 MiB in a mount namespace of its own."""
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if (
        shutil.which("unshare") is None
        or subprocess.run(probe, capture_output=True).returncode != 0
    ):
        pytest.skip("full disk: this machine does not allow mount namespaces")
    code = """
import subprocess, sys
command = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=2m none "$1" && shift && exec "$@"', "sh"]
command += [arguments[0], sys.executable, "-c", arguments[1], sys.argv[1], arguments[0]]
result = subprocess.run(command, capture_output=True, text=True)
assert result.returncode == 0, result.stderr
print(result.stdout)
"""
    printed = run_python(code, tmp_path, LOAD + CHECKPOINTS + FULL)
    assert printed.count("No space left on device") >= 3
