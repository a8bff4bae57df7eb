# SPDX-License-Identifier: Apache-2.0
"""The table that the examples print: float, naive rounding, PTQ and QAT, each for every seed.

The float row and the QAT rows start from the same weights and get the same epochs, schedule,
augmentation and seeds; the PTQ rows start from the float row. Every finished row is a small JSON
file, so an interrupted run goes on where it stopped, inside a row from its last finished epoch.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import edgeqat
from datasets import Split
from edgeqat.quantization.batch_norm import reestimate_batch_norm
from edgeqat.quantization.oscillation import Oscillation
from training import Augment, Normalize, Schedule, accuracy, batches, predictions, train, varied

ROWS = ("float", "naive 4 bit", "PTQ W8A8", "PTQ W4A8", "QAT W4A8", "QAT W4A4")


@dataclasses.dataclass(frozen=True)
class Task:
    """One network on one data set; hyperparameters on ``choice``, the table on ``reported``."""

    name: str
    start: Callable[
        [int], nn.Module
    ]  # seed -> the float model that every row of that seed starts from
    train: Split
    choice: Split | None  # None: choices were made on other data than the training's
    reported: Split
    normalize: Normalize
    epochs: int
    lr: float
    shift: int
    extra: dict[str, Split] = dataclasses.field(default_factory=dict)  # scored for information
    batch: int = 128
    augmentation: Augment | None = None  # None: flips and shifts of images
    # name -> arguments of `Oscillation`; a row "LSQ W3A3 NAME" also re-estimates BatchNorm
    controls: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    bfloat16: bool = False  # train under autocast; rows are scored in float32

    def schedule(self, seed: int) -> Schedule:
        """What the float row and the QAT rows of one seed have in common."""
        schedule = Schedule(self.epochs, self.lr, seed, self.batch, self.shift)
        return dataclasses.replace(schedule, bfloat16=self.bfloat16)


def arguments(
    description: str | None,
    name: str,
    *,
    rows: Sequence[str] = ROWS,
    flags: Mapping[str, str] | None = None,
    epochs: int | None = None,
) -> argparse.Namespace:
    """Parses the options that the comparing examples have in common, and ``flags`` (name: help).

    ``epochs`` is the default of ``--epochs``; without one there is no such option.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", help="folder with the data sets (default: EDGEQAT_DATA)")
    parser.add_argument(
        "--out", type=Path, default=Path("out") / name, help="checkpoints, models, rows"
    )
    parser.add_argument(
        "--results", type=Path, help="JSON of the whole table (default: OUT/results.json)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=rows, default=list(rows), metavar="ROW")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    if epochs is not None:
        parser.add_argument(
            "--epochs", type=int, default=epochs, help="of every row (default: %(default)s)"
        )
    for flag, text in (flags or {}).items():
        parser.add_argument(flag, action="store_true", help=text)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    parsed.out.mkdir(parents=True, exist_ok=True)
    return parsed


def rounded_per_tensor(model: nn.Module, bits: int = 4) -> nn.Module:
    """A copy with weights rounded to one symmetric grid a tensor: no library, no data."""
    model = copy.deepcopy(model)
    top = 2 ** (bits - 1) - 1
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            scale = module.weight.detach().abs().max() / top
            module.weight.data = (module.weight.detach() / scale).round().clamp(-top, top) * scale
    return model.eval()


def onnx_predictions(path: Path, split: Split, normalize: Normalize) -> Tensor:
    """Classes that ONNX Runtime predicts from the file; nothing of the library takes part."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    outputs = [session.run(None, {name: x.numpy()})[0] for x in batches(split, normalize)]
    return torch.cat([torch.from_numpy(y).argmax(1) for y in outputs])


def float_bytes(model: nn.Module, path: Path) -> int:
    """Bytes of the float weights and BatchNorm statistics as a .safetensors file."""
    from safetensors.torch import save_file

    state = {k: v.contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file(state, path)
    return path.stat().st_size


def fit(
    task: Task,
    model: nn.Module,
    schedule: Schedule,
    checkpoint: Path,
    oscillation: Oscillation | None = None,
    teacher: nn.Module | None = None,
) -> nn.Module:
    """Trains ``model`` in place on the task's training images; returns it in eval mode."""
    return train(
        model,
        task.train,
        task.normalize,
        schedule,
        checkpoint,
        augmentation=task.augmentation,
        oscillation=oscillation,
        teacher=teacher,
        label=checkpoint.stem,
    )


def float_row(task: Task, schedule: Schedule, out: Path) -> nn.Module:
    """The network of the float row of that seed: trained, or read from its checkpoint."""
    model = task.start(schedule.seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fit(task, model, schedule, out / f"float-seed{schedule.seed}.pt")


def recipe_of(kind: str, widths: str) -> edgeqat.Recipe:
    """PTQ and QAT take the range of the values, LSQ learns the step of weights and activations."""
    recipe = edgeqat.Recipe.named(widths.lower())
    if kind == "LSQ":
        recipe = recipe.replace(weight_quantizer="lsq", activation_quantizer="lsq")
    return recipe


def augmented_batches(task: Task, schedule: Schedule) -> Iterator[Tensor]:
    """One more epoch of the inputs that training saw, without labels."""
    generator = torch.Generator().manual_seed(schedule.seed)
    order = torch.randperm(len(task.train), generator=generator)
    for rows in order.split(schedule.batch):
        images = varied(task.train.images[rows], schedule, task.augmentation, generator)
        yield task.normalize(images)


def learn_steps(
    task: Task, student: nn.Module, schedule: Schedule, stem: Path, word: str | None
) -> dict[str, float]:
    """Trains with learned steps and the row's last word; the share that oscillates.

    "taught" learns what the float row of the same seed says of the images, without their labels;
    any other word names a control of the task. A control without settings is the plain row with
    fresh BatchNorm statistics, so it reads that row's checkpoint instead of training once more.
    """
    taught = word == "taught"
    controlled = word is not None and not taught
    settings = task.controls[word] if controlled else {}
    trained = stem
    if controlled and not settings:
        trained = stem.with_name(stem.name.replace(f"_{word}-seed", "-seed"))
    steps = schedule.epochs * (len(task.train) // schedule.batch)
    oscillation = Oscillation(student, total_steps=steps, **settings)
    teacher = float_row(task, schedule, stem.parent) if taught else None
    fit(task, student, schedule, trained.with_suffix(".pt"), oscillation, teacher)
    if controlled:
        reestimate_batch_norm(student, augmented_batches(task, schedule))
    rows = oscillation.report()
    elements = sum(row.elements for row in rows)
    return {
        "oscillating": 100.0 * sum(row.oscillating * row.elements for row in rows) / elements,
        "frozen": 100.0 * sum(row.frozen * row.elements for row in rows) / elements,
    }


def quantized_row(
    task: Task, start: nn.Module, row: str, stem: Path, schedule: Schedule
) -> tuple[nn.Module, dict[str, Any]]:
    """Quantizes ``start``, trains it unless the row is one of PTQ, saves, exports, runs it."""
    kind, widths, *word = row.split()
    recipe = recipe_of(kind, widths)
    figures: dict[str, Any] = {}
    calibration = task.train[0:1024]
    example = task.normalize(task.train.images[:2])
    plan = edgeqat.plan(start, (example,), recipe=recipe, target="onnxruntime")
    student = edgeqat.prepare(start, plan)
    edgeqat.calibrate(student, batches(calibration, task.normalize, 128))
    if kind == "QAT":
        fit(task, student, schedule, stem.with_suffix(".pt"))
    elif kind == "LSQ":
        figures |= learn_steps(task, student, schedule, stem, word[0] if word else None)
    student.eval()

    checkpoint, exported = stem.with_suffix(".safetensors"), stem.with_suffix(".onnx")
    edgeqat.save(student, checkpoint)
    edgeqat.export(student, exported)
    trained = predictions(student, task.reported, task.normalize)
    deployed = onnx_predictions(exported, task.reported, task.normalize)
    return student, {
        **figures,
        "checkpoint_bytes": checkpoint.stat().st_size,
        "onnx_bytes": exported.stat().st_size,
        "onnx_accuracy": accuracy(deployed, task.reported),
        "onnx_agreement": 100.0 * float((trained == deployed).double().mean()),
    }


def measure(task: Task, row: str, seed: int, out: Path) -> dict[str, Any]:
    """Makes one row for one seed, or reads it back where it was made before."""
    stem = out / f"{row.replace(' ', '_').lower()}-seed{seed}"
    done = stem.with_suffix(".json")
    if done.exists():
        return dict(json.loads(done.read_text()))
    started = time.perf_counter()
    schedule = task.schedule(seed)
    result: dict[str, Any] = {"row": row, "seed": seed}
    kind = row.split()[0]
    if kind in ("QAT", "LSQ"):
        model = task.start(seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    else:  # the float row itself, or a row that starts from it
        model = float_row(task, schedule, out)
    if kind == "float":
        result["checkpoint_bytes"] = float_bytes(model, stem.with_suffix(".safetensors"))
    elif kind == "naive":
        model = rounded_per_tensor(model)
    else:
        model, figures = quantized_row(task, model, row, stem, schedule)
        result |= figures
    chosen = {} if task.choice is None else {"choice": task.choice}
    for name, split in {**chosen, "reported": task.reported, **task.extra}.items():
        result[name] = accuracy(predictions(model, split, task.normalize), split)
    result["seconds"] = round(time.perf_counter() - started, 1)
    trained = stem.with_suffix(".pt")
    if trained.exists():  # of all sessions that an interrupted training took
        spent = torch.load(trained)["processor_seconds"]
        result["training_processor_seconds"] = round(spent, 1)
    temporary = done.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(result, indent=1))
    temporary.replace(done)
    return result


def provenance() -> dict[str, Any]:
    """What it takes to repeat the run: command, commit, versions, processor, date."""
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":", 1)[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        cpu = f"{names[0]}, {len(names)} cores" if names else cpu
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "command": f"python examples/{shlex.join(words)}",
        "commit": git.stdout.strip() or "unknown",
        "cpu": cpu,
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }


def spread(values: list[float], sign: str = "") -> str:
    """Mean ± standard deviation with two digits; the mean alone for a single value."""
    mean = f"{statistics.mean(values):{sign}.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def print_table(results: list[dict[str, Any]]) -> None:
    """One line a row: accuracy on the reported images, bytes, agreement with ONNX Runtime."""
    titles = f"{'accuracy %':>14} {'vs float':>9} {'bytes':>10} {'in ONNX Runtime %':>18}"
    print(f"\n{'row':<16} {titles} {'same class %':>13}")
    reference = {r["seed"]: r["reported"] for r in results if r["row"] == "float"}
    for row in dict.fromkeys(r["row"] for r in results):
        runs = [r for r in results if r["row"] == row]
        pairs = [r["reported"] - reference[r["seed"]] for r in runs if r["seed"] in reference]
        size = next((f"{r['checkpoint_bytes']:,}" for r in runs if "checkpoint_bytes" in r), "-")
        onnx = [r["onnx_accuracy"] for r in runs if "onnx_accuracy" in r]
        same = [r["onnx_agreement"] for r in runs if "onnx_agreement" in r]
        print(
            f"{row:<16} {spread([r['reported'] for r in runs]):>14} "
            f"{f'{statistics.mean(pairs):+.2f}' if pairs else '-':>9} {size:>10} "
            f"{spread(onnx) if onnx else '-':>18} {f'{min(same):.2f}' if same else '-':>13}"
        )


def compare(task: Task, options: argparse.Namespace, notes: dict[str, Any]) -> None:
    """Makes every row for every seed, prints the table and writes it as JSON."""
    results = [
        measure(task, row, seed, options.out) for seed in options.seeds for row in options.rows
    ]
    report(task, options, notes, results)


def report(
    task: Task, options: argparse.Namespace, notes: dict[str, Any], results: list[dict[str, Any]]
) -> None:
    """Prints the rows as a table and writes them as JSON, with what it takes to repeat them."""
    print_table(results)
    path = options.results or options.out / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        **provenance(),
        "seeds": options.seeds,
        "task": task.name,
        "epochs": task.epochs,
        "lr": task.lr,
        **notes,
        "results": results,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"\nwritten: {path}")
