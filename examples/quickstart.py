# SPDX-License-Identifier: Apache-2.0
"""From a float model to INT8 and INT4 in one sitting: digits, a small CNN, PTQ and QAT.

    python examples/quickstart.py    # under 3 minutes on 2 cores; nothing is downloaded

Trains a float network, quantizes it after training (PTQ) and with training (QAT), saves each as a
.safetensors checkpoint, loads the checkpoint back, exports an ONNX file, runs that file in ONNX
Runtime, and prints one table. Everything written lands in the folder that --out names.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import comparison
import datasets
import edgeqat
from networks import DigitsNet
from training import Normalization, Schedule, accuracy, batches, predictions, train

NORMALIZE = Normalization((0.3053,), (0.3760,), top=16.0)
FLOAT_EPOCHS, QAT_EPOCHS = 20, 10
# INT8: 8-bit weights. INT4: 4-bit weights, the first and last layer kept at 8 bits. INT2: every
# weight 2 bits, which digits need before anything is lost at all. Activations have 8 bits
# throughout.
INT2 = edgeqat.Recipe(weight_bits=2, first_last_bits=None)
ROWS = {
    "PTQ INT8": "int8",
    "PTQ INT4": "int4",
    "QAT INT4": "int4",
    "PTQ INT2": INT2,
    "QAT INT2": INT2,
}


def quantize(
    model: nn.Module, recipe: str | edgeqat.Recipe, train_split: datasets.Split
) -> nn.Module:
    """PTQ: plan, prepare, calibrate. The result computes as the integer model, and can train."""
    example = NORMALIZE(train_split.images[:2])
    plan = edgeqat.plan(model, (example,), recipe=recipe, target="onnxruntime")
    student = edgeqat.prepare(model, plan)
    edgeqat.calibrate(student, batches(train_split[0:512], NORMALIZE, 64))
    return student.eval()


def same_class(first: Tensor, second: Tensor) -> float:
    """Share of equal predictions in percent."""
    return 100.0 * float((first == second).double().mean())


def deploy(
    student: nn.Module, float_model: nn.Module, test: datasets.Split, stem: Path
) -> dict[str, Any]:
    """Writes checkpoint and ONNX file, reads both back, and scores them on the test images."""
    checkpoint, exported = stem.with_suffix(".safetensors"), stem.with_suffix(".onnx")
    edgeqat.save(student, checkpoint)
    edgeqat.export(student, exported)
    print(edgeqat.verify(student, exported, batches(test, NORMALIZE, 64)))

    expected = predictions(student, test, NORMALIZE)
    reloaded = edgeqat.load(checkpoint, copy.deepcopy(float_model))
    in_onnx = comparison.onnx_predictions(exported, test, NORMALIZE)
    return {
        "reported": accuracy(expected, test),
        "checkpoint_bytes": checkpoint.stat().st_size,
        "reloaded_agreement": same_class(predictions(reloaded, test, NORMALIZE), expected),
        "onnx_accuracy": accuracy(in_onnx, test),
        "onnx_agreement": same_class(in_onnx, expected),
    }


def rows(out: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Yields the rows of the table: float, then PTQ and QAT at several widths."""
    train_split, test = datasets.digits()
    torch.manual_seed(seed)
    model = DigitsNet()
    schedule = Schedule(FLOAT_EPOCHS, lr=0.05, seed=seed, batch=64, shift=1)
    train(model, train_split, NORMALIZE, schedule, out / "float.pt", flip=False, label="float")
    size = comparison.float_bytes(model, out / "float.safetensors")
    yield {
        "row": "float",
        "reported": accuracy(predictions(model, test, NORMALIZE), test),
        "checkpoint_bytes": size,
    }

    for row, recipe in ROWS.items():
        student = quantize(model, recipe, train_split)
        stem = out / row.replace(" ", "_").lower()
        if row.startswith("QAT"):
            # The user's own training loop, unchanged: the quantized model is an ordinary nn.Module.
            schedule = Schedule(QAT_EPOCHS, lr=0.02, seed=seed + 1, batch=64, shift=1)
            train(
                student,
                train_split,
                NORMALIZE,
                schedule,
                stem.with_suffix(".pt"),
                flip=False,
                label=row,
            )
        yield {"row": row, **deploy(student, model, test, stem)}


def picture(results: list[dict[str, Any]], path: Path) -> None:
    """Accuracy and bytes side by side, one bar a row of the table."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [result["row"] for result in results]
    panels = {
        "test accuracy, %": [result["reported"] for result in results],
        "checkpoint, kB": [result["checkpoint_bytes"] / 1000 for result in results],
    }
    figure, columns = pyplot.subplots(1, 2, figsize=(8, 2.8), sharey=True, layout="constrained")
    colours = ["tab:blue" if name.startswith("QAT") else "tab:orange" for name in names]
    colours[0] = "tab:grey"
    for axes, (title, values) in zip(columns, panels.items(), strict=True):
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        axes.set_title(title, fontsize=10)
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    columns[0].set_xlim(min(panels["test accuracy, %"]) - 5, 103)
    columns[0].invert_yaxis()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out/quickstart"))
    parser.add_argument(
        "--results", type=Path, help="JSON of the table (default: OUT/results.json)"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(
        1
    )  # layers this small lose more to waiting for a second core than they win

    results = [{**row, "seed": options.seed} for row in rows(options.out, options.seed)]
    comparison.print_table(results)
    picture(results, options.out / "quickstart.png")
    path = options.results or options.out / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        **comparison.provenance(),
        "seeds": [options.seed],
        "task": "digits",
        "results": results,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"\nwritten: {path}\npicture: {options.out / 'quickstart.png'}")


if __name__ == "__main__":
    main()
