"""Every intervention on the planted models: the effect that the construction implies, at its dose, and none without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr

from finst.analysis.mediation import STAGES
from finst.builtin.planted.circuit import ANSWER_GAIN, ID_GAIN
from finst.builtin.planted.mechanism import COUNTS, PLANTED, Place
from finst.cli.effects import interventions
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.coco.spec import CocoSpec
from finst.experiments.interventions.counting.spec import CountingSpec
from finst.experiments.interventions.frame_patch.experiment import FramePatch
from finst.experiments.interventions.frame_patch.spec import FramePatchSpec
from finst.experiments.interventions.key_swap.experiment import KeySwap
from finst.experiments.interventions.key_swap.report import EDITED, PAPER, REACHES, edit_name
from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.experiments.interventions.photoreal.design import ROLES
from finst.experiments.interventions.photoreal.experiment import Photoreal
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.experiments.interventions.protocol import Intervention
from finst.experiments.interventions.rescue.experiment import Rescue
from finst.experiments.interventions.rescue.report import WRONG
from finst.experiments.interventions.rescue.spec import RescueSpec
from finst.experiments.interventions.reuse.design import GRID, questions
from finst.experiments.interventions.reuse.experiment import Reuse
from finst.experiments.interventions.reuse.report import MODES
from finst.experiments.interventions.reuse.spec import ReuseSpec
from finst.experiments.interventions.spec import InterventionSpec
from finst.experiments.interventions.transfer import experiment as transfer
from finst.experiments.interventions.transfer.experiment import Transfer
from finst.experiments.interventions.transfer.spec import TransferSpec
from tests.builtin import test_planted
from tests.experiments.interventions import small
from tests.experiments.interventions.coco import test_experiment as test_coco
from tests.planted import measured, mediated, vlm

BINDING, COUNTING = ("planted", "planted-absolute"), "planted-counting"
ALL = (*BINDING, COUNTING)
DESCRIBED = ("description-2x2", "description-3x3", "description-sided")
USER_TURN: Mapping[str, Any] = {"placement": "user_turn"}


@cache
def maps(name: str) -> HeadMaps:
    """As a run of causal mediation finds them."""
    return HeadMaps.of(mediated(name, pairs=8, pairs_per_unit=8), vlm(name).weights_hash)


@dataclass(frozen=True)
class Control:
    """An intervention at a tiny size, and what it must find in a model with position IDs."""

    experiment: type[Intervention[Any]]
    spec: InterventionSpec
    holds: Callable[[xr.Dataset, Any], None]
    """Asserts effect, dose and controls, of a summary or answers and the spec."""
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {name: {} for name in ALL})
    """Where it is run, and what differs in the spec there."""
    found: Callable[[Any, Any, HeadMaps], xr.Dataset] = measured
    """The summary, or the answers where these are enough."""
    right: Callable[[xr.Dataset], xr.DataArray] | None = None
    """Answers that must be right without an edit, whatever the model; None where a model that counts has none."""

    def run(self, name: str) -> tuple[xr.Dataset, Any]:
        spec = replace(self.spec, **{"model": name, "device": "cpu"} | dict(self.models[name]))
        return self.found(self.experiment(), spec, maps(name)), spec


@dataclass(frozen=True)
class Elsewhere:
    """An intervention that the planted models cannot do as they are, and the test that stands in for it."""

    spec: type[InterventionSpec]
    test: Callable[..., None]


def answered(experiment: Any, spec: Any, inputs: HeadMaps) -> xr.Dataset:
    """The answers of the first unit, by trial."""
    return small.measured(experiment, vlm(spec.model), spec, inputs)


def holds(texts: xr.DataArray, place: Place) -> xr.DataArray:
    """Which sets of heads, as ``L3H1 L4H6``, hold one."""
    layer, head = place
    names = [f"L{layer}H{head}", f"L{layer}K{head}", f"L{layer}K*"]
    return xr.apply_ufunc(lambda text: any(name in text.split() for name in names), texts, vectorize=True)


def the(name: str, stage: str) -> Place:
    (place,) = PLANTED[name].heads[stage]
    return place


def swaps_keys(found: xr.Dataset, spec: KeySwapSpec) -> None:
    """Both objects' IDs are equal at half the dose of an exchange, or where one alone moves the whole way.

    A random direction may change the answers on one side, with parts that hold rows, but at a quarter of an exchange no
    direction of this length changes any.
    """
    assert found["right_before"] == 1
    after = found["after"].sel(group="all")
    one, both = EDITED
    for reach in REACHES:
        assert after.sel(edit=edit_name(reach, both)).values.tolist() == [0, 1, 1, 1]
        assert after.sel(edit=edit_name(reach, one), dose=[0.25, 0.75, 2]).values.tolist() == [0, 0, 1]
    assert found["after"].sel(edit=PAPER, dose=1).values.tolist() == [1, 1, 1]
    assert found["chosen_dose"] == 0.75
    controls = found["heads"][[name.startswith("random layers") for name in found["edit"].values]]
    others = controls[~holds(controls, the(spec.model, "feature_retrieval"))]["edit"]
    assert others.size
    assert (after.sel(edit=others) == 0).all()
    blind = after.sel(edit=[name for name in after["edit"].values if name.startswith("random direction")])
    assert (blind.sel(dose=0.25) == 0).all()
    assert (blind.sel(dose=[0.75, 1]) < 1).all()


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
    cells = np.array(GRID.cells)
    product = 4 - 2 * np.abs(cells[:, None] - cells[None]).sum(-1)
    trials = questions(spec)
    values = np.zeros((len(trials), len(MODES), len(spec.doses), 2))
    for trial, question in enumerate(trials):
        for mode, wanted in enumerate((question.answer, question.elsewhere)):
            written = product[wanted] - mode * product[question.answer]
            for dose, size in enumerate(spec.doses):
                written_gain = size * ID_GAIN / (2 * len(cells) - 1)
                score = ANSWER_GAIN * product[question.reference] + written_gain * written
                best = np.flatnonzero(np.isclose(score, score.max()))
                values[trial, mode, dose] = best.tolist() == [wanted], wanted in best
    coords = {"mode": list(MODES), "dose": list(spec.doses), "end": ["certain", "possible"]}
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


def steers_from_half_a_dose_on(found: xr.Dataset, spec: PhotorealSpec) -> None:
    """Linear in the ID: at dose 1 the other side's own, and beyond one half nearer to it than to what it was.

    The ID at the words, the selected ID and the query are each of them enough.
    """
    assert found["estimated_right"].values.tolist() == [1, 1]
    top = found["said"].sel(set="top", k=1)
    assert (top.sel(dose=0.25) == ROLES.index("target")).all()
    assert (top.sel(dose=[0.75, 1.0]) == ROLES.index("described")).all()
    assert (top.sel(dose=30.0, stage="feature_retrieval") == ROLES.index("described")).all()
    assert (found["said"].sel(set=["random 0", "layer-matched 0"], dose=[0.75, 1.0]) == ROLES.index("target")).all()


def works_in_other_descriptions(found: xr.Dataset, spec: TransferSpec) -> None:
    """An ID selection head puts out 2/(2n-1) of an ID: it takes more than (2n-1)/(2(2m-1)) of an n-object picture's
    in one of m objects, 1.17 from 2x2 to a pair and 2.83 from 3x3. IDs at words have one size: 1/2 is enough."""
    moved = (found["said"] == transfer.ROLES.index("elsewhere")).sel(set="top", k=1).groupby("target_task").mean()
    sizes = dict(zip(DESCRIBED, (4, 9, 2), strict=True))
    for source, n in sizes.items():
        for target, m in sizes.items():
            at = moved.sel(source=source, target_task=target)
            for stage in STAGES:
                enough = 0.5 if stage == "id_retrieval" else (2 * n - 1) / (2 * (2 * m - 1))
                assert at.sel(stage=stage).values.tolist() == [dose > enough for dose in spec.doses]


def names_what_is_in_the_cell_that_is_written(found: xr.Dataset, spec: RescueSpec) -> None:
    """Low entropy is no harder here: the right cell's outputs keep the answer, and the wrong one's are obeyed."""
    summary = Rescue().summarise(spec, [found])
    at = summary.sel(grid="2x2", k=1)
    assert at["high"].values.tolist() == [1, 1]
    assert at["before"].sel(set="top", score=["answer", "elsewhere colour"]).values.tolist() == [1, 0]
    assert at["after"].sel(score="answer", set=at["set"] != WRONG).values.tolist() == [1, 1, 1]
    assert at["after"].sel(set=WRONG, score=["colour", "elsewhere colour"]).values.tolist() == [0, 1]
    assert int(summary["fewest"]) == 6 > int(at["n"].max())
    assert any("no rescue can be shown" in sentence for sentence in Rescue.report.findings(summary).sentences)


CONTROLS: Mapping[str, Control] = {
    "key-swap": Control(KeySwap, KeySwapSpec(trials=8, estimation=4, k=1, doses=(0.25, 0.75, 1, 2)), swaps_keys),
    "reuse": Control(
        Reuse, ReuseSpec(trials=2, estimation=1, ks=(1, 3), doses=(0.5, 1, 2, 4), draws=1), writes_ids_into_questions
    ),
    "frame-patch": Control(FramePatch, FramePatchSpec(trials=2, ks=(1, 3)), moves_arrangements),
    "photoreal": Control(
        Photoreal,
        PhotorealSpec(trials=8, estimation=4, ks=(1,), doses=(0.25, 0.75, 1.0, 30.0), draws=1),
        steers_from_half_a_dose_on,
        {"planted": {}, "planted-absolute": USER_TURN, COUNTING: {**USER_TURN, "doses": (0.25, 0.75, 1.0)}},
        answered,
        lambda found: found["said_before"] == ROLES.index("target"),
    ),
    "transfer": Control(
        Transfer,
        TransferSpec(tasks=DESCRIBED, trials=4, estimation=16, ks=(1,), doses=(1.0, 2.0, 4.0), draws=1),
        works_in_other_descriptions,
        {"planted": {}, COUNTING: {"tasks": DESCRIBED[::2], "doses": (4.0,)}},
        answered,
        lambda found: found["said_before"] == transfer.ROLES.index("answer"),
    ),
    "rescue": Control(
        Rescue,
        RescueSpec(grids=("2x2",), trials=(1,), estimation=(1,), ks=(1,), draws=1, trials_per_unit=8),
        names_what_is_in_the_cell_that_is_written,
        {"planted": {}, COUNTING: {}},
        answered,
        lambda found: xr.concat([found["hit_before"].sel(score="answer"), found["hit_high"].all("part")], "of"),
    ),
}
"""Every intervention that the planted models can do: a new one is added here."""

ELSEWHERE = (
    # None of them enumerates: ablated heads change the description, or the whole answer, instead.
    Elsewhere(CountingSpec, test_planted.test_every_needed_head_is_needed_and_no_other_one_is),
    # None of them prefers an order of naming: there the selection head is made to prefer one.
    Elsewhere(CocoSpec, test_coco.test_the_first_slots_selection_makes_a_model_with_an_order_repeat),
)


def test_every_intervention_has_a_positive_control():
    specs = [*(type(control.spec) for control in CONTROLS.values()), *(stand_in.spec for stand_in in ELSEWHERE)]
    assert sorted(map(str, specs)) == sorted(str(experiment.spec) for experiment in interventions().values())
    for control in CONTROLS.values():
        assert COUNTING in control.models
        assert set(BINDING) & set(control.models)


@pytest.mark.parametrize(
    ("name", "model"),
    [(name, model) for name, control in CONTROLS.items() for model in control.models if model != COUNTING],
)
def test_it_has_the_effect_that_the_construction_implies(name: str, model: str):
    control = CONTROLS[name]
    found, spec = control.run(model)
    assert control.right is None or control.right(found).all()
    control.holds(found, spec)


@pytest.mark.parametrize("name", CONTROLS)
def test_it_has_no_effect_where_nothing_is_bound(name: str):
    """The one head that counts is edited in its queries or keys only, which hold no IDs. Among heads whose outputs are
    edited, some of them drawn at random, it would have an effect."""
    control = CONTROLS[name]
    found, _ = control.run(COUNTING)
    assert control.right is None or control.right(found).all()
    assert not maps(COUNTING).above[:2].any()
    outputs = found["heads"].sel(stage=["id_retrieval", "id_selection"]) if "stage" in found.dims else found["heads"]
    assert name == "key-swap" or not holds(outputs, COUNTS).any()
    assert (moved(found) == 0).all()


def moved(found: xr.Dataset) -> xr.DataArray:
    """Answers that an edit changes, from a summary or from answers themselves."""
    if "gained" in found:
        return found["gained"] + found["lost"]
    before, after = (found[name] for name in (("hit_before", "hit") if "hit" in found else ("said_before", "said")))
    return after != before
