"""Numbers, p values and lists as findings and tables write them."""

# ruff: noqa: RUF001  (typeset text: dashes and minus signs as readers expect them)
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finst.report.wording import (
    counted,
    format_p,
    interval,
    listed,
    number,
    of_margin,
    p_heading,
    percent,
    probability,
    runs,
    sampled,
    span,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.235"),
        (-0.5, "−0.500"),
        (0.0, "0.000"),
        (6.6e-6, "6.6·10⁻⁶"),
        (-2e-4, "−2.0·10⁻⁴"),
        (float("nan"), "–"),
    ],
)
def test_numbers_are_typeset(value: float, text: str):
    assert number(value) == text


def test_layers_and_lists():
    assert span([2]) == "layer 2"
    assert span([2, 3, 4, 7]) == "layers 2–4 and 7"
    assert runs([]) == ""
    assert listed("abc") == "a, b and c"
    assert listed([]) == ""


def test_p_values():
    assert (format_p(0.0004), format_p(0.05)) == ("< 0.001", "0.050")
    assert probability(0.0001, "no edit") == "p < 0.001 against no edit"
    assert probability(0.0123, "sign flips", "family-wise p") == "family-wise p = 0.012 against sign flips"
    assert probability(float("nan"), "chance") == "p not defined against chance"
    assert p_heading("the controls") == "p against the controls"
    with pytest.raises(TypeError):
        probability(0.5)  # pyright: ignore[reportCallIssue]


def test_one_is_singular_and_all_else_is_plural():
    assert [counted(count, "head") for count in (0, 1, 2, 1000)] == ["0 heads", "1 head", "2 heads", "1,000 heads"]
    assert (counted(2, "query"), counted(2, "key"), sampled(1, "pair")) == ("2 queries", "2 keys", "n = 1 pair")
    assert (span([3]), span([3, 4])) == ("layer 3", "layers 3–4")


@given(part=st.floats(-50, 50), whole=st.floats(0.01, 50))
def test_shares_of_the_margin_are_the_numbers(part: float, whole: float):
    text = of_margin(part, whole)
    assert text.endswith(" % of the clean margin")
    assert float(text.split()[0].replace("−", "-")) == pytest.approx(100 * part / whole, abs=0.51)


@pytest.mark.parametrize("margin", [float("nan"), 0.0, -1.0])
def test_a_margin_that_is_no_scale_is_said(margin: float):
    assert (percent(0.3, margin), of_margin(0.3, margin)) == ("", "share of the clean margin not known")


def test_an_absent_interval_is_said():
    assert (interval(0.1, 0.25, 2), interval(float("nan"), 1)) == ("[0.10, 0.25]", "[no interval]")
