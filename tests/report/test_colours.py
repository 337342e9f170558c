"""Colours of heads are told from the page in both themes, alone and mixed (WCAG 2.2, graphical objects: 3 to 1)."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from finst.experiments.cma.figures import STAGE_COLOURS
from finst.report.colours import DARK_PAPER, PAPER, contrast, mixed

HUES = tuple(STAGE_COLOURS.values())

SHARES = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(np.array)


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@given(shares=SHARES.filter(lambda shares: shares.max() > 0))
def test_heads_of_full_colour_stand_out_on_both_papers(shares: np.ndarray) -> None:
    colour = mixed(shares / shares.max(), HUES)
    assert contrast(colour, PAPER) >= 3
    assert contrast(colour, DARK_PAPER) >= 3


@given(shares=SHARES, more=st.floats(0, 1))
def test_stronger_heads_are_darker_and_absent_ones_white(shares: np.ndarray, more: float) -> None:
    assert mixed(np.zeros(3), HUES) == pytest.approx(1)
    weaker = mixed(shares * more, HUES)
    assert contrast(mixed(shares, HUES), PAPER) >= contrast(weaker, PAPER) - 1e-9


def test_a_single_stage_has_its_own_colour() -> None:
    for place, hue in enumerate(HUES):
        assert mixed(np.eye(3)[place], HUES) == pytest.approx(np.array(to_rgb(hue)))


def test_texts_and_statuses_are_readable_in_both_themes() -> None:
    style = files("finst.report").joinpath("templates/page.css").read_text()
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in style.split("@media", 2)[:2])
    assert (light["paper"], dark["paper"]) == (PAPER, DARK_PAPER)
    for theme in (light, dark):
        for name in ("ink", "soft", "good", "bad", "open", "link"):
            assert contrast(theme[name], theme["paper"]) >= 4.5, name
            assert contrast(theme[name], theme["card"]) >= 4.5, name
