"""The factor study: what its numbers say, and that it is made of ordinary runs."""

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
from finst.experiments.reproduction import study as study
from finst.experiments.reproduction.choices import CHOICES, Choice, baselines
from finst.experiments.reproduction.shift import Bend, Direction, Measured
from finst.experiments.reproduction.spec import DiscrepancySpec
from finst.experiments.reproduction.study import EXPERIMENTS, Explained, explain
from finst.report.wording import capital
from finst.runs.experiment import Unit
from finst.runs.factors import with_factors
from finst.vlm.open import VLM
from tests import tiny
from tests.experiments import synthetic
from tests.experiments.representations import designs

SPEC = DiscrepancySpec(trials=1, pairs=2, permutations=20, bootstraps=20)


def choice(key: str) -> Choice:
    return next(one for one in CHOICES if one.key == key)


@pytest.mark.parametrize("one", CHOICES, ids=lambda one: one.key)
def test_every_choice_is_a_possible_change_of_its_baseline(one: Choice):
    before = baselines(SPEC)[one.experiment]
    after = with_factors(before, one.factors)
    assert after != before
    EXPERIMENTS[one.experiment].check(after, synthetic.reader())
    assert len({other.key for other in CHOICES} | set(EXPERIMENTS)) == len(CHOICES) + len(EXPERIMENTS)


def bend(without: Measured, with_: Measured, expected: Direction) -> Bend:
    return Bend("a thing", "cma", ("x=1",), "a number", without, with_, expected, "Because.")


@pytest.mark.parametrize(
    ("without", "with_", "expected", "outcome"),
    [
        (Measured(0.2, 0.1, 0.3), Measured(0.5, 0.4, 0.6), "up", "as expected"),
        (Measured(0.2, 0.1, 0.3), Measured(0.5, 0.4, 0.6), "down", "the other way"),
        (Measured(0.2, 0.1, 0.3), Measured(0.5, 0.4, 0.6), "either", "as expected"),
        (Measured(0.2, 0.1, 0.45), Measured(0.5, 0.4, 0.6), "up", "not visible"),
        (Measured(1.0, 0.9, 1.0), Measured(0.7), "down", "as expected"),
        (Measured(1), Measured(1), "up", "not visible"),
        (Measured(1), Measured(15), "up", "as expected"),
        (Measured(1), Measured(float("nan")), "up", "not visible"),
    ],
)
def test_what_overlaps_is_no_bend(without: Measured, with_: Measured, expected: Direction, outcome: str):
    assert bend(without, with_, expected).outcome == outcome


def test_a_bend_is_told_with_both_numbers():
    said = bend(Measured(1), Measured(0.5, 0.25, 0.75), "up").sentence
    assert said == "a thing (--factor x=1): a number, 1 → 0.50 [0.25, 0.75]: bends it the other way. Because."


def similarity(planted: designs.Planted) -> xr.Dataset:
    spec = RSAStagesSpec(grid="2x2", trials=4, permutations=20, bootstraps=40, spearman=False)
    return RSAStages().summarise(spec, [designs.unit(trials_of(spec, 4), planted)])


def test_early_features_bend_where_they_are_leaked_and_only_there():
    clean = similarity({("last", "colour"): 3})
    leaked = similarity({("last", "colour"): 0})
    found = choice("leak").bend(clean, leaked)
    r = leaked["r"].sel(role="last", comparison="features").values
    assert found.with_.value == pytest.approx(r[:2].mean())
    assert found.outcome == "as expected"
    assert choice("leak").bend(clean, clean).outcome == "not visible"
    moved = choice("normalised").bend(clean, leaked)
    assert "with features in layer" in moved.quantity
    assert moved.outcome == "as expected"


def mediation(effects: synthetic.Effects = synthetic.STAGED, **changes: object) -> xr.Dataset:
    spec = replace(CMASpec(pairs=12, permutations=50, bootstraps=60), **changes)  # pyright: ignore
    return CMA().summarise(spec, synthetic.parts(spec, effects, spread=0.005))


