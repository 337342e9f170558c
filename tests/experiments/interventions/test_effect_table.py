"""Effects of any intervention as rows: with the strongest control, as plain values, text, Markdown and CSV."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import xarray as xr

from finst.analysis.paired import paired_interval
from finst.experiments.interventions.effect_rows import DOCUMENTATION, NOT_KEPT, OWN, EffectRow, Share
from finst.experiments.interventions.effect_table import (
    COLUMNS,
    EffectRecord,
    csv_table,
    effects_figure,
    effects_page,
    markdown_table,
    text_table,
)
from finst.experiments.interventions.effects import beside, effects

SETS = ["top", "random 0", "random 1"]


def some(top: int = 8, own: int = 5, trials: int = 10) -> xr.Dataset:
    """Of ten trials 8 are hits after the main edit, 3 and 1 after its controls, which reach 4 and 5 on their own, and 2
    before."""
    before = xr.DataArray(np.arange(trials) < 2, dims="trial")
    after, alone = (
        xr.DataArray([np.arange(trials) < hits for hits in counts], dims=("set", "trial"), coords={"set": SETS})
        for counts in ((top, 3, 1), (top, 4, own))
    )
    found = effects(before, after, (), 0.95).merge(beside(after, alone, (), 0.95, sets="set", main="top"))
    choice = {"own_k": ("set", [1, 20, 40]), "own_dose": ("set", [0.5, 1.0, 30.0])}
    return found.assign(choice).sel(group="all")


@pytest.mark.parametrize(("harms", "control", "share"), [(False, "random 0", 0.3), (True, "random 1", 0.1)])
def test_a_row_has_the_control_with_the_largest_effect(harms: bool, control: str, share: float):
    row = EffectRow.of_top("a hit", "K = 1", some(), harms=harms, alpha=0.05)
    assert (row.control.name, row.control.share.value, row.control.setting) == (control, share, "")
    assert (row.before.value, row.after.value, row.n) == (0.2, 0.8, 10)
    assert row.p == pytest.approx(2 / 2**6)
    assert row.before == Share(0.2, *(float(some().sel(set="top")[f"before_{end}"]) for end in ("low", "high")))


def test_controls_stand_beside_the_effect_at_its_setting_and_at_their_own():
    row = EffectRow.of_top("a hit", "K = 1", some(), alpha=0.05)
    assert row.own is not None
    assert (row.own.name, row.own.share.value, row.own.setting) == ("random 1", 0.5, "K = 40, dose 30")
    assert (row.control.p, row.own.p) == (pytest.approx(2 / 2**5), pytest.approx(2 / 2**3))
    assert row.control.lead == Share(0.5, *paired_interval(5, 0, 10))
    assert row.own.lead == Share(0.3, *paired_interval(3, 0, 10))
    texts = dict(zip(COLUMNS, EffectRecord("m", "e", row, "r").cells, strict=True))
    assert texts["controls, own best"] == f"{row.own.share.text} (random 1, K = 40, dose 30)"
    assert texts["p against controls, own best"] == "0.250"
    assert texts["beyond both"] == "no"


@pytest.mark.parametrize(
    ("top", "own", "beyond"),
    [(20, 5, True), (20, 14, True), (20, 15, False), (20, 30, False), (8, 4, False), (2, 2, False)],
)
def test_bold_is_beyond_both(top: int, own: int, beyond: bool):
    """Beyond each control at either setting, by the interval of the paired difference and by p: six trials at least."""
    row = EffectRow.of_top("a hit", "K = 1", some(top, own, 40), alpha=0.05)
    assert row.beyond is beyond
    line = markdown_table([EffectRecord("m", "e", row, "r")]).splitlines()[-1]
    assert (f"| **{row.after.text}** |" in line) == beyond
    assert f"{row.after.text}" in line


def test_what_an_older_finst_did_not_keep_is_said():
    kept = some()[[*DOCUMENTATION]]
    row = EffectRow.of_top("a hit", "K = 1", kept, alpha=0.05)
    assert (row.own, row.without_own, row.beyond, row.control.p) == (None, NOT_KEPT, None, None)
    assert EffectRecord("m", "e", row, "r").cells.count(NOT_KEPT) == 4
    assert EffectRecord("m", "e", row, "r").record["own_lead_low"] is None
    never = EffectRow.of_top("a hit", "K = 1", some().drop_vars([*OWN]), alpha=0.05, without_own="none chosen")
    assert never.own is None
    assert never.beyond is False


def records() -> list[EffectRecord]:
    row = EffectRow.of_top("a hit", "K = 1", some(), alpha=0.05)
    return [EffectRecord("planted", "reuse", row, "runs/a"), EffectRecord("planted", "reuse", row, "runs/b")]


def test_tables_hold_the_same_values():
    lines = text_table(records()).splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("planted")
    assert markdown_table(records()).splitlines()[0] == f"| {' | '.join(COLUMNS)} |"
    first, _ = csv.DictReader(io.StringIO(csv_table(records())))
    assert {name: first[name] for name in ("experiment", "after", "control_name", "own_setting", "beyond", "run")} == {
        "experiment": "reuse",
        "after": "0.8",
        "control_name": "random 0",
        "own_setting": "K = 40, dose 30",
        "beyond": "False",
        "run": "runs/a",
    }
    assert float(first["after_low"]) == records()[0].effect.after.low
    own = records()[0].effect.own
    assert own is not None
    assert own.lead is not None
    assert float(first["own_lead_low"]) == own.lead.low
    assert records()[0].record["before_high"] == records()[0].effect.before.high


def test_the_figure_and_the_page_show_every_effect():
    figure = effects_figure(records())
    assert figure.csv == csv_table(records())
    labels = [label.get_text() for label in figure.figure.axes[0].get_yticklabels()]
    assert [label[-3:] for label in labels] == ["(a)", "(b)"]  # folders tell equal labels apart
    html = effects_page(records(), figure, ["a", "b"], [{}, {}])
    assert 'id="figure-interventions"' in html
    assert html.count("<td>a hit</td>") == 2
