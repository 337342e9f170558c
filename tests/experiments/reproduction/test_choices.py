"""The choices and their measures, on data where the change is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.representations.spec import RSAStagesSpec
from finst.experiments.representations.stages import RSAStages, trials_of
from finst.experiments.reproduction.choices import CHOICES, Choice, baselines
from finst.experiments.reproduction.spec import DiscrepancySpec
from finst.experiments.reproduction.study import EXPERIMENTS
from finst.runs.factors import with_factors
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
