"""Checkpoints for the command line, and a way to call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import xarray as xr

from finst.cli.main import main
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.runs.experiment import Unit
from finst.vlm.open import VLM
from tests.tiny import checkpoint


@dataclass(frozen=True)
class Outcome:
    """What a terminal shows, and the exit status."""

    status: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line that states the error."""
        lines = [line for line in self.err.splitlines() if line.startswith("finst: ")]
        assert self.status == 2, (self.status, self.err)
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0]
        assert "Traceback" not in self.err
        return lines[0]


Finst = Callable[..., Outcome]


@pytest.fixture
def finst(capsys: pytest.CaptureFixture[str]) -> Finst:
    """``finst(*arguments)`` in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint of random weights: it answers nothing correctly."""
    return checkpoint(tmp_path_factory.mktemp("cli") / "tiny")


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose tokenizer has only single letters, so that all answers begin with the token of a space."""
    folder = checkpoint(tmp_path_factory.mktemp("cli") / "letters")
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["merges"] = []
    file.write_text(json.dumps(tokenizer))
    return folder


@pytest.fixture
def always_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights answer nothing correctly; counted as correct, their numbers reach the report."""
    measure = CMA.measure

    def generous(self: CMA, vlm: VLM, spec: CMASpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        measured = measure(self, vlm, spec, unit, prepared)
        return measured.assign(correct=xr.ones_like(measured["correct"]))

    monkeypatch.setattr(CMA, "measure", generous)
