"""Maps of heads: the strongest heads in order, and tables with a row for every head."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import xarray as xr

from finst.experiments.representations import stages
from finst.experiments.representations.report.head_figures import strongest_heads
from finst.experiments.representations.stages import RSAStages
from tests.experiments.representations import designs
from tests.experiments.representations.specs import HEADS


def test_heads_of_equal_r_come_in_order_of_depth_and_inactive_ones_not_at_all():
    r = np.array([[0.1, 0.903], [np.nan, 0.2], [0.904, -0.5]])
    part = xr.Dataset({"r": (("layer", "head"), r)}, coords={"layer": [0, 1, 2], "head": [0, 1]})
    assert [head.name for head in strongest_heads(part, 3)] == ["L0H1", "L2H0", "L1H1"]
    assert len(strongest_heads(part, 10)) == 5
    assert float(strongest_heads(part, 1)[0].statistics["r"]) == 0.903


def test_the_map_has_a_row_for_every_head_and_is_largest_at_the_planted_one():
    spec = replace(HEADS, trials=3)
    trials = stages.trials_of(spec, spec.trials)
    unit = designs.heads_unit(trials, {"commas": (0, 3), "last": (2, 1)}, inactive=(1, 2))
    plain, partial = RSAStages().report.figures(RSAStages().summarise(spec, [unit]))
    assert (plain.name, partial.name) == ("heads", "heads-partial")
    rows = list(csv.DictReader(io.StringIO(plain.csv)))
    assert len(rows) == 5 * 3 * 4 * 2
    position = [row for row in rows if row["role"] == "last" and row["comparison"] == "position" and row["r"]]
    largest = max(position, key=lambda row: float(row["r"]))
    assert (largest["layer"], largest["head"]) == ("2", "1")
    assert {row["comparison"] for row in csv.DictReader(io.StringIO(partial.csv))} == {
        "position | features",
        "features | position",
    }
