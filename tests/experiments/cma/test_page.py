"""The report is self-contained, shows everything, and states what was found and what was not."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
import xarray as xr

from finst.experiments.cma.example import pair_example
from finst.experiments.cma.figures import mediation_figures
from finst.experiments.cma.page import mediation_page
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.verdict import verdict_of
from finst.report.figures import NamedFigure
from finst.report.page import published
from tests.experiments import synthetic
from tests.experiments.cma.test_verdict import with_values

MANIFEST: dict[str, Any] = {
    "format": 1,
    "spec": {"model": "organism", "seed": 0},
    "model": {"id": "organism", "revision": None, "hash": "c0ffee" * 8, "dtype": "float32"},
    "sessions": [{"started": "2026-01-01T00:00:00+00:00", "versions": {"torch": "2.11.0"}}],
    "unit_seconds": {"00000": 1.5, "00001": 2.5},
}

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """Collects links and text, and checks that tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


def rendered(summary: xr.Dataset, pair: int = 0, figures: Sequence[NamedFigure] = ()) -> str:
    spec = CMASpec(pairs=summary.sizes["pair"])
    return mediation_page(summary, figures, pair_example(spec, synthetic.reader(), pair), MANIFEST)


@cache
def summary() -> xr.Dataset:
    return synthetic.summary(wrong=[(1, "clean"), (2, "changed")])


@cache
def figures() -> tuple[NamedFigure, ...]:
    return mediation_figures(summary())


@cache
def html() -> str:
    return rendered(summary(), figures=figures())


def test_nothing_is_fetched_and_only_the_paper_is_linked():
    addresses = [a for a in read(html()).addresses if not a.startswith(("data:", "#"))]
    assert set(addresses) == {published()["paper"]["url"]}
    without_data = re.sub(r"data:[\w/+.-]+;base64,[\w+/=]+", "", html())
    assert set(re.findall(r"https?://[^\s\"'<>)]+", without_data)) == {published()["paper"]["url"]}
    assert not {"script", "link", "iframe"} & set(read(html()).tags)
    assert "@import" not in html()


def test_every_figure_is_in_with_its_numbers():
    for figure in figures():
        assert f'id="figure-{figure.name}"' in html()
        assert figure.svg in html()
        assert base64.b64encode(figure.csv.encode()).decode() in html()
        assert f'download="{figure.name}.csv"' in html()


def test_ids_are_unique():
    ids = read(html()).ids
    assert len(ids) == len(set(ids))


def test_the_headline_is_the_verdict():
    verdict = verdict_of(summary())
    heading = re.search(r"<h1>(.*?)</h1>", html())
    assert heading is not None
    assert read(heading[1]).text == verdict.headline
    for stage in verdict.stages:
        for sentence in (stage.detail, stage.strongest, stage.largest, stage.depth):
            assert sentence in read(html()).text


def test_a_missing_stage_is_marked_as_not_found():
    effects = {stage: heads for stage, heads in synthetic.STAGED.items() if stage != "id_retrieval"}
    page = rendered(synthetic.summary(effects))
    assert re.findall(r'class="status (\w+)"', page) == ["no", "yes", "yes"]


def test_the_largest_mean_is_on_the_card_and_in_the_table_of_answers():
    large = {"mean": 27.0, "p_fwer": 0.066, "above": False}
    page = rendered(with_values(summary(), "id_selection", 4, 0, **large))
    card = page.partition("ID selection</h3>")[2].partition("</div>")[0]
    assert "Largest mean: L4H0, 27.000 ± " in card
    assert "ID selection, L4H0 (not above the noise)" in page


def test_dropped_pairs_the_example_and_provenance_are_shown():
    text = " ".join(read(html()).text.split())
    assert "pair 2, changed:" in text
    assert "Pair 0" in text
    assert "model.hash" in text
    assert "c0ffee" * 8 in text
    assert "4.0 s in 2 units" in text
    assert "sessions[0].versions.torch" in text


def test_an_example_that_was_dropped_is_marked():
    text = " ".join(read(rendered(summary(), pair=2)).text.split())
    assert "Pair 2 (not used in feature retrieval:" in text
    assert "Pair 0 (not used" not in " ".join(read(html()).text.split())


def test_the_papers_values_are_labelled_as_the_papers():
    text = " ".join(read(html()).text.split())
    assert "not measured here" in text
    assert "Qwen2-VL-7B (28 layers)" in text
    assert "12–16" in text


def test_what_others_wrote_is_escaped():
    evil = synthetic.summary(pairs=4).assign_attrs(model="<script>alert(1)</script>")
    assert "<script>" not in rendered(evil)


def test_three_pictures_with_their_objects_outlined():
    scenes = re.findall(r'<svg viewBox="0 0 280 280".*?</svg>', html(), flags=re.DOTALL)
    assert len(scenes) == 3
    for scene in scenes:
        root = ElementTree.fromstring(scene)
        assert len(root.findall("path")) == 2
        assert len(root.findall("image")) == 1


@pytest.mark.parametrize("wrong", [[], [(pair, "changed") for pair in range(20)]])
def test_nothing_found_and_nothing_measured_make_a_report(wrong: list[tuple[int, str]]):
    page = rendered(synthetic.summary({}, wrong=wrong))
    last = "open" if wrong else "no"
    assert re.findall(r'class="status (\w+)"', page) == ["no", "no", last]
