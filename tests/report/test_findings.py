"""Findings as text for a terminal, and tables."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from finst.report.findings import Findings
from finst.report.tables import aligned, labelled, tidy
from finst.report.wording import p_heading, probability


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


@pytest.mark.parametrize(
    "text",
    ["right more often, p = 0.012", "family-wise p < 0.001 in all", "q = 0.5, p = 0.1 against chance", "p not defined"],
)
def test_a_p_without_what_it_is_against_is_refused(text: str) -> None:
    for headline, sentences in ((text, ()), ("n = 2", (text,))):
        with pytest.raises(ValueError, match="what it is against"):
            Findings("counting", headline, sentences, ("what",), (), ())


@pytest.mark.parametrize("column", ["p", "q", "family-wise p"])
def test_a_column_of_p_names_what_it_is_against(column: str) -> None:
    with pytest.raises(ValueError, match="what it is against"):
        Findings("counting", "n = 2", (), (column,), (), ())
    Findings("counting", "p = 0.500 against no edit", (), (p_heading("no edit", column),), (), ())


@given(p=st.floats(0, 1) | st.just(float("nan")), name=st.sampled_from(["p", "q", "family-wise p"]))
def test_what_the_wording_writes_is_accepted(p: float, name: str) -> None:
    text = probability(p, "the controls", name)
    assert Findings("counting", f"{text}.", (f"n = 3, {text}; more",), (), (), ()).headline == f"{text}."


def test_narrow_screens_give_cells_the_heading_of_their_column() -> None:
    head = '<thead><tr><th></th><th>a &lt;i&gt; <i>b</i> "c"</th></tr></thead>'
    table = f'<table>{head}<tbody><tr><td>x</td><td class="n">1</td></tr></tbody></table>'
    page = labelled(f"<style>p {{}}</style><p>{table}</p>{table}")
    style, _, body = page.partition("</style>")
    assert body == f"<p>{table}</p>{table}".replace("<table", '<table id="table-1"', 1).replace(
        "<table>", '<table id="table-2">'
    )
    label = r'content: "a \3c i\3e  b \22 c\22 ";'
    for name in ("table-1", "table-2"):
        assert f"#{name} td:nth-child(2):not([colspan])::before {{ {label} }}" in style
    assert "nth-child(1):not([colspan])::before" not in style
    assert labelled("<style></style><p>no table</p>") == "<style></style><p>no table</p>"
