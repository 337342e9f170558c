"""A tiny checkpoint for the representational experiments."""

from __future__ import annotations

from pathlib import Path

import pytest

from finst.vlm.open import VLM, Reader, open_reader, open_vlm
from tests import tiny


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("representations") / "tiny")


@pytest.fixture(scope="package")
def reader(folder: Path) -> Reader:
    return open_reader(str(folder))


@pytest.fixture(scope="package")
def vlm(folder: Path) -> VLM:
    return open_vlm(str(folder), dtype="float64", device="cpu")
