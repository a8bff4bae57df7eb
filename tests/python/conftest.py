# SPDX-License-Identifier: Apache-2.0
"""Fixtures that many tests share: where the real data sets and published models lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The project's root folder; skips where the tests run outside a source tree."""
    if not (REPOSITORY / "pyproject.toml").exists():
        pytest.skip(f"{REPOSITORY} is no source tree")
    return REPOSITORY


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The data sets: EDGEQAT_DATA, else ../shared/data; skips where the folder is absent."""
    folder = Path(os.environ.get("EDGEQAT_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real data: {folder} does not exist; set EDGEQAT_DATA to the data folder")
    return folder


@pytest.fixture(scope="session")
def mlperf_tiny(data_dir: Path) -> Path:
    """MLPerf Tiny's published models (float, folded, INT8)."""
    return _present(data_dir / "models_mlperf_tiny")


@pytest.fixture(scope="session")
def cifar10(data_dir: Path) -> Path:
    """CIFAR-10; the loaders of examples/datasets.py take its parent."""
    return _present(data_dir / "cifar10")


def _present(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"real data: {folder} does not exist; set EDGEQAT_DATA to a folder that has it")
    return folder
