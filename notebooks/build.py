# SPDX-License-Identifier: Apache-2.0
"""Executes the notebooks: every NAME.py here (percent format) becomes NAME.ipynb with its outputs.

python notebooks/build.py            # needs pip install "edgeqat[notebook]"
"""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
import nbclient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent
LARGEST = 500_000  # bytes; a notebook with bigger pictures cannot be reviewed in a browser


def clean(notebook: NotebookNode) -> None:
    """Drops what changes at every build or names the machine: ids, progress bars, warnings."""
    notebook.cells = [c for c in notebook.cells if not c.source.startswith("# SPDX")]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:02}"
        cell["metadata"] = {}
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]


def build(source: Path) -> Path:
    """Runs one source file from top to bottom and writes the notebook beside it.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; nothing is written.
        ValueError: the notebook is larger than 500 kB.
    """
    notebook = jupytext.read(source)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    clean(notebook)
    text = jupytext.writes(notebook, fmt="ipynb")
    if len(text) > LARGEST:
        raise ValueError(
            f"{source.name}: {len(text):,} bytes, at most {LARGEST:,}; use smaller figures"
        )
    target = source.with_suffix(".ipynb")
    target.write_text(text + "\n")
    return target


def main() -> int:
    for source in sorted(FOLDER.glob("*.py")):
        if source != Path(__file__).resolve():
            target = build(source)
            print(f"{target.name}: {target.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
