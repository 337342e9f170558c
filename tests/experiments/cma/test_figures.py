"""Figures show the numbers of their tables, and tables those of the summary."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ElementTree
from functools import cache

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from finst.experiments.cma.figures import DEPTH, mediation_figures, overview, weakest_above
from finst.experiments.cma.verdict import top_heads
from finst.report.figures import INK, NamedFigure
from tests.experiments import synthetic

NAMES = ("map", "panels", "profile", "pairs")


@cache
def summary() -> xr.Dataset:
    return synthetic.summary(wrong=[(3, "swapped")])


@cache
def figures() -> dict[str, NamedFigure]:
    return {figure.name: figure for figure in mediation_figures(summary())}


def table(figure: NamedFigure) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(figure.csv)))


def test_the_figures_are_those_of_the_report_in_order():
    assert tuple(figures()) == NAMES


@pytest.mark.parametrize("name", ["map", "panels"])
def test_maps_have_one_row_a_head_and_the_summarys_numbers(name: str):
    rows = table(figures()[name])
    assert len(rows) == 3 * synthetic.LAYERS * synthetic.HEADS
    for row in rows:
        at = summary().sel(condition=row["condition"], layer=int(row["layer"]), head=int(row["head"]))
        assert float(row["mean"]) == float(at["mean"])
        assert float(row["p_fwer"]) == float(at["p_fwer"])
        assert row["above"] == str(bool(at["above"]))


def test_the_profile_has_the_summarys_numbers():
    rows = table(figures()["profile"])
    assert len(rows) == 3 * synthetic.LAYERS
    for row in rows:
        at = summary().sel(condition=row["condition"], layer=int(row["layer"]))
        shown = ("layer_mean", "layer_ci_low", "layer_ci_high", *DEPTH)
        assert [float(row[key]) for key in shown] == [float(at[key]) for key in shown]


def test_single_pairs_are_the_usable_ones_with_their_scores():
    rows = table(figures()["pairs"])
    assert len(rows) == 3 * (19 + 19 + 20)
    assert not any(row["pair"] == "3" for row in rows if row["condition"] == "id_selection")
    for row in rows:
        layer, head, pair = (int(row[key]) for key in ("layer", "head", "pair"))
        expected = summary()["score"].sel(condition=row["condition"], layer=layer, head=head, pair=pair)
        assert float(row["score"]) == float(expected)


def test_the_combined_map_colours_heads_above_the_noise_alone():
    """A cell is white exactly where no stage has a head above the noise."""
    (mesh,) = (c for c in figures()["map"].figure.axes[0].collections if c.get_array() is not None)
    colours = np.asarray(mesh.get_array()).reshape(synthetic.HEADS, synthetic.LAYERS, 3)
    above = summary()["above"].any("condition").transpose("head", "layer").values
    np.testing.assert_array_equal((colours < 1).any(axis=-1), above)


def test_the_panels_scales_are_symmetric_about_zero_and_mark_it():
    figure = figures()["panels"].figure
    meshes = [c for axes in figure.axes[:3] for c in axes.collections if c.get_array() is not None]
    assert len(meshes) == 3
    for mesh in meshes:
        low, high = mesh.get_clim()
        assert low == -high
    ticks = [[t.get_text() for t in axes.get_xticklabels()] for axes in figure.axes[3:]]
    assert all("0" in labels for labels in ticks)


def test_heads_above_and_below_the_noise_are_outlined_in_the_panels():
    outlined = [len(axes.patches) for axes in figures()["panels"].figure.axes[:3]]
    expected = (summary()["above"] | summary()["below"]).sum(["layer", "head"]).values
    assert outlined == expected.tolist()


def test_pairs_of_heads_that_are_not_above_the_noise_are_hollow_and_their_names_in_brackets():
    for axes, stage in zip(figures()["pairs"].figure.axes, synthetic.STAGED, strict=True):
        for head, label, dots in zip(
            top_heads(summary(), stage, 3), axes.get_xticklabels(), axes.collections, strict=True
        ):
            assert label.get_text() == (head.name if head.above else f"({head.name})")
            assert bool(np.size(np.asarray(dots.get_facecolor()))) == head.above
    assert not all(head.above for head in top_heads(summary(), "id_selection", 3))


def test_the_overview_has_the_combined_map_and_the_panels():
    figure = overview(summary())
    assert [axes.get_title(loc="left") for axes in figure.figure.axes[1:4]] == [
        "ID retrieval",
        "ID selection",
        "Feature retrieval",
    ]
    assert figure.csv == figures()["panels"].csv
    assert len(figure.png) < 200_000


def test_the_weakest_head_above_the_noise_is_on_the_scale():
    means = summary()["mean"].sel(condition="id_retrieval").values
    assert weakest_above(summary(), "id_retrieval") == means[2, 5]
    assert weakest_above(synthetic.summary({}), "id_retrieval") is None


def test_files_are_the_same_every_time_and_in_any_order():
    again = {figure.name: figure for figure in mediation_figures(summary())}
    for name in ("map", "pairs"):
        assert (again[name].svg, again[name].png) == (again[name].svg, figures()[name].png)
        assert figures()[name].svg == again[name].svg
        assert figures()[name].csv == again[name].csv


@pytest.mark.parametrize("name", NAMES)
def test_an_svg_takes_the_pages_ink_and_keeps_its_ids_to_itself(name: str):
    svg = figures()[name].svg
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg"
    assert INK not in svg
    assert "currentColor" in svg
    assert all(element.attrib["id"].startswith(f"{name}-") for element in root.iter() if "id" in element.attrib)


@pytest.mark.parametrize("name", NAMES)
def test_a_png_is_wide_enough_for_print(name: str):
    with Image.open(io.BytesIO(figures()[name].png)) as image:
        assert image.width >= 1400


@pytest.mark.parametrize("wrong", [[], [(pair, "changed") for pair in range(20)]])
def test_nothing_found_and_nothing_measured_can_be_drawn(wrong: list[tuple[int, str]]):
    assert all(figure.png for figure in mediation_figures(synthetic.summary({}, wrong=wrong)))
