"""Runs side by side: common scales, comparable depths, and a self-contained page."""

# ruff: noqa: RUF001  (typeset text: dashes and minus signs as readers expect them)
from __future__ import annotations

import csv
import io
from functools import cache
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from finst.experiments.cma.page import mediation_side_by_side
from finst.experiments.cma.side_by_side import headline, last_layer, stage_rows, step_rows, steps_of, table
from finst.experiments.cma.side_figures import side_figures
from finst.report.comparison import Difference, Side
from finst.report.figures import NamedFigure, canvas
from finst.report.findings import Findings
from finst.report.page import findings_side_by_side
from tests.experiments import synthetic
from tests.experiments.cma.test_page import MANIFEST, read

SEED = Difference("seed", ("0", "7"), misleads=True)
TORCH = Difference("torch", ("2.11.0", "2.12.0"), misleads=False)


@cache
def sides() -> tuple[Side, Side]:
    """A model with all stages, and a smaller one that has no feature retrieval."""
    late = {(1, 1): 0.9, (3, 0): 5.0}
    effects = {"id_retrieval": {(0, 1): 0.4}, "id_selection": late, "feature_retrieval": {}}
    small = synthetic.summary(effects, pairs=10).isel(layer=slice(0, 5), head=slice(0, 4))
    return Side("whole", synthetic.summary(pairs=10), MANIFEST), Side("small", small, MANIFEST)


@cache
def figures() -> dict[str, NamedFigure]:
    return {figure.name: figure for figure in side_figures(sides())}


def rendered(**changes: Any) -> str:
    given: dict[str, Any] = {"figures": (), "differences": ()}
    return mediation_side_by_side(sides(), **given | changes)


def test_stages_are_placed_by_relative_depth() -> None:
    whole, small = stage_rows(sides(), "id_selection")
    assert (whole.above, whole.layers, whole.depth) == ("2 of 80", "4–5", "0.44–0.56")
    assert (small.above, small.layers, small.depth) == ("2 of 20", "1 and 3", "0.25–0.75")
    assert (whole.strongest_depth, small.strongest_depth) == ("0.56", "0.75")
    assert small.strongest.startswith("L3H0: ")
    part = sides()[1].summary.sel(condition="id_selection")
    assert small.centre.startswith(f"{float(part['centre_mean']) / 4:.2f} [")
    share = float(part["mean"].sel(layer=3, head=0) / part["margin"])
    assert small.share == f"{100 * share:.0f} %"
    assert small.used == int(part["n"])


def test_an_absent_stage_has_dashes() -> None:
    whole, small = stage_rows(sides(), "feature_retrieval")
    assert whole.found
    assert not small.found
    assert (small.above, small.layers, small.depth, small.centre) == ("0 of 20", "–", "–", "–")
    assert small.strongest.endswith("(not above the noise)")
    assert headline(sides()).endswith("2 runs: ID retrieval in 2, ID selection in 2, feature retrieval in 1.")


def test_orders_are_tested_in_each_model() -> None:
    assert steps_of(sides())[0] == "ID retrieval before ID selection"
    (whole, small), (_, untestable) = (step_rows(sides(), step) for step in range(2))
    assert (whole.outcome, small.outcome) == ("holds", "holds")
    apart = sides()[1].summary["order_difference"].values[0]
    assert small.layers.startswith(f"{apart:.2f} [")
    assert small.depth.startswith(f"{apart / 4:.2f} [")
    assert untestable.outcome == "not testable: No head above the noise in feature retrieval."


def test_the_terminals_table_has_a_row_a_stage_and_model() -> None:
    rows = table(sides())
    assert [row[:2] for row in rows[1:3]] == [("ID retrieval", "whole"), ("ID retrieval", "small")]
    assert len(rows) == 7
    assert len({len(row) for row in rows}) == 1


