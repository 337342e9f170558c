"""Effects of any intervention as rows: with the strongest control, as plain values, text, Markdown and CSV."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import xarray as xr

from finst.experiments.interventions.effect_table import (
    COLUMNS,
    EffectRecord,
    EffectRow,
    Share,
    csv_table,
    effects_figure,
    effects_page,
    markdown_table,
    text_table,
)
from finst.experiments.interventions.effects import effects


def some() -> xr.Dataset:
    """Of ten trials 8 are hits after the main edit, 3 and 1 after its controls, and 2 before."""
    hits = {"top": 8, "random 0": 3, "random 1": 1}
    after = np.array([np.arange(10) < count for count in hits.values()])
    before = xr.DataArray(np.arange(10) < 2, dims="trial")
    return effects(before, xr.DataArray(after, dims=("set", "trial"), coords={"set": list(hits)}), (), 0.95).sel(
        group="all"
    )


@pytest.mark.parametrize(("harms", "control", "share"), [(False, "random 0", 0.3), (True, "random 1", 0.1)])
def test_a_row_has_the_control_with_the_largest_effect(harms: bool, control: str, share: float):
    row = EffectRow.of_top("a hit", "K = 1", some(), harms=harms)
    assert (row.control_name, row.control.value) == (control, share)
    assert (row.before.value, row.after.value, row.n) == (0.2, 0.8, 10)
    assert row.p == pytest.approx(2 / 2**6)
    assert row.before == Share(0.2, *(float(some().sel(set="top")[f"before_{end}"]) for end in ("low", "high")))


def records() -> list[EffectRecord]:
    row = EffectRow.of_top("a hit", "K = 1", some())
    return [EffectRecord("planted", "reuse", row, "runs/a"), EffectRecord("planted", "reuse", row, "runs/b")]


def test_tables_hold_the_same_values():
    lines = text_table(records()).splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("planted")
    assert markdown_table(records()).splitlines()[0] == f"| {' | '.join(COLUMNS)} |"
    first, _ = csv.DictReader(io.StringIO(csv_table(records())))
    assert {name: first[name] for name in ("experiment", "after", "control_name", "run")} == {
        "experiment": "reuse",
        "after": "0.8",
        "control_name": "random 0",
        "run": "runs/a",
    }
    assert float(first["after_low"]) == records()[0].effect.after.low
    assert records()[0].record["before_high"] == records()[0].effect.before.high


def test_the_figure_and_the_page_show_every_effect():
    figure = effects_figure(records())
    assert figure.csv == csv_table(records())
    labels = [label.get_text() for label in figure.figure.axes[0].get_yticklabels()]
    assert [label[-3:] for label in labels] == ["(a)", "(b)"]  # folders tell equal labels apart
    html = effects_page(records(), figure, ["a", "b"], [{}, {}])
    assert 'id="figure-interventions"' in html
    assert html.count("<td>a hit</td>") == 2
