"""Findings as text for a terminal, and tables."""

from __future__ import annotations

import numpy as np
import xarray as xr

from finst.report.findings import Findings
from finst.report.tables import aligned, tidy


def test_the_text_has_headline_sentences_and_table() -> None:
    findings = Findings("counting", "There are two.", ("one is red",), ("what", "n"), (("it", "2"),), ("Counted.",))
    assert findings.text.splitlines() == ["There are two.", "", "- One is red", "", "what  n", "it    2"]


def test_columns_are_padded_to_their_widest_entry() -> None:
    assert aligned([("a", "bb", "c"), ("aaa", "b", "")]) == ["a    bb  c", "aaa  b"]


def test_a_tidy_table_has_a_row_for_each_entry_in_full_precision() -> None:
    values = np.array([[0.1, 1 / 3], [2.0, np.nan]])
    data = xr.Dataset(
        {"r": (("layer", "role"), values), "n": ("layer", [4, 5])},
        coords={"layer": [0, 1], "role": ["last", "comma"], "set": "pca"},
    )
    lines = tidy(data, ["r", "n"]).splitlines()
    assert lines[0] == "layer,role,r,n"
    assert lines[1:] == ["0,last,0.1,4", f"0,comma,{1 / 3!r},4", "1,last,2.0,5", "1,comma,,5"]
