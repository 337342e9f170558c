"""Top sets with ties, and random sets, on maps with known answers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.analysis.headsets import Head, displaced, largest_k, layer_matched_random_k, random_k, top_k
from finst.errors import FinstError

TIED = np.array([[5.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


def test_the_top_is_the_largest_in_their_order() -> None:
    result = top_k(np.array([[1.0, 4.0], [3.0, 2.0]]), 3)
    assert result.heads == ((0, 1), (1, 0), (1, 1))
    assert (result.cut, result.tied, result.tied_inside, result.warning) == (2.0, 1, 1, "")


def test_ties_at_the_cut_are_counted_and_broken_by_seed() -> None:
    tops = [top_k(TIED, 3, seed=seed) for seed in range(60)]
    assert {top.heads[0] for top in tops} == {(0, 0)}
    assert {(top.cut, top.tied, top.tied_inside) for top in tops} == {(1.0, 4, 2)}
    drawn = Counter(head for top in tops for head in top.heads[1:])
    assert set(drawn) == {(0, 1), (0, 2), (1, 0), (1, 1)}
    assert min(drawn.values()) > 15
    assert tops[7] == top_k(TIED, 3, seed=7)
    assert tops[0].warning == "4 heads tie at the cut, 2 of them taken at random"


def test_a_cut_that_takes_all_tied_heads_gives_no_warning() -> None:
    assert top_k(TIED, 5).warning == ""
    assert top_k(TIED, 1).tied == 1


def test_differences_within_the_noise_are_ties() -> None:
    scores = np.array([[3.0, 2.0, 2.1], [1.95, 0.0, 2.2]])
    assert top_k(scores, 3).tied == 1
    tops = [top_k(scores, 3, tolerance=0.16, seed=seed) for seed in range(40)]
    assert {top.tied for top in tops} == {4}
    assert {top.tied_inside for top in tops} == {2}
    assert {head for top in tops for head in top.heads} == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)}


def test_more_heads_than_are_above_the_noise_give_a_warning() -> None:
    result = top_k(TIED, 5, above=TIED > 2)
    assert result.above_noise == 1
    assert result.warning == "only 1 heads are above the noise, 5 were asked for"
    assert top_k(TIED, 1, above=TIED > 2).warning == ""


def test_random_sets_are_of_heads_outside_all_equally_likely() -> None:
    outside = ((0, 0), (1, 3), (3, 4), (2, 2), (0, 1))
    drawn = Counter(head for seed in range(400) for head in random_k((4, 5), outside, seed=seed))
    assert len(drawn) == 15
    assert not set(drawn) & set(outside)
    assert 100 < min(drawn.values()) < max(drawn.values()) < 170
    assert all(len(set(random_k((4, 5), outside, seed=seed))) == 5 for seed in range(20))
    assert random_k((4, 5), outside, seed=3) == random_k((4, 5), outside, seed=3)


@st.composite
def chosen_sets(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[Head, ...]]:
    """Up to half of the heads of a small model, often whole layers of them."""
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    heads = draw(st.permutations([(layer, head) for layer in range(shape[0]) for head in range(shape[1])]))
    heads = sorted(heads, key=lambda head: head[0]) if draw(st.booleans()) else heads
    return shape, tuple(heads[: draw(st.integers(0, largest_k(len(heads))))])


@settings(max_examples=100, deadline=None)
@given(chosen_sets(), st.integers(0, 5))
def test_controls_are_as_many_heads_outside_matched_by_layer_as_far_as_there_are(
    found: tuple[tuple[int, int], tuple[Head, ...]], seed: int
) -> None:
    shape, chosen = found
    for drawn in (random_k(shape, chosen, seed=seed), layer_matched_random_k(shape, chosen, seed=seed)):
        assert len(set(drawn)) == len(drawn) == len(chosen)
        assert not set(drawn) & set(chosen)
    wanted, got = (
        Counter(layer for layer, _ in heads) for heads in (chosen, layer_matched_random_k(shape, chosen, seed=seed))
    )
    assert all(got[layer] >= min(wanted[layer], shape[1] - wanted[layer]) for layer in wanted)
    missing = sum(max(0, 2 * count - shape[1]) for count in wanted.values())
    assert displaced(layer_matched_random_k(shape, chosen, seed=seed), chosen) <= missing


def test_a_full_layer_is_matched_from_the_nearest_ones() -> None:
    chosen = ((2, 0), (2, 1), (2, 2), (4, 0))
    for seed in range(10):
        drawn = layer_matched_random_k((5, 3), chosen, seed=seed)
        assert Counter(layer for layer, _ in drawn)[4] == 1
        assert {layer for layer, _ in drawn} == {1, 3, 4} or {layer for layer, _ in drawn} <= {1, 3, 4}
        assert displaced(drawn, chosen) == 3
    assert len({layer_matched_random_k((5, 3), chosen, seed=seed) for seed in range(20)}) > 5


def test_more_than_half_of_all_heads_leave_too_few_others() -> None:
    for draw in (random_k, layer_matched_random_k):
        with pytest.raises(FinstError, match="1 heads are outside a set of 3: expected as many"):
            draw((2, 2), ((0, 0), (0, 1), (1, 0)))


@pytest.mark.parametrize("k", [0, 7])
def test_a_set_has_to_fit_the_map(k: int) -> None:
    with pytest.raises(FinstError, match=f"sets of 1 to 6, not of {k}"):
        top_k(TIED, k)
