"""Steering: settings for both sides together, each control at its own, and pictures that cannot be tested."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from finst.analysis.mediation import STAGES
from finst.errors import FinstError
from finst.experiments.interventions.photoreal import experiment as photoreal
from finst.experiments.interventions.photoreal.design import ROLES, SideTrial, Split, drawn
from finst.experiments.interventions.photoreal.experiment import Photoreal
from finst.experiments.interventions.photoreal.report import at_chosen, chosen
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.scenes.designs import Features
from finst.scenes.draw import draw
from finst.scenes.object import Picture, Scene
from finst.scenes.side_by_side_pairs import DrawnSided
from finst.vlm.open import Reader, open_reader
from tests import tiny
from tests.experiments.interventions.small import STEER


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return open_reader(str(tiny.checkpoint(tmp_path_factory.mktemp("photoreal") / "tiny")))


def answers_of(spec: PhotorealSpec) -> xr.Dataset:
    """A model that is steered at K = 3 and dose 4 alone, and on the left alone at the smallest edit.

    In ID selection a random direction steers it at another setting.
    """
    sets = ["top", "random 0", "layer-matched 0", "random direction 0"]
    coords: dict[str, Any] = {"stage": list(STAGES), "set": sets, "k": list(spec.ks), "dose": list(spec.doses)}
    answers = xr.DataArray(
        np.full((spec.trials, *map(len, coords.values())), ROLES.index("target")),
        dims=("trial", *coords),
        coords=coords,
    )
    left = np.arange(spec.trials) % 2 == 0
    answers.loc[{"set": "top", "k": 3, "dose": 4.0}] = 0
    answers.loc[{"set": "top", "k": 1, "dose": 1.0, "trial": left}] = 0
    answers.loc[{"set": "random direction 0", "k": 1, "dose": 4.0, "stage": "id_selection"}] = 0
    heads = np.full((3, 4, 2), "L0H1")
    heads[:, 0], heads[:, 3] = "L0H0", "L0H0"
    per_stage = {"heads": (("stage", "set", "k"), heads), "warning": (("stage", "k"), [["", "w"]] * 3)}
    rest: dict[str, Any] = {"said_before": ("trial", np.full(spec.trials, 1)), "unmirrored": ((), 3), **per_stage}
    labels = {"trial": np.arange(spec.trials), "side": ("trial", np.where(left, "left", "right"))}
    return xr.Dataset({"said": answers, **rest}, coords=labels)


ONE = {"estimated_from": ("place", [4]), "estimated_right": ("place", [0.5])}


def summary() -> xr.Dataset:
    """Pictures of one height."""
    spec = replace(STEER, trials=32)
    data = answers_of(spec).assign(ONE).assign_coords(place=[""], of_place=("trial", [""] * 32))
    return Photoreal().summarise(spec, [data])


def rows_apart() -> xr.Dataset:
    """Drawings in two rows, in the upper one of which alone anything can be steered."""
    spec = replace(STEER, trials=64)
    data = answers_of(spec)
    upper = np.arange(64) >= 32
    data["said"][~upper] = ROLES.index("target")
    both = {name: ("place", values * 2) for name, (_, values) in ONE.items()}
    names = ["lower row", "upper row"]
    sides = data["side"].values
    sides[upper] = sides[upper][::-1]  # the first trial is of the other side
    data = data.assign(both).assign_coords(
        side=("trial", sides), place=names, of_place=("trial", np.array(names)[upper.astype(int)])
    )
    return Photoreal().summarise(spec, [data])


def test_settings_are_selected_on_one_half_for_both_sides_together_and_for_controls_too():
    found = summary().sel(place="")
    assert found["chosen_k"].sel(set="top").values.tolist() == [3, 3, 3]
    assert found["chosen_dose"].sel(set="top").values.tolist() == [4, 4, 4]
    assert chosen(found, "id_selection", "random direction 0") == {"k": 1, "dose": 4}
    assert found["n"].isel(stage=0, set=0, k=0, dose=0).values.tolist() == [16, 8, 8]
    one_sided = found.sel(stage="id_retrieval", set="top", k=1, dose=1)["after"]
    assert {group: float(one_sided.sel(group=group)) for group in ("all", "left", "right")} == {
        "all": 0.5,
        "left": 1,
        "right": 0,
    }
    assert at_chosen(found)["after"].sel(set="top").values.tolist() == [[1, 1, 1]] * 3
    assert at_chosen(found, ["k"])["after"].sel(set="top", group="all", stage="id_selection").values.tolist() == [0, 1]
    rows = Photoreal.report.effects(summary())
    assert [(row.setting, row.before.value, row.after.value, row.control.share.value) for row in rows] == [
        ("K = 3, dose 4", 0, 1, 0)
    ] * 3
    assert [row.beyond for row in rows] == [True, False, True]
    own = rows[1].own
    assert own is not None
    assert (own.name, own.share.value, own.setting, own.p) == ("random direction 0", 1, "K = 1, dose 4", 1)


def test_findings_have_controls_at_their_own_setting_ties_and_unbalanced_pictures():
    findings = Photoreal.report.findings(summary())
    retrieval, selection = findings.sentences[:2]
    assert "own best settings at most 0.0%" in retrieval
    assert "own best settings at most 100.0% [80.6%, 100.0%] (random direction 0, K = 1, dose 4)" in selection
    assert "K = 3, dose 4, the smallest of 1 settings, of 4" in retrieval
    assert len([sentence for sentence in findings.sentences if "top 3: w" in sentence]) == 3
    assert findings.sentences[-1].startswith("3 tested pictures")
    assert [row[:3] for row in findings.rows[:4]] == [
        ("ID retrieval", "top", "pooled"),
        ("ID retrieval", "top", "left described"),
        ("ID retrieval", "top", "right described"),
        ("ID retrieval", "random 0", "pooled"),
    ]
    names = [figure.name for figure in Photoreal.report.figures(summary())]
    assert names == ["photoreal-sides", "photoreal-grid", "photoreal-dose", "photoreal-k"]


def test_rows_of_drawings_are_kept_apart():
    """What works in one row of the two is no mean of both."""
    found = rows_apart()
    assert found["chosen_k"].sel(set="top", stage="id_selection").values.tolist() == [1, 3]
    rows = Photoreal.report.effects(found)
    assert [(row.measured.rpartition(", ")[2], row.n, row.after.value, row.beyond) for row in rows] == [
        *[("lower row", 16, 0, False)] * 3,
        ("upper row", 16, 1, True),
        ("upper row", 16, 1, False),
        ("upper row", 16, 1, True),
    ]
    findings = Photoreal.report.findings(found)
    assert {row[0] for row in findings.rows} == {"lower row", "upper row"}
    assert len(findings.columns) == len(findings.rows[0])
    lower, upper = findings.headline.split("; ")[::2]
    assert "lower row: ID retrieval 0.0% [0.0%, 19.4%] (n = 16" in lower
    assert "upper row: ID retrieval 100.0% [80.6%, 100.0%] (n = 16" in upper
    names = [figure.name for figure in Photoreal.report.figures(found)]
    assert len(set(names)) == 8
    assert {name.removesuffix("-row").rpartition("-")[2] for name in names} == {"upper", "lower"}


@pytest.mark.parametrize(("right", "count"), [(0.5, 0), (0.4, 1)])
def test_a_model_that_is_wrong_without_an_edit_is_noted(right: float, count: int):
    found = summary()
    found["right_before"][:] = right
    sentences = Photoreal.report.findings(found).sentences
    assert len([sentence for sentence in sentences if "even without an edit" in sentence]) == count


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 3}, "trials is 3"),
        ({"estimation": 0}, "estimation is 0"),
        ({"ks": (1, 10_000)}, "ks holds 10000: .* has .* heads"),
        ({"doses": ()}, "doses is .*: expected one or more"),
    ],
)
def test_bad_input_is_refused_before_weights_load(reader: Reader, changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        Photoreal().check(replace(STEER, **changes), reader)


class Crowded(DrawnSided):
    """Shows a third thing that its words do not name."""

    def picture(self) -> Picture:
        left, right = self.scene.objects
        third = replace(left, box=(0, 0, 56, 56))
        return draw(Scene(self.scene.width, self.scene.height, (left, right, third)))


def test_pictures_without_two_things_are_refused(reader: Reader, monkeypatch: pytest.MonkeyPatch):
    crowded = [Crowded(one.name, one.scene) for one in drawn(12, seed=0) if isinstance(one, DrawnSided)]
    monkeypatch.setattr(photoreal, "pictures_of", lambda spec: crowded)
    with pytest.raises(FinstError, match=r"picture 'drawn .*' shows 3 things: expected one on the left and one on the"):
        Photoreal().check(STEER, reader)


@dataclass(frozen=True)
class Reddish(DrawnSided):
    """A drawing whose colours are called red and red red."""

    @property
    def things(self) -> tuple[Features, Features]:
        left, right = self.scene.objects
        return ("red", left.shape), ("red red", right.shape)

    def picture(self) -> Picture:
        objects = zip(self.scene.objects, self.things, strict=True)
        named = tuple(replace(obj, colour=colour, shape=shape) for obj, (colour, shape) in objects)
        return replace(draw(self.scene), scene=replace(self.scene, objects=named))


def test_colours_that_begin_with_the_same_token_are_refused(reader: Reader, monkeypatch: pytest.MonkeyPatch):
    """The edit acts at the first token, and could not choose between them."""
    one = drawn(2, seed=0)[0]
    assert isinstance(one, DrawnSided)
    split = Split((), (SideTrial(Reddish(one.name, one.scene), 0),), 0)
    monkeypatch.setattr(photoreal, "split_of", lambda pictures, spec: split)
    with pytest.raises(FinstError, match="'red' and 'red red' begin with the same token"):
        Photoreal().check(STEER, reader)
