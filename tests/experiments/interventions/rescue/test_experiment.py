"""Low entropy with outputs of high entropy: what is estimated and written, and a model whose rescue is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.estimates import Prototypes
from finst.experiments.interventions.heads import head_sets_of
from finst.experiments.interventions.rescue import experiment as rescue
from finst.experiments.interventions.rescue.design import trials_of
from finst.experiments.interventions.rescue.experiment import Rescue, edit_rows
from finst.experiments.interventions.rescue.report import PARTS, SCORES, WRONG
from finst.experiments.interventions.rescue.spec import RescueSpec
from finst.scenes.sets import absolute
from finst.vlm.open import open_reader
from tests import planted

SPEC = RescueSpec(grids=("2x2",), trials=(1,), estimation=(1,), ks=(1,), draws=1, device="cpu")


def test_the_right_cells_outputs_are_written_and_then_the_wrong_ones():
    reader = open_reader("organism")
    values = torch.arange(4.0)[:, None, None, None].expand(4, 6, 8, 5)
    mean = np.random.default_rng(0).permutation(3 * 48).reshape(3, 6, 8) / 10
    sets = head_sets_of(HeadMaps("x", mean, mean > 1, 0.01), "id_selection", (1, 3), 1, 0)
    trial = trials_of(SPEC)[3]
    context, _ = trial.encoded(reader, "prefill")
    rows = edit_rows(sets, Prototypes(values, (1,) * 4), trial, context)
    block = rows.blocks["z"]
    assert rows.count == 1 + 3 * 2 + 2
    assert set(block.pos.tolist()) == {context.tokens.last}
    assert not block.adds.any()
    cells = {"right": absolute(trial.low.target), "wrong": absolute(trial.wrong)}
    for row, heads, kind in (
        (2, sets[0].sets[1], "right"),
        (4, sets[1].sets[1], "right"),
        (8, sets[0].sets[1], "wrong"),
    ):
        inside = block.row == row
        assert list(zip(block.layer[inside].tolist(), block.head[inside].tolist(), strict=True)) == list(heads)
        row_, col = cells[kind]
        assert set(block.value[torch.from_numpy(inside)].flatten().tolist()) == {2.0 * row_ + col}


def answered(spec: RescueSpec) -> xr.Dataset:
    """A model that is wrong in half of the trials, and right in them with two heads and the right prototype alone."""
    trials = trials_of(spec)
    sets = ["top", "random 0", "layer-matched 0", WRONG]
    before = np.zeros((len(trials), len(SCORES)), dtype=bool)
    before[::2, :2] = True
    hit = xr.DataArray(
        np.broadcast_to(before[:, None, None], (len(trials), len(sets), 2, len(SCORES))).copy(),
        dims=("trial", "set", "k", "score"),
        coords={"set": sets, "k": [1, 2], "score": list(SCORES)},
    )
    hit.loc[{"set": "top", "k": 2, "score": "answer"}] = True
    rest: dict[str, Any] = {
        "hit_before": (("trial", "score"), before),
        "hit_high": (("trial", "part"), np.ones((len(trials), 2), dtype=bool)),
        "heads": (("set", "k"), np.full((len(sets), 2), "L0H0")),
        "warning": ("k", ["", "a tie"]),
        "estimated_from": ("source", [3]),
        "estimated_right": ("source", [0.75]),
    }
    coords = {"trial": np.arange(len(trials)), "of_grid": ("trial", [trial.grid for trial in trials])}
    return xr.Dataset({"hit": hit, **rest}, coords={**coords, "part": list(PARTS), "source": ["2x2"]})


def test_a_rescue_has_its_k_and_counts_what_was_wrong():
    spec = replace(SPEC, trials=(4,), ks=(1, 2))
    found = Rescue().summarise(spec, [answered(spec)])
    assert found["chosen_k"].values.tolist() == [2]
    top = found.sel(grid="2x2", set="top", k=2, score="answer")
    wrong = int(top["wrong_before"])
    assert int(top["n"]) == 32
    assert (int(top["gained"]), int(top["lost"]), float(top["after"]), float(top["rescued"])) == (wrong, 0, 1, 1)
    assert float(top["against_wrong"]) == pytest.approx(2 / 2**wrong)
    assert float(found["rescued"].sel(grid="2x2", set=WRONG, k=2, score="answer")) == 0
    assert top["high"].values.tolist() == [1, 1]
    assert int(found["fewest"]) == 6
    (effect,) = Rescue.report.effects(found)
    assert (effect.setting, effect.after.value, effect.n) == ("K = 2", 1, 32)
    findings = Rescue.report.findings(found)
    row = next(row for row in findings.rows if row[1:3] == ("whole answer", "top"))
    assert (row[0], row[3], row[-1]) == ("2x2", "2", f"{wrong} of {wrong}")
    assert len(findings.rows) == 2 * 4
    assert any(f"of {wrong} wrong before" in sentence for sentence in findings.sentences)
    assert not any("no rescue can be shown" in sentence for sentence in findings.sentences)
    assert any("top 2: a tie" in sentence for sentence in findings.sentences)
    assert "75.0% of them, at least 3 a cell" in findings.method[1]


def test_estimation_uses_what_the_model_gets_right(monkeypatch: pytest.MonkeyPatch):
    vlm = planted.vlm("planted")
    assert Rescue().estimate(vlm, SPEC)["2x2"].counts == (4, 4, 4, 4)
    monkeypatch.setattr(rescue, "estimation_of", lambda spec: {"2x2": [trial.high for trial in trials_of(spec)]})
    with pytest.raises(FinstError, match="16 pictures are in both splits"):
        Rescue().check(SPEC, vlm.reader)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grids": ("2x2", "4x4"), "trials": (1, 1), "estimation": (1, 1)}, "grid is 4x4: expected 2x2 or 3x3"),
        ({"grids": ()}, "expected one or more different grids"),
        ({"trials": (1, 2)}, r"trials is \(1, 2\): expected a number of at least 1 for each grid \(2x2\)"),
        ({"estimation": (0,)}, r"estimation is \(0,\)"),
        ({"ks": (0,)}, "ks holds 0"),
    ],
)
def test_bad_input_is_refused_before_weights_load(changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        Rescue().check(replace(SPEC, **changes), open_reader("organism"))
