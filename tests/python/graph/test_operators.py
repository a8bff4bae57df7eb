# SPDX-License-Identifier: Apache-2.0
"""The operators that the analyses know: those of edgeqat::Graph, each with a row in the page on coverage."""

from __future__ import annotations

import re
from pathlib import Path

from edgeqat import _C
from edgeqat.graph.operators import COMPUTE, PASS_THROUGH, WEIGHTED

KNOWN = {*WEIGHTED, *COMPUTE, *PASS_THROUGH}


def test_the_page_on_coverage_names_every_operator(repository: Path) -> None:
    page = (repository / "docs" / "coverage.md").read_text()
    rows = re.findall(r"^\| ([a-z_, ]+) \|", page, re.M)[1:]
    assert {name for row in rows for name in row.split(", ")} == KNOWN | {"batch_norm"}


def test_every_operator_has_a_form_in_the_graph() -> None:
    as_slices = {"split", "getitem"}
    assert KNOWN - as_slices <= set(_C.graph_ops())


def test_convolutions_and_poolings_come_in_three_dimensions() -> None:
    tables = {**WEIGHTED, **COMPUTE, **PASS_THROUGH}
    for name in ("conv", "conv_transpose", "max_pool", "avg_pool", "adaptive_avg_pool"):
        dimensions = {re.search(r"(\d)d", str(overload)).group(1) for overload in tables[name]}
        assert dimensions == {"1", "2", "3"}, name
