# SPDX-License-Identifier: Apache-2.0
"""The examples in the docstrings of edgeqat.functional and edgeqat.testing run and print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    ("module", "minimum"),
    [
        ("edgeqat.functional._observe", 2),
        ("edgeqat.functional._fake_quantize", 3),
        ("edgeqat.functional._observe_fake_quantize", 1),
        ("edgeqat.functional._codes", 4),
        ("edgeqat.testing", 1),
        ("edgeqat.testing._compare", 1),
        ("edgeqat.testing._isa", 1),
        ("edgeqat.testing._samples", 3),
    ],
)
def test_examples(module: str, minimum: int) -> None:
    tests = doctest.DocTestFinder().find(importlib.import_module(module))
    with_examples = [test for test in tests if test.examples]
    assert len(with_examples) >= minimum
    for test in with_examples:
        assert doctest.DocTestRunner().run(test).failed == 0, test.name
