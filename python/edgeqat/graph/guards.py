# SPDX-License-Identifier: Apache-2.0
"""Conditions on input sizes under which a captured graph holds: a branch on a size is decided at capture."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import NoReturn

import torch

from edgeqat.graph.arguments import Signature

_ARGUMENT = re.compile(r"L\['(\w+)'\]")
_NODES = (
    *(ast.Expression, ast.Compare, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Call, ast.Attribute),
    *(ast.Subscript, ast.Name, ast.Constant, ast.Load, ast.And, ast.Or, ast.Not, ast.USub),
    *(ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.Pow),
    *(ast.Eq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)
# torch supposes that sizes are neither 0 nor 1; the graph is right for these too.
_NOT_ONE = re.compile(r"(!= \d+|> 1|>= 2)$")


def conditions(
    programs: Iterable[torch.export.ExportedProgram], signature: Signature
) -> tuple[str, ...]:
    """Python expressions over forward's arguments, such as 'x.size()[0] <= 4'; all must be true."""
    found: dict[str, None] = {}
    for program in programs:
        for guard in getattr(program, "_guards_code", None) or ():
            expression = _ARGUMENT.sub(lambda m: _local(m.group(1), signature), guard)
            if not _NOT_ONE.search(expression) and _is_plain(expression, signature):
                found.setdefault(expression)
    return tuple(found)


def violated(condition: str) -> NoReturn:
    """Raises what a call outside the graph's conditions gets."""
    raise ValueError(
        f"forward: the model was captured for inputs with {condition}, which these are not; prepare it again with example "
        "inputs of this kind (a size that must stay 1: give another size for the batch), or use mode='module'"
    )


def _local(name: str, signature: Signature) -> str:
    for parameter, kind, _, _ in signature.parameters:
        if parameter == name:
            return name
        if kind == "VAR_KEYWORD":
            return f"{parameter}[{name!r}]"
    return name


def _is_plain(expression: str, signature: Signature) -> bool:
    """True for arithmetic on sizes of arguments: the expression becomes code."""
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        return False
    names = {parameter for parameter, *_ in signature.parameters}
    return all(
        isinstance(node, _NODES)
        and (not isinstance(node, ast.Name) or node.id in names)
        and (not isinstance(node, ast.Attribute) or node.attr == "size")
        for node in ast.walk(tree)
    )
