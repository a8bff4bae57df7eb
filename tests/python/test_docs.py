# SPDX-License-Identifier: Apache-2.0
"""The documentation's code runs and prints what the pages say; links lead somewhere."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"(?<!\!)\[[^\]\n]*\]\(([^)\s]+)\)")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run(page: Path, names: dict[str, Any]) -> int:
    """Run the python fences of a page in one namespace; a text fence right behind one is what it must print."""
    text = page.read_text()
    fences = list(FENCE.finditer(text))
    count = 0
    for position, fence in enumerate(fences):
        if fence[1] != "python":
            continue
        line = text.count("\n", 0, fence.start(2))
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            # lines are those of the page: plans and errors name them
            exec(compile("\n" * line + fence[2], page.name, "exec"), names)
        count += 1
        follower = fences[position + 1] if position + 1 < len(fences) else None
        if follower and follower[1] == "text" and not text[fence.end() : follower.start()].strip():
            check = doctest.OutputChecker()
            example = doctest.Example(fence[2], follower[2])
            assert check.check_output(follower[2], said.getvalue(), FLAGS), (
                f"{page.name}:{line + 1} prints something else\n"
                + check.output_difference(example, said.getvalue(), FLAGS)
            )
    return count


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder, for pages that write files, and the caller's seeds and threads afterwards."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("scratch")
def test_the_guide_runs_and_prints_what_it_says(repository: Path) -> None:
    assert run(repository / "docs" / "quantize.md", {"__name__": "guide"}) >= 10


def test_the_readme_runs(repository: Path, scratch: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(288, 4),
    )
    batch = torch.randn(4, 3, 8, 8)
    names = {"model": model.eval(), "example_inputs": batch[:2], "batches": [batch]}
    assert run(repository / "README.md", names) >= 1
    assert {path.suffix for path in scratch.iterdir()} == {".safetensors", ".onnx"}


def test_a_page_that_prints_something_else_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n```text\n3\n```\n")
    with pytest.raises(AssertionError, match=r"page.md:2 prints something else"):
        run(page, {})


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """The relative links of a page whose file or heading does not exist."""
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{page.name}: {link}")
    return broken


def test_links_between_pages_lead_somewhere(repository: Path) -> None:
    pages = [*repository.glob("*.md"), *(repository / "docs").rglob("*.md")]
    assert len(pages) > 10
    assert [link for page in pages for link in broken_links(page)] == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# One heading\n")
    page = tmp_path / "a.md"
    page.write_text("[x](b.md#one-heading) [y](c.md) [z](b.md#another) [w](https://example.org)")
    assert broken_links(page) == ["a.md: c.md", "a.md: b.md#another"]
