"""The change of a number by a choice, and its verdict."""

from __future__ import annotations

import pytest

from finst.experiments.reproduction.shift import Direction, Estimate, Shift, shift_findings


def shift(without: Estimate, with_: Estimate, expected: Direction) -> Shift:
    return Shift("a thing", "cma", ("x=1",), "a number", without, with_, expected, "Because.")


@pytest.mark.parametrize(
    ("without", "with_", "expected", "outcome"),
    [
        (Estimate(0.2, 0.1, 0.3), Estimate(0.5, 0.4, 0.6), "up", "as expected"),
        (Estimate(0.2, 0.1, 0.3), Estimate(0.5, 0.4, 0.6), "down", "the other way"),
        (Estimate(0.2, 0.1, 0.3), Estimate(0.5, 0.4, 0.6), "either", "as expected"),
        (Estimate(0.2, 0.1, 0.45), Estimate(0.5, 0.4, 0.6), "up", "not visible"),
        (Estimate(1.0, 0.9, 1.0), Estimate(0.7), "down", "as expected"),
        (Estimate(1), Estimate(1), "up", "not visible"),
        (Estimate(1), Estimate(15), "up", "as expected"),
        (Estimate(1), Estimate(float("nan")), "up", "not visible"),
    ],
)
def test_overlapping_intervals_are_no_visible_change(
    without: Estimate, with_: Estimate, expected: Direction, outcome: str
):
    assert shift(without, with_, expected).outcome == outcome


def test_findings_have_both_numbers_and_the_verdict_of_every_shift():
    shifts = [
        shift(Estimate(1), Estimate(0.5, 0.25, 0.75), "up"),
        shift(Estimate(1), Estimate(2), "up"),
        shift(Estimate(1), Estimate(1), "up"),
    ]
    findings = shift_findings("some model", shifts, ["one more"], ["how"])
    assert [row[:3] for row in findings.rows] == [
        ("a thing", "1", "0.50 [0.25, 0.75]"),
        ("a thing", "1", "2"),
        ("a thing", "1", "1"),
    ]
    assert [row[3] for row in findings.rows] == [s.verdict for s in shifts]
    assert len({s.verdict for s in shifts}) == 3
    assert "1 of 3" in findings.headline
    assert findings.sentences == (*(s.sentence for s in shifts), "one more")
    assert all("--factor x=1" in s.sentence and s.sentence.endswith("Because.") for s in shifts)
