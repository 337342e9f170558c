"""Answers of models whose keys are swapped: the selected dose, both sides, and the control of other layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from finst.errors import FinstError
from finst.experiments.interventions.key_swap.design import ROLES, questions
from finst.experiments.interventions.key_swap.experiment import KeySwap
from finst.experiments.interventions.key_swap.report import EDITED, PAPER, REACHES, edit_name
from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.vlm.open import open_reader
from tests.experiments.interventions.key_swap.layers import LAYERS, edits_in
from tests.experiments.interventions.small import SWAP


def test_a_swap_at_one_dose_is_found_on_either_side():
    spec = replace(SWAP, trials=16, doses=(1.0, 2.0))
    names = [edit_name(reach, edited) for reach in REACHES for edited in EDITED]
    names += ["random layers 0", "random direction 0"]
    answers = xr.DataArray(
        np.full((16, len(names), 2), ROLES.index("queried")),
        dims=("trial", "edit", "dose"),
        coords={"edit": names, "dose": [1.0, 2.0]},
    )
    answers.loc[{"edit": PAPER, "dose": 2.0}] = ROLES.index("other")
    sides = [question.side for question in questions(spec)]
    assert sides.count("left") == 8
    coords: dict[str, Any] = {"trial": np.arange(16), "side": ("trial", sides), "k": [3]}
    rest = {"said_before": ("trial", np.full(16, 1)), "heads": ("edit", names), "warning": ("k", ["a tie"])}
    found = KeySwap().summarise(spec, [xr.Dataset({"said": answers, **rest}, coords=coords)])
    assert float(found["chosen_dose"]) == 2
    assert found["after"].sel(edit=PAPER, dose=2).values.tolist() == [1, 1, 1]
    assert found["n"].sel(edit=PAPER, dose=2).values.tolist() == [8, 4, 4]
    assert float(found["after"].sum()) == 3
    assert float(found["right_before"]) == 1
    (effect,) = KeySwap.report.effects(found)
    assert (effect.setting, effect.before.value, effect.after.value, effect.control.share.value) == (
        "layers of K = 3, dose 2",
        0,
        1,
        0,
    )
    findings = KeySwap.report.findings(found)
    assert {row[:3] for row in findings.rows if row[1] == PAPER} == {("2", PAPER, g) for g in ("all", "left", "right")}
    assert any("top 3: a tie" in sentence for sentence in findings.sentences)


@pytest.mark.parametrize("holding", [(0, 2), (0, 2, 3, 4), tuple(range(LAYERS))])
def test_other_layers_that_are_edited_ones_or_missing_are_reported(holding: tuple[int, ...]):
    edits = edits_in(holding)
    answers = np.full((8, len(edits), 1), ROLES.index("queried"))
    coords: dict[str, Any] = {"trial": np.arange(8), "side": ("trial", ["left", "right"] * 4), "k": [len(holding)]}
    part = xr.Dataset(
        {
            "said": (("trial", "edit", "dose"), answers),
            "said_before": ("trial", answers[:, 0, 0]),
            "heads": ("edit", [edit.text for edit in edits]),
            "warning": ("k", [""]),
        },
        coords={**coords, "edit": [edit.name for edit in edits], "dose": [2.0]},
    )
    found = KeySwap().summarise(KeySwapSpec(trials=8, doses=(2.0,), draws=5), [part])
    (sentence,) = [sentence for sentence in KeySwap.report.findings(found).sentences if "other layers" in sentence]
    assert ("0.0%" in sentence) == (len(holding) < LAYERS)
    assert ("the 2 other layers that there are (4 are edited)" in sentence) == (len(holding) == 4)
    caption = KeySwap.report.figures(found)[0].caption
    assert ("other whole layers" in caption) == (len(holding) < LAYERS)
    assert [row.n for row in KeySwap.report.effects(found)] == [4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"trials": 7}, "trials is 7"), ({"k": 10_000}, "k holds 10000"), ({"estimation": 3}, "estimation is 3")],
)
def test_bad_input_is_refused_before_weights_load(changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        KeySwap().check(replace(SWAP, **changes), open_reader("organism"))
