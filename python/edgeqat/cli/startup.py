# SPDX-License-Identifier: Apache-2.0
"""Answers the command line when the package itself cannot be loaded; needs nothing of it."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeqat.cli.info import collect, render


def is_command_line() -> bool:
    """Whether the running program is `python -m edgeqat` or the script `edgeqat`."""
    arguments = sys.orig_argv[1:]
    if "-m" in arguments and arguments[arguments.index("-m") + 1 :][:1] == ["edgeqat"]:
        return True
    return Path(sys.argv[0]).name == "edgeqat"


def answer_command_line(error: ImportError) -> None:
    """Print what is known and leave with status 1, instead of the traceback that a program gets."""
    if not is_command_line():
        return
    words = sys.orig_argv
    if "info" in words:
        print(render(collect(problem=str(error)), as_json="--json" in words))
    else:
        print(f"edgeqat: {error}", file=sys.stderr)
    raise SystemExit(1)
