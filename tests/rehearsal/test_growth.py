"""Extrapolation: laws that are known give back their own value at any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finst.rehearsal.growth import Span, UnitTimes, of_preparation, of_statistics, of_units

seconds = st.floats(0.001, 100)


@given(each=st.floats(0, 10), a_trial=seconds, planned=st.lists(st.integers(1, 500), min_size=1, max_size=9))
def test_units_of_a_fixed_and_a_growing_part_are_told_apart(each: float, a_trial: float, planned: list[int]) -> None:
    small = [(3, each + 3 * a_trial)] * 4
    merged = UnitTimes(small, (6, each + 6 * a_trial), like=2)
    doubled = UnitTimes(small, (6, each + 6 * a_trial), like=1)
    expected = each * len(planned) + a_trial * sum(planned)
    for times in (merged, doubled):
        assert times.each == pytest.approx(each, abs=1e-6 + 1e-9 * a_trial)
        span = of_units(times, planned)
        assert span.value == pytest.approx(expected, rel=1e-6)
        assert span.low == pytest.approx(span.high, rel=1e-6)  # the measured units are alike


def test_the_range_of_units_is_two_standard_errors() -> None:
    span = of_units(UnitTimes([(1, 1.0), (1, 2.0), (1, 3.0), (1, 2.0)], None), [10, 10])
    error = (2 / 3) ** 0.5 / 2
    assert (span.value, span.low, span.high) == pytest.approx((40.0, 20 * (2 - 2 * error), 20 * (2 + 2 * error)))
    alone = of_units(UnitTimes([(4, 2.0)], None), [4, 4])
    assert (alone.low, alone.value, alone.high) == (0.0, 4.0, 8.0)


def test_a_larger_unit_that_took_no_less_leaves_nothing_fixed() -> None:
    assert UnitTimes([(2, 1.0), (2, 1.0)], (4, 2.5), like=2).each == 0.0


def test_preparation_grows_with_pictures_and_keeps_its_fixed_part() -> None:
    span, fixed = of_preparation([8, 16], [3.0, 5.0], 100)
    assert fixed == pytest.approx(1.0)
    assert (span.value, span.low, span.high) == pytest.approx((26.0, 26.0, 31.25))
    assert of_preparation([0], [0.5], 0) == (Span(0.5, 0.5, 0.5), 0.5)
    assert of_preparation([8, 16], [3.0, 5.0], 16)[0] == Span(5.0, 5.0, 5.0)  # measured at the plan's size


@given(st.tuples(st.floats(0, 1), st.floats(0, 0.01), st.floats(1e-7, 1e-4)))
def test_statistics_that_grow_with_the_square_of_trials(law: tuple[float, float, float]) -> None:
    def took(n: int) -> float:
        return law[0] + law[1] * n + law[2] * n**2

    sizes = [64, 128, 256, 512]
    span, fixed = of_statistics(sizes, [took(n) for n in sizes], 4050)
    assert span.value == pytest.approx(took(4050), rel=0.02)
    assert fixed == pytest.approx(law[0], abs=0.02 * took(64))
    assert span.low <= took(4050) * 1.02
    assert span.high >= took(4050) * 0.98


def test_statistics_at_the_size_of_the_plan_are_not_extrapolated() -> None:
    assert of_statistics([8, 16], [1.0, 1.5], 16)[0] == Span(1.5, 1.5, 1.5)
