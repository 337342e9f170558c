"""What all pages share: outlines, records, published values, and texts that are no markup."""

# ruff: noqa: RUF001  (typeset text: dashes as readers expect them)
from __future__ import annotations

import numpy as np

from finst.report.example import Cells, ContextView, Lattice, TokenView, TrialExample, outline
from finst.report.findings import Findings
from finst.report.page import provenance, published, report_page, view_entry, visible

STARS = (Cells(0, "red star", ((0, 1),)), Cells(1, "blue star", ((1, 2), (1, 3))))
VIEW = ContextView("trial", "A scene.", np.zeros((20, 40, 3), np.uint8), STARS, "blue star", (1,))


def test_an_outline_goes_around_and_not_through():
    assert outline([(0, 0), (0, 1)], Lattice.even((1, 2), 20, 20)) == "M0 0H10M0 20H10M0 0V20M10 0H20M10 20H20M20 0V20"


def test_a_record_becomes_lines():
    lines = dict(provenance({"a": {"b": None}, "c": [1, 2], "d": [{"e": True}]}))
    assert lines == {"a.b": "–", "c": "1, 2", "d[0].e": "True"}


def test_published_values_are_in_the_papers_order_of_layers():
    for row in published()["cma"]["layers"]:
        assert row["id_retrieval"][1] < row["id_selection"][0]
        assert row["id_selection"][1] < row["feature_retrieval"][0]


def test_white_space_of_tokens_is_visible():
    assert [visible(text) for text in (" a", "\n", "")] == ["·a", "⏎", "∅"]


def test_a_view_has_its_size_its_grid_and_outlines():
    entry = view_entry(VIEW, (2, 4))
    assert (entry["width"], entry["height"]) == (40, 20)
    assert (entry["xs"], entry["ys"]) == ([10, 20, 30], [10])
    assert [cells["outline"] for cells in entry["cells"]] == [
        outline(cells.patches, Lattice.even((2, 4), 20, 40)) for cells in STARS
    ]
    assert [cells["target"] for cells in entry["cells"]] == [False, True]


def test_a_report_marks_tokens_and_escapes_texts():
    example = TrialExample((2, 4), VIEW, (TokenView("<b>", "text"), TokenView(" a", "last", ("marked",))))
    findings = Findings("counting", "1 < 2", ("a & b",), ("n",), (("1",),), ("How.",))
    record = {"spec": {"model": "<script>", "dtype": "float32"}}
    html = report_page(findings, (), example, record)
    assert "<h1>1 &lt; 2</h1>" in html
    assert "<script>" not in html
    assert "&lt;b&gt;" in html
    assert html.count('class="token last patched"') == 1
    assert html.count('class="token text"') == 1
