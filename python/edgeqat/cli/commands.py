# SPDX-License-Identifier: Apache-2.0
"""The commands and their exit codes: 0 good, 1 a check failed, 2 wrong usage, 3 a bad file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeqat._C import FormatError
from edgeqat.cli import info, inspect

GOOD, CHECK_FAILED, BAD_FILE = 0, 1, 3  # argparse leaves with 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: those of the command line if None.

    Returns:
        The exit code.

    Example:
        >>> main(["inspect", "no-such-file.safetensors"])
        3
    """
    given = _parser().parse_args(arguments)
    try:
        if given.command == "info":
            return _info(given.json)
        return _inspect(given.file, as_json=given.json, check_data=given.check_data)
    except BrokenPipeError:  # `edgeqat inspect FILE | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    except (FormatError, OSError) as error:
        print(f"edgeqat {given.command}: {error}", file=sys.stderr)
        return BAD_FILE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgeqat",
        description="Quantization-aware training for edge hardware.",
        epilog="exit codes: 0 good, 1 a check failed, 2 wrong usage, 3 a bad file",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = "what was built and what is running: versions, instruction set, CUDA, ABI"
    command = commands.add_parser("info", help=about, description=about)
    command.add_argument("--json", action="store_true", help="as JSON")
    about = "what a checkpoint holds: plan, tensors, bytes, graph"
    command = commands.add_parser("inspect", help=about, description=about)
    command.add_argument("file", type=Path, metavar="FILE", help="a .safetensors file of edgeqat")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--check-data", action="store_true", help="compare all checksums")
    return parser


def _info(as_json: bool) -> int:
    facts = info.collect()
    print(info.render(facts, as_json=as_json), flush=True)
    return CHECK_FAILED if facts["problem"] else GOOD


def _inspect(path: Path, *, as_json: bool, check_data: bool) -> int:
    content = inspect.describe(path, check_data=check_data)
    text = json.dumps(content, indent=2) if as_json else inspect.render(content)
    print(text, flush=True)
    return GOOD
