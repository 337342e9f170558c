"""The study of another reproduction's choices: its numbers, and that it consists of ordinary runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr

from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.representations.stages import RSAStages
from finst.experiments.reproduction import study
from finst.experiments.reproduction.choices import CHOICES, Choice
from finst.experiments.reproduction.spec import DiscrepancySpec
from finst.experiments.reproduction.study import Study, explain
from finst.report.wording import capital
from finst.runs.experiment import Unit
from finst.vlm.open import VLM
from tests import tiny

SPEC = DiscrepancySpec(trials=1, pairs=2, permutations=20, bootstraps=20)


def choice_called(key: str) -> Choice:
    return next(choice for choice in CHOICES if choice.key == key)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Study, list[str]]:
    """Two choices on random weights, whose answers count as correct; then the same again."""
    folder = tmp_path_factory.mktemp("study")
    spec = replace(SPEC, model=str(tiny.checkpoint(folder / "tiny")))
    measured: list[str] = []
    measure = CMA.measure

    def generous(self: CMA, vlm: VLM, spec: CMASpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        measured.append(f"{vlm.dtype}, {spec.logits}, {spec.pairs}")
        data = measure(self, vlm, spec, unit, prepared)
        return data.assign(correct=xr.ones_like(data["correct"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CMA, "measure", generous)
        for experiment in (RSAStages, CMA):  # their own figures are tested elsewhere and take the time
            patch.setattr(experiment, "report", replace(experiment.report, figures=lambda _: ()))
            patch.setattr(experiment, "page", lambda *_: "a page")
        few = (choice_called("leak"), choice_called("one-sample-bf16"))
        patch.setattr(study, "CHOICES", few)
        first = explain(spec, folder / "out")
        first_measured = list(measured)
        second = explain(spec, folder / "out")
        assert measured == first_measured
    return first, second, measured


def test_a_study_is_made_of_ordinary_runs(studied: tuple[Study, Study, list[str]]):
    done, _, measured = studied
    assert measured == ["torch.float32, exact, 2", "torch.bfloat16, bfloat16, 1"]
    runs = {str(path.parent.relative_to(done.folder)) for path in done.folder.glob("*/*/manifest.json")}
    assert runs == {"rsa-stages/baseline", "rsa-stages/leak", "cma/baseline", "cma/one-sample-bf16"}
    leaked = json.loads((done.folder / "rsa-stages/leak/manifest.json").read_text())
    assert (leaked["status"], leaked["spec"]["leak_target_colour"]) == ("finished", True)
    assert [shift.experiment for shift in done.shifts] == ["rsa-stages", "cma"]
    page = done.report.read_text()
    for shift in done.shifts:
        assert capital(shift.name) in page
        assert shift.verdict in page
    figures = {path.name for path in (done.folder / "figures").iterdir()}
    assert figures == {f"{n}.{kind}" for n in ("curves", "maps", "layers", "ranks") for kind in ("png", "pdf", "csv")}


def test_a_study_resumes_and_ends_with_the_same(studied: tuple[Study, Study, list[str]]):
    first, second, _ = studied
    assert second.findings == first.findings
    assert second.shifts == first.shifts


def test_one_pair_is_no_baseline(tmp_path: Path):
    with pytest.raises(FinstError, match="pairs is 1: expected at least 2"):
        explain(replace(SPEC, pairs=1), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_with_another_study_is_left_alone(studied: tuple[Study, Study, list[str]]):
    done, _, _ = studied
    spec = replace(SPEC, model=done.summaries["cma"].attrs["model"], trials=2)
    with pytest.raises(FinstError, match="trials is 1 there and 2 here"):
        explain(spec, done.folder)
