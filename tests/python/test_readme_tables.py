# SPDX-License-Identifier: Apache-2.0
"""The tables of README and docs say what tests/bench/results/*.json say; nothing there is typed by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import tables

DOCUMENT = {
    "task": "net",
    "seeds": [0, 1],
    "command": "python x.py",
    "cpu": "cpu",
    "torch": "2",
    "date": "2026-01-01",
    "results": [
        {"row": "float", "seed": 0, "reported": 90.0, "checkpoint_bytes": 1000},
        {"row": "float", "seed": 1, "reported": 92.0, "checkpoint_bytes": 1000},
        {
            "row": "QAT W4A8",
            "seed": 0,
            "reported": 89.5,
            "checkpoint_bytes": 150,
            "onnx_accuracy": 89.5,
            "onnx_agreement": 99.9,
        },
        {
            "row": "QAT W4A8",
            "seed": 1,
            "reported": 91.0,
            "checkpoint_bytes": 152,
            "onnx_accuracy": 91.0,
            "onnx_agreement": 99.7,
        },
    ],
}


@pytest.mark.parametrize("path", tables.PAGES, ids=lambda path: path.name)
def test_tables_agree_with_the_results(path: Path) -> None:
    page = path.read_text()
    assert tables.rewrite(page) == page, "run python tests/bench/tables.py"


def test_every_result_names_command_commit_processor_and_date(repository: Path) -> None:
    for path in sorted((repository / "tests" / "bench" / "results").glob("*.json")):
        document = json.loads(path.read_text())
        missing = {"command", "commit", "cpu", "seeds", "date"} - document.keys()
        assert not missing, f"{path.name} lacks {sorted(missing)}"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", document["date"]), path.name


def test_a_table_holds_mean_deviation_and_paired_difference() -> None:
    rows = tables.render(DOCUMENT).splitlines()
    assert rows[2].startswith("| float | 91.00 ± 1.41 |  | 1,000 |")
    # (89.5 - 90, 91 - 92): paired by seed; the worst agreement of the seeds, not the mean.
    assert (
        rows[3] == "| QAT W4A8 | 90.25 ± 1.06 | -0.75 ± 0.35 | 152 | 0.152 | 90.25 ± 1.06 | 99.70 |"
    )


def test_a_document_can_name_more_columns() -> None:
    results = [dict(r) for r in DOCUMENT["results"]]
    results[2]["in_noise"], results[3]["in_noise"] = 80.0, 82.0
    document = {**DOCUMENT, "results": results, "extra_columns": {"in_noise": "in noise, %"}}
    titles, line, floats, quantized, *_ = tables.render(document).splitlines()
    assert titles.endswith("| same class, % | in noise, % |")
    assert titles.count("|") == line.count("|") == floats.count("|")
    assert floats.endswith("|  |")
    assert quantized.endswith("| 81.00 ± 1.41 |")


def test_a_changed_figure_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(json.dumps(DOCUMENT))
    page = "before\n<!-- table: net -->\nold\n<!-- end table -->\nafter\n"
    current = tables.rewrite(page, tmp_path)
    assert tables.rewrite(current, tmp_path) == current
    assert current.startswith("before\n")
    assert current.endswith("after\n")
    assert tables.rewrite(current.replace("90.25", "90.35"), tmp_path) == current


def test_a_marker_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run its benchmark"):
        tables.rewrite("<!-- table: absent -->\n<!-- end table -->\n", tmp_path)
