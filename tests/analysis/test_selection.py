"""The smallest edit of those that cannot be told from the best one: against its statement, on invented outcomes."""

from __future__ import annotations

from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from finst.analysis.selection import smallest_of_the_best
from finst.errors import FinstError

Z = NormalDist().inv_cdf(0.975)

Table = tuple[np.ndarray, list[tuple[float, ...]]]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Outcomes of a grid of K and dose in any order, with settings that copy others (all ties) in some."""
    ks = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True))
    doses = draw(st.lists(st.sampled_from([-4.0, -1.0, 0.5, 1.0, 2.0, 30.0]), min_size=1, max_size=4, unique=True))
    sizes: list[tuple[float, ...]] = [*product(map(float, ks), doses)]
    trials = draw(st.integers(1, 30))
    hits = draw(hnp.arrays(bool, (trials, len(sizes))))
    if draw(st.booleans()):
        hits = hits[:, draw(hnp.arrays(int, len(sizes), elements=st.integers(0, len(sizes) - 1)))]
    return hits, sizes


def stated(hits: np.ndarray, sizes: list[tuple[float, ...]]) -> int:
    """The rule in the plainest way: a pass over all settings, a pass over all trials."""

    def edit(setting: int) -> tuple[float, ...]:
        return (*(abs(part) for part in sizes[setting]), setting)

    def same(one: int, other: int) -> bool:
        gained = lost = 0
        for trial in range(len(hits)):
            gained += hits[trial, one] and not hits[trial, other]
            lost += hits[trial, other] and not hits[trial, one]
        return gained + lost == 0 or abs(gained - lost) / (gained + lost) ** 0.5 <= Z

    most = max(hits[:, setting].sum() for setting in range(len(sizes)))
    best = min((setting for setting in range(len(sizes)) if hits[:, setting].sum() == most), key=edit)
    return min((setting for setting in range(len(sizes)) if same(setting, best)), key=edit)


@settings(max_examples=150, deadline=None)
@given(tables())
def test_the_chosen_setting_is_the_one_that_the_rule_states(table: Table):
    hits, sizes = table
    choice = smallest_of_the_best(hits, sizes)
    assert choice.setting == stated(hits, sizes)
    assert choice.equals[choice.best]
    assert choice.equals[choice.setting]
    assert hits[:, choice.best].sum() == hits.sum(0).max()
    smaller = [tuple(map(abs, size)) < tuple(map(abs, sizes[choice.setting])) for size in sizes]
    assert not choice.equals[smaller].any()


@settings(max_examples=60, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_neither_the_order_of_trials_nor_that_of_settings_matters(table: Table, random: object):
    hits, sizes = table
    rng = np.random.default_rng(random.getrandbits(32))  # pyright: ignore[reportAttributeAccessIssue]
    trials, order = rng.permutation(len(hits)), rng.permutation(len(sizes))
    chosen = sizes[smallest_of_the_best(hits, sizes).setting]
    mixed = [sizes[place] for place in order]
    again = mixed[smallest_of_the_best(hits[trials][:, order], mixed).setting]
    assert tuple(map(abs, again)) == tuple(map(abs, chosen)) or {-again[-1], again[-1]} == {-chosen[-1], chosen[-1]}


def test_a_smaller_k_goes_before_a_smaller_dose_and_weaker_settings_are_out():
    sizes = [(1, 1.0), (1, 30.0), (5, 1.0), (5, 2.0), (40, 100.0)]
    shares = [0, 10, 3, 12, 13]  # hits of 24, nested: 13 and 10 cannot be told apart, 13 and 3 can
    hits = np.array([np.arange(24) < count for count in shares]).T
    choice = smallest_of_the_best(hits, sizes)
    assert (sizes[choice.setting], sizes[choice.best]) == ((1, 30.0), (40, 100.0))
    assert choice.equals.tolist() == [False, True, False, True, True]


def test_where_nothing_can_be_told_apart_the_smallest_edit_is_taken():
    hits = np.zeros((12, 3), dtype=bool)
    hits[:3, 2] = True
    assert smallest_of_the_best(hits, [(3, 1.0), (1, 2.0), (9, 9.0)]).setting == 1
    hits[:4, 2] = True
    assert smallest_of_the_best(hits, [(3, 1.0), (1, 2.0), (9, 9.0)]).setting == 2


@pytest.mark.parametrize("shape", [(0, 2), (3, 0), (3, 1)])
def test_nothing_to_choose_from_is_refused(shape: tuple[int, int]):
    with pytest.raises(FinstError, match="expected one or more of each"):
        smallest_of_the_best(
            np.zeros(shape, dtype=bool), [(1.0,), (2.0,)][: shape[1] or 0] + [(3.0,)] * (shape[1] == 1)
        )