def test_heads_on_a_coarse_grid_tie_at_the_cut_and_noise_swallows_them():
    before = mediation()
    after = before.assign(mean=np.round(before["mean"] / 0.0625) * 0.0625, noise_floor=0.3)
    found = choice("one-sample-bf16").bend(before, after)
    scores = {stage: after["mean"].sel(condition=stage).values for stage in after["condition"].values}
    tied = {stage: int((values == np.sort(values, axis=None)[-20]).sum()) for stage, values in scores.items()}
    assert (found.without.value, found.with_.value) == (1, max(tied.values()))
    assert found.with_.value > 60
    assert found.outcome == "as expected"
    assert "of 80 heads exactly 0" in found.quantity
    swallowed = choice("bf16-model").bend(before, after)
    planted = [abs(effect) for effects in synthetic.STAGED.values() for effect in effects.values()]
    assert swallowed.with_.value <= len(planted)
    assert swallowed.without.value > 200
    assert swallowed.outcome == "as expected"


def test_stages_that_move_in_depth_are_seen_to_move():
    late = {**synthetic.STAGED, "id_retrieval": {(8, 1): 0.35, (9, 5): 0.2, (9, 4): 0.6}}
    before, after = mediation(), mediation(late)
    moved = choice("patched-tokens").bend(before, after)
    assert moved.outcome == "as expected"
    assert moved.with_.value > moved.without.value + 3
    assert choice("one-sample").bend(before, after).outcome == "as expected"
    assert choice("one-sample").bend(before, before).outcome == "not visible"


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Explained, Explained, list[str]]:
    """Two choices on random weights, whose answers count as right; then the same again."""
    folder = tmp_path_factory.mktemp("study")
    spec = replace(SPEC, model=str(tiny.checkpoint(folder / "tiny")))
    said: list[str] = []
    measured: list[str] = []
    measure = CMA.measure

    def generous(self: CMA, vlm: VLM, spec: CMASpec, unit: Unit) -> xr.Dataset:
        measured.append(f"{vlm.dtype}, {spec.logits}, {spec.pairs}")
        data = measure(self, vlm, spec, unit)
        return data.assign(correct=xr.ones_like(data["correct"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CMA, "measure", generous)
        for experiment in (RSAStages, CMA):  # their own figures are tested elsewhere and take the time
            patch.setattr(experiment, "draw", lambda *_: ())
        few = (choice("leak"), choice("one-sample-bf16"))
        patch.setattr(study, "CHOICES", few)
        pages = {name: lambda *_: "a page" for name in EXPERIMENTS}
        first = explain(spec, folder / "out", pages)
        said += measured
        second = explain(spec, folder / "out", pages)
        assert measured == said
    return first, second, said


def test_a_study_is_made_of_ordinary_runs(studied: tuple[Explained, Explained, list[str]]):
    found, _, measured = studied
    assert measured == ["torch.float32, exact, 2", "torch.bfloat16, bfloat16, 1"]
    runs = {str(path.parent.relative_to(found.folder)) for path in found.folder.glob("*/*/manifest.json")}
    assert runs == {"rsa-stages/baseline", "rsa-stages/leak", "cma/baseline", "cma/one-sample-bf16"}
    leaked = json.loads((found.folder / "rsa-stages/leak/manifest.json").read_text())
    assert (leaked["status"], leaked["spec"]["leak_target_colour"]) == ("finished", True)
    assert [one.experiment for one in found.bends] == ["rsa-stages", "cma"]
    page = found.report.read_text()
    for one in found.bends:
        assert capital(one.name) in page
        assert one.verdict in page
    figures = {path.name for path in (found.folder / "figures").iterdir()}
    assert figures == {f"{n}.{kind}" for n in ("curves", "maps", "layers", "ranks") for kind in ("png", "pdf", "csv")}


def test_a_study_goes_on_where_it_was_and_ends_with_the_same(studied: tuple[Explained, Explained, list[str]]):
    first, second, _ = studied
    assert second.account == first.account
    assert second.bends == first.bends


def test_one_pair_is_no_baseline(tmp_path: Path):
    with pytest.raises(FinstError, match="pairs is 1: expected at least 2"):
        explain(replace(SPEC, pairs=1), tmp_path / "new", {})
    assert not (tmp_path / "new").exists()


def test_a_folder_with_another_study_is_left_alone(studied: tuple[Explained, Explained, list[str]]):
    found, _, _ = studied
    spec = replace(SPEC, model=found.summaries["cma"].attrs["model"], trials=2)
    with pytest.raises(FinstError, match="trials is 1 there and 2 here"):
        explain(spec, found.folder, {})
