# SPDX-License-Identifier: Apache-2.0
"""Renders the tables of the pages from tests/bench/results/*.json, the only source of their figures.

    python tests/bench/tables.py            # rewrites the pages between their markers
    python tests/bench/tables.py --check    # fails where a page and the results disagree

A table stands between ``<!-- table: NAME -->`` and ``<!-- end table -->``; NAME is the JSON file's
stem.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
PAGES = (REPOSITORY / "README.md", REPOSITORY / "docs" / "benchmarks.md")
BLOCK = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end table -->)", re.DOTALL)


def _spread(values: list[float], sign: str = "") -> str:
    mean = f"{statistics.mean(values):{sign}.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def comparison_table(document: dict[str, Any]) -> str:
    """Float, PTQ and QAT rows of one network, as the comparing examples write them."""
    results = document["results"]
    reference = {r["seed"]: r["reported"] for r in results if r["row"] == "float"}
    float_bytes = next(r["checkpoint_bytes"] for r in results if r["row"] == "float")
    extra: dict[str, str] = document.get("extra_columns", {})  # key of a result -> title
    titles = ["", "accuracy, %", "against float", "checkpoint, bytes", "of float"]
    titles += ["ONNX Runtime: accuracy, %", "same class, %", *extra.values()]
    lines = [
        f"|{'|'.join(f' {title}'.rstrip() + ' ' for title in titles)}|",
        "|" + "---|" * len(titles),
    ]
    for row in dict.fromkeys(r["row"] for r in results):
        runs = [r for r in results if r["row"] == row]
        pairs = [r["reported"] - reference[r["seed"]] for r in runs if r["seed"] in reference]
        against = _spread(pairs, "+") if pairs and row != "float" else ""
        # The file's size differs by a few bytes between seeds (scales print with more or fewer
        # digits).
        size = max((r.get("checkpoint_bytes", 0) for r in runs), default=0)
        onnx = [r["onnx_accuracy"] for r in runs if "onnx_accuracy" in r]
        same = [r["onnx_agreement"] for r in runs if "onnx_agreement" in r]
        cells = [
            row,
            _spread([r["reported"] for r in runs]),
            against,
            f"{size:,}" if size else "",
            f"{size / float_bytes:.3f}" if size and row != "float" else "",
            _spread(onnx) if onnx else "",
            f"{min(same):.2f}" if same else "",
        ]
        for key in extra:
            values = [r[key] for r in runs if key in r]
            cells.append(_spread(values) if values else "")
        lines.append("| " + " | ".join(cells) + " |")
    seeds = ", ".join(str(s) for s in document["seeds"])
    lines += [
        "",
        f"{document['task']}; seeds {seeds}; `{document['command']}`; {document['cpu']}, "
        f"torch {document['torch']}, {document['date']}.",
    ]
    return "\n".join(lines)


def generic_table(document: dict[str, Any]) -> str:
    """Any other result: its ``columns`` and ``rows`` as they are, then where they come from."""
    lines = [
        "| " + " | ".join(document["columns"]) + " |",
        "|" + "---|" * len(document["columns"]),
    ]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in document["rows"]]
    lines += ["", f"`{document['command']}`; {document['cpu']}, {document['date']}."]
    return "\n".join(lines)


def render(document: dict[str, Any]) -> str:
    """The markdown of one results file."""
    return comparison_table(document) if "results" in document else generic_table(document)


def rewrite(text: str, results: Path = RESULTS) -> str:
    """Returns the page with every marked table replaced by what the results say.

    Raises:
        FileNotFoundError: a marker names a results file that does not exist.
    """

    def table(match: re.Match[str]) -> str:
        path = results / f"{match['name']}.json"
        if not path.exists():
            raise FileNotFoundError(
                f"table {match['name']!r}: {path} does not exist; run its benchmark"
            )
        return f"{match[1]}{render(json.loads(path.read_text()))}\n{match[3]}"

    return BLOCK.sub(table, text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    options = parser.parse_args()
    differing = 0
    for page in PAGES:
        before = page.read_text()
        after = rewrite(before)
        if before == after:
            print(f"{page.name}: tables agree with tests/bench/results")
        elif options.check:
            print(f"{page.name}: tables differ; run python tests/bench/tables.py", file=sys.stderr)
            differing += 1
        else:
            page.write_text(after)
            print(f"{page.name}: tables rewritten")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
