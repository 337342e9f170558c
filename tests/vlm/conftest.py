"""Tiny checkpoints, written once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from finst.vlm.open import Reader, open_reader
from tests.tiny import ORGANISM_GEOMETRY, QWEN_GEOMETRY, checkpoint


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """organism's geometry and a chat template of its own."""
    return checkpoint(tmp_path_factory.mktemp("organism_like"), ORGANISM_GEOMETRY)


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published checkpoints' geometry and a tokenizer without template."""
    return checkpoint(tmp_path_factory.mktemp("qwen_like"), QWEN_GEOMETRY, template=False)


@pytest.fixture(scope="session", params=["organism_like", "qwen_like"])
def reader(request: pytest.FixtureRequest, folder: Path, qwen_folder: Path) -> Reader:
    return open_reader(str(folder if request.param == "organism_like" else qwen_folder))
