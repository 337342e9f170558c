"""Numbers, p values and lists as findings and tables write them."""

# ruff: noqa: RUF001  (typeset text: dashes and minus signs as readers expect them)
from __future__ import annotations

import pytest

from finst.report.wording import format_p, listed, number, p_heading, probability, runs, span


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
