"""The study of another reproduction's choices: its numbers, and that it consists of ordinary runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.representations.spec import RSAStagesSpec
from finst.experiments.representations.stages import RSAStages, trials_of
from finst.experiments.reproduction import study
from finst.experiments.reproduction.choices import CHOICES, Choice, baselines
from finst.experiments.reproduction.shift import Direction, Estimate, Shift, shift_findings
from finst.experiments.reproduction.spec import DiscrepancySpec
from finst.experiments.reproduction.study import EXPERIMENTS, Study, explain
from finst.report.wording import capital
from finst.runs.experiment import Unit
from finst.runs.factors import with_factors
from finst.vlm.open import VLM
from tests import tiny
from tests.experiments import synthetic
from tests.experiments.representations import designs

SPEC = DiscrepancySpec(trials=1, pairs=2, permutations=20, bootstraps=20)


def choice_called(key: str) -> Choice:
    return next(choice for choice in CHOICES if choice.key == key)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.key)
def test_every_choice_is_a_possible_change_of_its_baseline(choice: Choice):
    before = baselines(SPEC)[choice.experiment]
    after = with_factors(before, choice.factors)
    assert after != before
    EXPERIMENTS[choice.experiment].check(after, synthetic.reader())
    assert len({other.key for other in CHOICES} | set(EXPERIMENTS)) == len(CHOICES) + len(EXPERIMENTS)


def shift(without: Estimate, with_: Estimate, expected: Direction) -> Shift:
    return Shift("a thing", "cma", ("x=1",), "a number", without, with_, expected, "Because.")


@pytest.mark.parametrize(
    ("without", "with_", "expected", "outcome"),
    [
        (Estimate(0.2, 0.1, 0.3), Estimate(0.5, 0.4, 0.6), "up", "as expected"),
        (Estimate(0.2, 0.1, 0.3), Estimate(0.5, 0.4, 0.6), "down", "the other way"),
        (Estimate(0.2, 0.1, 0.3), Estimate(0.5, 0.4, 0.6), "either", "as expected"),
        (Estimate(0.2, 0.1, 0.45), Estimate(0.5, 0.4, 0.6), "up", "not visible"),
        (Estimate(1.0, 0.9, 1.0), Estimate(0.7), "down", "as expected"),
        (Estimate(1), Estimate(1), "up", "not visible"),
        (Estimate(1), Estimate(15), "up", "as expected"),
        (Estimate(1), Estimate(float("nan")), "up", "not visible"),
    ],
)
def test_overlapping_intervals_are_no_visible_change(
    without: Estimate, with_: Estimate, expected: Direction, outcome: str
):
    assert shift(without, with_, expected).outcome == outcome


def test_findings_have_both_numbers_and_the_verdict_of_every_shift():
    shifts = [
        shift(Estimate(1), Estimate(0.5, 0.25, 0.75), "up"),
        shift(Estimate(1), Estimate(2), "up"),
        shift(Estimate(1), Estimate(1), "up"),
    ]
    findings = shift_findings("some model", shifts, ["one more"], ["how"])
    assert [row[:3] for row in findings.rows] == [
        ("a thing", "1", "0.50 [0.25, 0.75]"),
        ("a thing", "1", "2"),
        ("a thing", "1", "1"),
    ]
    assert [row[3] for row in findings.rows] == [s.verdict for s in shifts]
    assert len({s.verdict for s in shifts}) == 3
    assert "1 of 3" in findings.headline
    assert findings.sentences == (*(s.sentence for s in shifts), "one more")
    assert all("--factor x=1" in s.sentence and s.sentence.endswith("Because.") for s in shifts)


def similarity(planted: designs.Planted) -> xr.Dataset:
    spec = RSAStagesSpec(grid="2x2", trials=4, permutations=20, bootstraps=40, spearman=False)
    return RSAStages().summarise(spec, [designs.unit(trials_of(spec, 4), planted)])


def test_early_features_change_where_they_are_leaked_and_only_there():
    clean = similarity({("last", "colour"): 3})
    leaked = similarity({("last", "colour"): 0})
    early = choice_called("leak").shift(clean, leaked)
    r = leaked["r"].sel(role="last", comparison="features").values
    assert early.with_.value == pytest.approx(r[:2].mean())
    assert early.outcome == "as expected"
    assert choice_called("leak").shift(clean, clean).outcome == "not visible"
    moved = choice_called("normalised").shift(clean, leaked)
    assert "with features in layer" in moved.quantity
    assert moved.outcome == "as expected"


def mediation(effects: synthetic.Effects = synthetic.STAGED, **changes: object) -> xr.Dataset:
    spec = replace(CMASpec(pairs=12, permutations=50, bootstraps=60), **changes)  # pyright: ignore
    return CMA().summarise(spec, synthetic.parts(spec, effects, spread=0.005))


def test_heads_on_a_coarse_grid_tie_at_the_cut_and_noise_swallows_them():
    before = mediation()
    after = before.assign(mean=np.round(before["mean"] / 0.0625) * 0.0625, noise_floor=0.3)
    ties = choice_called("one-sample-bf16").shift(before, after)
    scores = {stage: after["mean"].sel(condition=stage).values for stage in after["condition"].values}
    tied = {stage: int((values == np.sort(values, axis=None)[-20]).sum()) for stage, values in scores.items()}
    assert (ties.without.value, ties.with_.value) == (1, max(tied.values()))
    assert ties.with_.value > 60
    assert ties.outcome == "as expected"
    assert "of 80 heads exactly 0" in ties.quantity
    swallowed = choice_called("bf16-model").shift(before, after)
    planted = [abs(effect) for effects in synthetic.STAGED.values() for effect in effects.values()]
    assert swallowed.with_.value <= len(planted)
    assert swallowed.without.value > 200
    assert swallowed.outcome == "as expected"


def test_stages_that_move_in_depth_are_seen_to_move():
    late = {**synthetic.STAGED, "id_retrieval": {(8, 1): 0.35, (9, 5): 0.2, (9, 4): 0.6}}
    before, after = mediation(), mediation(late)
    moved = choice_called("patched-tokens").shift(before, after)
    assert moved.outcome == "as expected"
    assert moved.with_.value > moved.without.value + 3
    assert choice_called("one-sample").shift(before, after).outcome == "as expected"
    assert choice_called("one-sample").shift(before, before).outcome == "not visible"


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Study, list[str]]:
    """Two choices on random weights, whose answers count as right; then the same again."""
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
