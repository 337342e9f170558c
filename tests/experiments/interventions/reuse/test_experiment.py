"""IDs of descriptions in questions: what is written, which setting is selected, and what is reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from finst.errors import FinstError
from finst.experiments.interventions.heads import head_sets_of
from finst.experiments.interventions.reuse import experiment as reuse
from finst.experiments.interventions.reuse.design import ROLES, questions
from finst.experiments.interventions.reuse.experiment import Reuse, edit_rows
from finst.experiments.interventions.reuse.report import MODES
from finst.experiments.interventions.reuse.spec import ReuseSpec
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments.interventions.small import REUSE, assert_first_tokens, ids_of, maps_of


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("reuse") / "tiny")), dtype="float64", device="cpu")


def test_what_is_written_is_what_slow_hooks_write(vlm: VLM):
    """Every mode, set, K and dose: the first token is that of one whole edited pass a row."""
    question, ids = questions(REUSE)[3], ids_of(vlm)
    context = question.encoded(vlm.reader)
    sets = head_sets_of(maps_of(vlm), "id_selection", REUSE.ks, REUSE.draws, 0)
    rows = edit_rows(REUSE, sets, ids, question, context)
    assert rows.count == 1 + len(MODES) * len(sets) * len(REUSE.ks) * len(REUSE.doses)
    block = rows.blocks["z"]
    third = block.row == 1 + 2  # mode answer, the strongest heads, K = 3, dose 1
    heads = list(zip(block.layer[third].tolist(), block.head[third].tolist(), strict=True))
    assert heads == list(sets[0].sets[1])
    expected = torch.stack([ids.values[question.answer, layer, head] for layer, head in heads])
    torch.testing.assert_close(block.value[torch.from_numpy(third)], expected)
    assert block.adds.all()
    assert_first_tokens(vlm, context, rows.take(np.array([0, 2, 7, 16])))


def test_pictures_of_questions_are_not_estimated_from(vlm: VLM, monkeypatch: pytest.MonkeyPatch):
    staged = reuse.unique_objects(reuse.GRID, "high", 1, 5, "fresh")[:9]
    monkeypatch.setattr(reuse, "unique_objects", lambda *_: staged)
    assert Reuse().estimate(vlm, REUSE).counts == (1,) * 9
    asked = [replace(question, scene=staged[0].scene) for question in questions(REUSE)]
    monkeypatch.setattr(reuse, "questions", lambda spec: asked)
    with pytest.raises(FinstError, match="1 pictures are in both splits"):
        Reuse().check(REUSE, vlm.reader)


def answered(spec: ReuseSpec, hits: Mapping[str, tuple[int, float]]) -> xr.Dataset:
    """A model that heeds what is written into the strongest heads at one K and dose a mode alone."""
    trials = questions(spec)
    sets = ("top", "random 0", "layer-matched 0")
    coords: dict[str, Any] = {"mode": list(MODES), "set": list(sets), "k": list(spec.ks), "dose": list(spec.doses)}
    shape = (len(trials), *map(len, coords.values()))
    before = np.arange(len(trials)) % 2  # of every other question another cell's colour is named
    answers = xr.DataArray(np.full(shape, before.reshape(-1, 1, 1, 1, 1)), dims=("trial", *coords), coords=coords)
    answers = answers * ROLES.index("other")
    for mode, (k, dose) in hits.items():
        answers.loc[{"mode": mode, "set": "top", "k": k, "dose": dose}] = ROLES.index(mode)
    return xr.Dataset(
        {
            "said": answers,
            "said_before": ("trial", before * ROLES.index("other")),
            "heads": (("set", "k"), np.full((len(sets), len(spec.ks)), "L0H0")),
            "warning": ("k", np.full(len(spec.ks), "")),
            "estimated_from": ("cell", np.full(9, 9)),
        },
        coords={"trial": np.arange(len(trials)), "relation": ("trial", [trial.relation for trial in trials])},
    )


def test_the_setting_is_selected_on_one_half_and_effects_are_of_the_other():
    spec = replace(REUSE, trials=8)
    found = Reuse().summarise(spec, [answered(spec, {"answer": (3, 1.0), "elsewhere": (1, 4.0)})])
    assert found["chosen_k"].values.tolist() == [3, 1]
    assert found["chosen_dose"].values.tolist() == [1.0, 4.0]
    at = found.sel(group="all")
    assert at["n"].values.max() == 16
    assert at["after"].sel(set="top").values.tolist() == [1.0, 1.0]
    assert at["before"].sel(mode="elsewhere").values.max() == 0
    assert at["after"].sel(mode="elsewhere", set="random 0") == 0
    assert 0 < float(at["after"].sel(mode="answer", set="random 0")) < 1
    assert (at["after"].sel(set="random 0") == at["before"].sel(set="random 0")).all()
    assert float(at["p"].sel(mode="elsewhere", set="top")) == pytest.approx(2 / 2**16)
    answer, elsewhere = Reuse.report.effects(found)
    assert (answer.setting, elsewhere.setting) == ("K = 3, dose 1", "K = 1, dose 4")
    assert (elsewhere.before.value, elsewhere.after.value, elsewhere.control.share.value) == (0, 1, 0)
    rows = {row[:3]: row for row in Reuse.report.findings(found).rows}
    assert rows["elsewhere", "random 0", "all"][5].startswith("0.0%")
    assert ("answer", "top", "above") in rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 1}, "trials is 1"),
        ({"ks": (2, 2)}, "expected one or more different numbers of heads"),
        ({"ks": (10_000,)}, "ks holds 10000: .* has .* heads"),
        ({"doses": ()}, "doses is .*: expected one or more"),
        ({"alpha": 1.0}, "between 0 and 1"),
        ({"draws": 0}, "draws is 0"),
    ],
)
def test_bad_input_is_refused_before_weights_load(vlm: VLM, changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        Reuse().check(replace(REUSE, **changes), vlm.reader)
