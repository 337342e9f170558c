"""Top sets with ties, and random sets, on maps with known answers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from finst.analysis.headsets import layer_matched_random_k, random_k, top_k
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


def test_random_sets_are_different_heads_all_equally_likely() -> None:
    drawn = Counter(head for seed in range(400) for head in random_k(4, 5, 6, seed=seed))
    assert len(drawn) == 20
    assert 80 < min(drawn.values()) < max(drawn.values()) < 160
    assert all(len(set(random_k(4, 5, 6, seed=seed))) == 6 for seed in range(20))
    assert random_k(4, 5, 6, seed=3) == random_k(4, 5, 6, seed=3)


def test_matched_sets_have_as_many_heads_in_every_layer_and_others_as_far_as_there_are() -> None:
    chosen = ((0, 1), (2, 0), (2, 3), (3, 0), (3, 1), (3, 2))
    for seed in range(20):
        drawn = layer_matched_random_k(chosen, 4, seed=seed)
        assert Counter(layer for layer, _ in drawn) == Counter(layer for layer, _ in chosen)
        assert len(set(drawn)) == 6
        assert set(drawn) & set(chosen) <= {(3, 0), (3, 1), (3, 2)}
        assert (3, 3) in drawn
    assert len({layer_matched_random_k(chosen, 4, seed=seed) for seed in range(20)}) > 5


@pytest.mark.parametrize("k", [0, 7])
def test_a_set_has_to_fit_the_map(k: int) -> None:
    for refuse in (lambda: top_k(TIED, k), lambda: random_k(2, 3, k)):
        with pytest.raises(FinstError, match=f"sets of 1 to 6, not of {k}"):
            refuse()