def test_all_models_have_one_scale_a_condition() -> None:
    meshes = [
        mesh for axes in figures()["panels"].figure.axes for mesh in axes.collections if isinstance(mesh, QuadMesh)
    ]
    drawn = [mesh for mesh in meshes if np.size(np.asarray(mesh.get_array())) in (80, 20)]
    assert len(drawn) == 6
    for place, stage in enumerate(synthetic.STAGED):
        largest = max(float(abs(side.summary["mean"].sel(condition=stage)).max()) for side in sides())
        assert [mesh.get_clim() for mesh in drawn[2 * place : 2 * place + 2]] == [(-largest, largest)] * 2


def test_the_combined_maps_full_colour_is_the_largest_score_of_any_model() -> None:
    """Of the smaller model's cells, that of the strongest head of all is the stage's own colour and no other is."""
    whole, small = figures()["maps"].figure.axes[:2]
    colours = {axes: np.asarray(axes.collections[0].get_facecolor())[:, :3] for axes in (whole, small)}
    hue = (0xD5 / 255, 0x5E / 255, 0x00 / 255)
    full = {axes: (abs(found - hue).max(axis=1) < 1e-6).sum() for axes, found in colours.items()}
    assert (full[whole], full[small]) == (0, 1)


def test_tables_of_figures_have_every_models_numbers() -> None:
    by_label = {side.label: side for side in sides()}
    for name in ("maps", "panels", "depths"):
        rows = list(csv.DictReader(io.StringIO(figures()[name].csv)))
        assert len(rows) == 3 * ((80 + 20) if name != "depths" else (10 + 5))
        for row in rows:
            side = by_label[row["model"]]
            at = side.summary.sel(condition=row["condition"], layer=int(row["layer"]))
            if name == "depths":
                assert float(row["layer_mean"]) == float(at["layer_mean"])
                assert float(row["depth"]) == int(row["layer"]) / last_layer(side)
            else:
                assert float(row["mean"]) == float(at["mean"].sel(head=int(row["head"])))


def test_the_page_stands_by_itself_and_shows_everything() -> None:
    page = read(rendered(figures=tuple(figures().values())))
    assert {address.partition(":")[0] for address in page.addresses if not address.startswith("#")} <= {"data", "https"}
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("figure") == 3
    for text in ("L3H0: ", "0.25–0.75", "not testable", "whole", "small", "c0ffee", "2.11.0"):
        assert text in page.text
    assert "warning" not in rendered().partition("<body")[2]


def test_what_makes_a_comparison_misleading_is_on_top() -> None:
    page = rendered(differences=(SEED, TORCH))
    warning = page.partition('<div class="warning">')[2].partition("</header>")[0]
    assert "<td>seed</td>" in warning
    assert "torch" not in warning
    assert "torch (2.11.0, 2.12.0)" in read(page).text


def test_labels_are_texts_and_no_markup() -> None:
    evil = [Side(f"<script>{side.label}", side.summary, side.record) for side in sides()]
    page = mediation_side_by_side(evil, (), ())
    assert "script" not in read(page).tags


@pytest.mark.parametrize("missing", [False, True])
def test_other_experiments_have_their_figures_side_by_side(missing: bool) -> None:
    def drawn(name: str) -> NamedFigure:
        figure = canvas(2, 1)
        figure.add_subplot()
        return NamedFigure(name, "Title", "Caption.", figure, "a\n1\n")

    findings = Findings("counting", "There are two.", ("one is there",), ("what",), (("it",),), ("counted",))
    rows = [{"first": drawn("first-1"), "second": drawn("second-1")}, {"first": drawn("first-2")}]
    if not missing:
        rows[1]["second"] = drawn("second-2")
    html = findings_side_by_side(("A", "B"), [findings] * 2, rows, [MANIFEST] * 2, (SEED,))
    page = read(html)
    assert [found for found in page.ids if found.startswith("figure-")] == [
        "figure-first-1",
        "figure-first-2",
        "figure-second-1",
        *([] if missing else ["figure-second-2"]),
    ]
    assert page.text.count("There are two.") == 2
    assert 'class="warning"' in html
