"""Every intervention on the planted models: the effect that the construction implies, at its dose, and none without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr

import finst.commands  # noqa: F401  (imports every experiment)
from finst.builtin.planted.circuit import ANSWER_GAIN, ID_GAIN
from finst.builtin.planted.mechanism import COUNTS, PLANTED, Place
from finst.experiments import key_swap, reuse
from finst.experiments.frame_patch import FramePatch, FramePatchSpec
from finst.experiments.heads import HeadMaps
from finst.experiments.intervention import InterventionSpec
from finst.experiments.key_swap import KeySwap, KeySwapSpec
from finst.experiments.reuse import Reuse, ReuseSpec
from tests.planted import measured, mediated, vlm

BINDING, COUNTING = ("planted", "planted-absolute"), "planted-counting"


@cache
def maps(name: str) -> HeadMaps:
    """As a run of causal mediation finds them."""
    return HeadMaps.of(mediated(name, pairs=8, pairs_per_unit=8), vlm(name).weights_hash)


@dataclass(frozen=True)
class Control:
    """An intervention at a tiny size, and what it must find in a model with position IDs."""

    experiment: Callable[[HeadMaps], Any]
    spec: InterventionSpec
    holds: Callable[[xr.Dataset, Any], None]
    """Asserts effect, dose and controls, of a summary and its spec."""

    def run(self, name: str) -> tuple[xr.Dataset, Any]:
        spec = replace(self.spec, model=name, device="cpu")
        return measured(self.experiment(maps(name)), spec), spec


def holds(texts: xr.DataArray, place: Place) -> xr.DataArray:
    """Which sets of heads, as ``L3H1 L4H6``, hold one."""
    layer, head = place
    names = [f"L{layer}H{head}", f"L{layer}K{head}", f"L{layer}K*"]
    return xr.apply_ufunc(lambda text: any(name in text.split() for name in names), texts, vectorize=True)


def the(name: str, stage: str) -> Place:
    (place,) = PLANTED[name].heads[stage]
    return place


def swaps_keys(found: xr.Dataset, spec: KeySwapSpec) -> None:
    """Both objects' IDs are equal at half the dose of an exchange, or where one alone moves the whole way."""
    assert found["right_before"] == 1
    after = found["after"].sel(group="all")
    for reach in ("one KV head", "KV heads", "layers"):
        assert after.sel(edit=f"{reach}, both").values.tolist() == [0, 1, 1, 1]
        assert after.sel(edit=f"{reach}, queried", dose=[0.25, 0.75, 2]).values.tolist() == [0, 0, 1]
    assert found["after"].sel(edit=key_swap.PAPER, dose=1).values.tolist() == [1, 1, 1]
    assert found["chosen_dose"] == 0.75
    controls = found["heads"][[name.startswith("random layers") for name in found["edit"].values]]
    others = controls[~holds(controls, the(spec.model, "feature_retrieval"))]["edit"]
    assert others.size
    assert (after.sel(edit=others) == 0).all()
    assert (after.sel(edit="random direction 0", dose=[0.25, 0.75, 1]) == 0).all()


def writes_ids_into_questions(found: xr.Dataset, spec: ReuseSpec) -> None:
    """The strongest ID names: that of the question's object is there at 0.2, and what is written at 2/17 a dose."""
    expected = predicted(spec).isel(trial=np.flatnonzero(~found["choosing"].values)).mean("trial")
    share = found["share"].sel(half="reporting").transpose("set", "mode", "k", "dose")
    assert share.sel(set="top", mode="answer", k=1).values.tolist() == [0, 0, 1, 1]
    assert found["chosen_k"].sel(mode="answer") == 1
    assert found["chosen_dose"].sel(mode="answer") == 2
    low, high = (expected.sel(end=end).transpose("mode", "dose") for end in ("certain", "possible"))
    assert float(low.sel(mode="elsewhere").max()) > 0.2
    for k in spec.ks:
        top = share.sel(set="top", k=k)
        assert ((low <= top) & (top <= high)).all()
    controls = found["heads"].sel(set=[name for name in found["set"].values if name != "top"])
    others = ~holds(controls, the(spec.model, "id_selection"))
    assert others.sum() >= controls.size // 2
    assert (share.where(others) > 0).sum() == 0


