"""finst verify: numbers out of range, folders without a run, and which kind of verification a run gets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finst.cli.options import Verify
from finst.cli.verification import remeasure, replay
from finst.cli.verification.verify import verify
from finst.errors import FinstError
from tests.cli.conftest import Finst
from tests.runs.old_runs import unpacked
from tests.runs.toy import ToySpec, run_toy


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*_: object, **__: object) -> None:
        pytest.fail("weights were loaded")

    monkeypatch.setattr(replay, "open_vlm", loads)
    monkeypatch.setattr(remeasure, "open_vlm", loads)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("changes", [{"cells": 0}, {"cells": -3}, {"units": 0}, {"seed": -1}])
def test_numbers_out_of_range(changes: dict[str, int]) -> None:
    (name, value) = next(iter(changes.items()))
    with pytest.raises(FinstError, match=rf"{name} is {value}.*expected at least 1 cell, 1 unit"):
        verify(replace(Verify("planted"), **changes))


def test_an_experiment_that_is_not_registered_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = run_toy(ToySpec(str(tiny)), tmp_path / "toy").folder
    with pytest.raises(FinstError, match="unknown experiment 'toy': expected one of cma, pca"):
        verify(Verify(str(tiny), run=folder))


@pytest.mark.parametrize(("experiment", "kind"), [("cma", "cells"), ("accuracy", "units")])
def test_the_command_prints_the_outcome_and_writes_the_result(
    finst: Finst, tmp_path: Path, experiment: str, kind: str
) -> None:
    folder = unpacked(experiment, tmp_path)
    outcome = finst("verify", "planted", "--run", folder, "--cells", 3, "--json", tmp_path / "x.json")
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith("planted: ")
    assert str(folder) in lines[0]
    assert lines[-1].startswith("reproduced: ")
    written = json.loads((tmp_path / "x.json").read_text())
    assert written["outcome"] == "reproduced"
    assert written[kind] == {"cells": 3, "units": [written.get("units", [0])[0]]}[kind]
