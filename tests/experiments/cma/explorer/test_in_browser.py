"""The page of all heads in a browser: it loads nothing, and mouse and keyboard choose and filter heads."""

# ruff: noqa: RUF001  (typeset text: dashes and minus signs as readers expect them)

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finst.experiments.cma.head_maps import mean_map
from finst.report import wording
from finst.report.wording import format_p, interval, number, percent
from tests import browser
from tests.browser import Page
from tests.experiments import synthetic
from tests.experiments.cma.explorer.test_page import page, summary

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="there is no Chromium here")

READY = "document.body && document.body.dataset.ready === 'yes'"

TITLE = "document.getElementById('name').textContent"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "heads.html"
    path.write_text(page(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser.browser(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def opened(chromium: Page, file: Path) -> Iterator[Callable[..., Page]]:
    """``opened(width=390, dark=True)`` opens the page; at the end nothing went wrong and nothing was loaded."""

    def open_page(**how: Any) -> Page:
        chromium.requests.clear()
        chromium.open(file, **how)
        chromium.wait(READY)
        return chromium

    yield open_page
    assert chromium.problems == []
    assert [each for each in chromium.requests if not each.startswith("data:")] == [file.as_uri()]


@pytest.fixture
def tab(opened: Callable[..., Page]) -> Page:
    return opened()


def place(tab: Page, stage: str, layer: int, head: int) -> tuple[float, float]:
    """Where the cell of a head lies in the window, in px."""
    view = f"Object.values(Bokeh.index).find((one) => one.model.name === 'map-{stage}')"
    tab.wait(f"({view})?.frame.bbox.width > 0")
    tab.value(f"document.querySelector('[data-stage={stage}]').scrollIntoView({{block: 'center'}})")
    x, y = tab.value(f"""(() => {{
        const {{el, frame}} = {view};
        const box = el.getBoundingClientRect();
        return [box.x + frame.x_scale.compute({layer}), box.y + frame.y_scale.compute({head})];
    }})()""")
    return x, y


def cells(tab: Page, stage: str) -> list[str]:
    """The table's cells about the chosen head in one stage."""
    return json.loads(
        tab.value(f"JSON.stringify([...document.getElementById('row-{stage}').cells].map((c) => c.textContent))")
    )


def expected(stage: str, layer: int, head: int) -> list[str]:
    """The same from the run."""
    at = summary().sel(condition=stage, layer=layer, head=head)
    mean, error, low, high, p = (
        float(np.float32(at[name])) for name in ("mean", "standard_error", "ci_low", "ci_high", "p_fwer")
    )
    rank = 1 + int((summary()["mean"].sel(condition=stage) > at["mean"]).sum())
    return [
        f"{number(mean)} ± {number(error)}",
        interval(low, high),
        percent(mean, float(at["margin"])),
        format_p(p),
        f"{rank} of 80",
        f"{int(at['n'])} pairs",
        "yes" if at["above"] else "no",
    ]


def test_a_click_on_a_map_shows_the_numbers_of_that_head(tab: Page) -> None:
    assert tab.value(TITLE) == "L3H4"
    tab.click(*place(tab, "id_selection", 5, 2))
    tab.wait(f"{TITLE} === 'L5H2'")
    for stage in wording.NAMES:
        assert cells(tab, stage)[1:] == expected(stage, 5, 2)
    assert tab.value("document.getElementById('head').value") == str(5 * synthetic.HEADS + 2)
    score = float(summary()["score"].sel(condition="id_selection", layer=5, head=2, pair=0))
    assert tab.value("document.getElementById('example-id_selection').textContent") == number(score)
    assert tab.value("document.getElementById('sets').innerText").split() == ["steer", "ID", "selection", "2"]
    tab.click(*place(tab, "id_selection", 0, 0))
    tab.wait(f"{TITLE} === 'L0H0'")
    assert tab.value("document.getElementById('sets').innerText") == ""
    assert tab.value("document.getElementById('none').hidden") is False


def test_the_keyboard_reaches_every_control_and_chooses_heads(tab: Page) -> None:
    tab.value("document.getElementById('stage').focus()")
    seen = []
    for _ in range(5):
        seen.append(tab.value("document.activeElement.id"))
        tab.press("Tab")
    assert seen == ["stage", "first", "last", "least", "head"]
    tab.value("document.getElementById('head').focus()")
    before = tab.value(TITLE)
    tab.press("ArrowDown")
    tab.wait(f"{TITLE} !== '{before}'")
    chosen = tab.value(TITLE)
    assert tab.value("document.getElementById('head').selectedOptions[0].textContent").startswith(chosen)
    layer, head = (int(part) for part in chosen.removeprefix("L").split("H"))
    assert cells(tab, "id_selection")[1:] == expected("id_selection", layer, head)
    selected = tab.value("Bokeh.documents[0].get_model_by_name('heads').selected.indices")
    assert selected == [layer * synthetic.HEADS + head]


def test_filters_leave_heads_out_of_maps_and_list(tab: Page) -> None:
    tab.value("document.getElementById('stage').focus()")
    for _ in range(2):
        tab.press("ArrowDown")
    for key in ("Tab", "4", "Tab", "Tab", "0", ".", "5"):
        tab.press(key)
    means = mean_map(summary(), "id_selection")
    kept = (abs(means) >= 0.5) & (np.arange(synthetic.LAYERS) >= 4)[:, None]
    shown = tab.value("Bokeh.documents[0].get_model_by_name('shown-id_selection').booleans")
    assert np.array_equal(np.reshape(shown, kept.shape), kept)
    assert tab.value("document.getElementById('count').textContent").startswith(f"{int(kept.sum())} of 80 heads")
    options = tab.value("[...document.getElementById('head').options].map((one) => one.text.split(':')[0])")
    ordered = sorted(zip(*np.nonzero(kept), strict=True), key=lambda place: -means[place])
    assert options == [f"L{layer}H{head}" for layer, head in ordered]
    assert tab.value(TITLE) == "L5H2"
    visible = "[...document.querySelectorAll('[data-stage]')].filter((one) => !one.hidden)"
    assert set(tab.value(f"{visible}.map((one) => one.dataset.stage)")) == {"id_selection"}
    for key in "99":
        tab.press(key)
    assert tab.value("document.getElementById('count').textContent").startswith(f"{int(kept.sum())} of 80 heads")
    tab.press("Tab")
    tab.value("(document.getElementById('least').value = '99', document.getElementById('least')"
              ".dispatchEvent(new Event('input')))")  # fmt: skip
    assert tab.value("document.getElementById('count').textContent").startswith("No head passes these filters")
    assert tab.value(TITLE) == "L5H2"


def test_the_pointer_shows_score_interval_p_and_rank_in_every_stage(tab: Page) -> None:
    tab.point(*place(tab, "id_selection", 5, 2))
    tab.wait("finstHeads.headText(42).startsWith('L5H2')")
    lines = tab.value("finstHeads.headText(42)").splitlines()
    assert lines[0] == "L5H2"
    for line, (stage, name) in zip(lines[1:], wording.NAMES.items(), strict=True):
        score, ends, _, p, rank, n, _ = expected(stage, 5, 2)
        against = p if p.startswith("<") else f"= {p}"
        mean = score.partition(" ")[0]
        assert line == f"{name}: {mean} {ends} logits, family-wise p {against} against sign flips, rank {rank}, n = {n}"
    shown = "[...document.querySelectorAll('*')].concat(Object.values(Bokeh.index).map((one) => one.el))"
    text = f"{shown}.some((one) => one.shadowRoot && one.shadowRoot.textContent.includes('rank 1 of 80'))"
    tab.wait(text)


VALUES = (0.0, 1.23456, -0.5, 4e-4, -1.25e-7, 9.99e-12, 17.0005, 0.0625, 0.1875, -2.5625, 0.5, float("nan"))
"""Some lie exactly between two numbers of three decimals."""


def test_numbers_are_written_as_in_reports(tab: Page) -> None:
    for value in VALUES:
        script = "NaN" if np.isnan(value) else repr(value)
        assert tab.value(f"finstHeads.number({script})") == number(value)
        assert tab.value(f"finstHeads.interval({script}, 1)") == interval(value, 1.0)
        assert tab.value(f"finstHeads.share({script}, 4)") == (percent(value, 4.0) or "–")
        if 0 <= value <= 1:
            assert tab.value(f"finstHeads.probability({script})") == format_p(value)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(opened: Callable[..., Page], width: int) -> None:
    tab = opened(width=width)
    assert tab.value("document.documentElement.scrollWidth") <= width
    for stage in wording.NAMES:
        left, right = place(tab, stage, 0, 0)[0], place(tab, stage, synthetic.LAYERS - 1, 0)[0]
        assert 0 < left < right < width


@pytest.mark.parametrize("dark", [False, True])
def test_texts_of_the_maps_take_the_colours_of_the_theme(opened: Callable[..., Page], dark: bool) -> None:
    ink = "#e4e8ed" if dark else "#1b2028"
    parts = "Bokeh.documents[0].get_model_by_name('map-id_retrieval').below"
    assert opened(dark=dark).value(f"{parts}.map((part) => part.major_label_text_color)") == [ink] * 2