def predicted(spec: ReuseSpec) -> xr.DataArray:
    """By geometry alone whether the cell whose ID is written must be named, or may be since others tie with it.

    On the full lattice IDs of cells at distance d (rows + columns) have the product 4 - 2 d, in either coding.
    """
    cells = np.array(reuse.GRID.cells)
    product = 4 - 2 * np.abs(cells[:, None] - cells[None]).sum(-1)
    asked = reuse.questions(spec)
    values = np.zeros((len(asked), len(reuse.MODES), len(spec.doses), 2))
    for trial, question in enumerate(asked):
        for mode, wanted in enumerate((question.answer, question.elsewhere)):
            written = product[wanted] - mode * product[question.answer]
            for dose, size in enumerate(spec.doses):
                written_gain = size * ID_GAIN / (2 * len(cells) - 1)
                score = ANSWER_GAIN * product[question.reference] + written_gain * written
                best = np.flatnonzero(np.isclose(score, score.max()))
                values[trial, mode, dose] = best.tolist() == [wanted], wanted in best
    coords = {"mode": list(reuse.MODES), "dose": list(spec.doses), "end": ["certain", "possible"]}
    return xr.DataArray(values, dims=("trial", "mode", "dose", "end"), coords=coords)


def moves_arrangements(found: xr.Dataset, spec: FramePatchSpec) -> None:
    """The coding says which of the two undescribed objects; without the edit neither is chosen by anything."""
    coding = PLANTED[spec.model].coding
    after = found["after"].sel(group="all").transpose("named", "set", "k")
    assert found["source_right"].all()
    assert after.sel(set="top", k=1).values.tolist() == [float(coding == name) for name in ("relative", "absolute")]
    assert (after.sel(set="top") == after.sel(set="top", k=1)).all()
    assert found["chosen_k"] == 1
    assert (found["before"].sel(group="all", named=coding) < 0.8).all()
    controls = found["heads"].sel(set=[name for name in found["set"].values if name != "top"])
    others = ~holds(controls, the(spec.model, "id_selection"))
    changed = (found["gained"] + found["lost"]).sel(group="all")
    assert (changed.where(others) > 0).sum() == 0


CONTROLS: Mapping[str, Control] = {
    "key-swap": Control(KeySwap, KeySwapSpec(trials=8, estimation=4, k=1, doses=(0.25, 0.75, 1, 2)), swaps_keys),
    "reuse": Control(
        Reuse, ReuseSpec(trials=2, estimation=1, ks=(1, 3), doses=(0.5, 1, 2, 4), draws=1), writes_ids_into_questions
    ),
    "frame-patch": Control(FramePatch, FramePatchSpec(trials=2, ks=(1, 3)), moves_arrangements),
}
"""Every intervention: a new one is added here."""


def test_every_intervention_has_a_positive_control():
    assert {type(control.spec) for control in CONTROLS.values()} == set(InterventionSpec.__subclasses__())


@pytest.mark.parametrize("model", BINDING)
@pytest.mark.parametrize("name", CONTROLS)
def test_it_has_the_effect_that_the_construction_implies(name: str, model: str):
    CONTROLS[name].holds(*CONTROLS[name].run(model))


@pytest.mark.parametrize("name", CONTROLS)
def test_it_has_no_effect_where_nothing_is_bound(name: str):
    """The one head that counts is not among those that are edited as others are, by lot: it would be heard."""
    found, _ = CONTROLS[name].run(COUNTING)
    assert not maps(COUNTING).above[:2].any()
    assert name == "key-swap" or not holds(found["heads"], COUNTS).any()
    assert (found["gained"] + found["lost"] == 0).all()
