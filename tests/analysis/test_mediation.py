"""Scores, stages and their order on scores with a known answer."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from finst.analysis import mediation

LOGITS = arrays(np.float64, (4, 2), elements=st.floats(-20, 20))
FAST = {"permutations": 1000, "resamples": 200}


def planted(heads: dict[tuple[int, int], float], n: int = 30, seed: int = 0) -> np.ndarray:
    scores = np.random.default_rng(seed).normal(0, 0.2, size=(n, 6, 4))
    for (layer, head), effect in heads.items():
        scores[:, layer, head] += effect
    return scores


def centres(stages: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: mediation.centre_of_mass(s, mediation.stage_map(s, noise=1e-5, **FAST).above)
        for name, s in stages.items()
    }


def test_a_score_is_the_papers_difference_of_differences():
    patched, unedited = np.array([[1.0, 4.0], [2.0, 2.0]]), np.array([[3.0, 0.5]])
    assert mediation.scores(patched, unedited).tolist() == [3 - -2.5, 0 - -2.5]


@given(patched=LOGITS, unedited=LOGITS, shift=st.floats(-5, 5))
def test_scores_ignore_a_shift_of_all_logits_and_flip_with_the_answers(
    patched: np.ndarray, unedited: np.ndarray, shift: float
):
    score = mediation.scores(patched, unedited)
    np.testing.assert_allclose(mediation.scores(patched + shift, unedited), score, atol=1e-9)
    np.testing.assert_allclose(mediation.scores(patched[:, ::-1], unedited[:, ::-1]), -score, atol=1e-9)
    assert mediation.scores(unedited, unedited).tolist() == [0] * 4


def test_single_precision_logits_lose_nothing_more_in_the_score():
    patched, unedited = np.array([[16.000001, 16.0]], np.float32), np.array([[16.0, 16.0]], np.float32)
    assert abs(mediation.scores(patched, unedited)[0]) <= mediation.resolution(patched)
    assert mediation.resolution(patched) == 4 * 2.0**-19


def test_heads_above_and_below_the_noise_are_the_planted_ones():
    stage = mediation.stage_map(planted({(2, 1): 1.0, (4, 0): -1.0}), noise=1e-5, **FAST)
    assert np.argwhere(stage.above).tolist() == [[2, 1]]
    assert np.argwhere(stage.below).tolist() == [[4, 0]]
    assert stage.ci_low[2, 1] < 1.0 < stage.ci_high[2, 1]


def test_effects_within_the_numerical_noise_do_not_count():
    scores = np.full((30, 2, 2), 1e-6) + np.random.default_rng(0).normal(0, 1e-8, size=(30, 2, 2))
    stage = mediation.stage_map(scores, noise=1e-5, **FAST)
    assert not stage.above.any()
    assert (stage.p_fwer == 1).all()


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_pairs_give_no_numbers_and_no_heads(n: int):
    """One pair has its scores, and nothing that takes two."""
    scores = planted({(0, 0): 9.0})[:n]
    stage = mediation.stage_map(scores, noise=1e-5)
    assert stage.n == n
    assert np.array_equal(stage.mean, scores[0]) if n else np.isnan(stage.mean).all()
    assert all(np.isnan(numbers).all() for numbers in (stage.standard_error, stage.ci_low, stage.ci_high))
    assert all(np.isnan(p).all() for p in (stage.p, stage.p_fwer, stage.p_fdr))
    assert not stage.above.any()
    assert not stage.below.any()


def test_the_centre_of_mass_weighs_layers_by_positive_scores_of_the_chosen_heads():
    scores = np.zeros((3, 4, 2))
    scores[0, 1, 0], scores[0, 3, 1] = 3.0, 1.0
    scores[1, 2, 0], scores[1, 3, 1] = 1.0, -5.0
    scores[:, 0, 1] = 100.0
    heads = np.zeros((4, 2), dtype=bool)
    heads[1:] = True
    np.testing.assert_array_equal(mediation.centre_of_mass(scores, heads), [1.5, 2.0, np.nan])


def test_planted_stages_are_found_in_order():
    result = mediation.order_steps(
        centres(
            {"a": planted({(1, 0): 1.0}), "b": planted({(2, 2): 1.0}, seed=1), "c": planted({(5, 3): 2.0}, seed=2)}
        ),
        **FAST,
    )
    assert [step.holds for step in result] == [True, True]
    assert [round(step.difference) for step in result] == [1, 3]
    assert all(step.p < 0.05 and step.ci_low <= step.difference <= step.ci_high for step in result)


def test_the_wrong_order_does_not_hold_however_small_its_p():
    (step,) = mediation.order_steps(centres({"a": planted({(4, 0): 1.0}), "b": planted({(1, 2): 1.0}, seed=1)}), **FAST)
    assert step.p < 0.05
    assert step.difference < 0
    assert not step.holds


def test_the_same_layer_is_no_order():
    (step,) = mediation.order_steps(centres({"a": planted({(4, 0): 1.0}), "b": planted({(4, 2): 1.0}, seed=1)}), **FAST)
    assert step.difference == 0
    assert step.p == 1
    assert not step.holds


def test_a_stage_without_heads_makes_the_order_untestable():
    first, second = mediation.order_steps(
        centres({"a": planted({(1, 0): 1.0}), "b": planted({}, seed=1), "c": planted({(5, 3): 2.0}, seed=2)}), **FAST
    )
    assert first.untestable == second.untestable == "no head above the noise in b"
    assert np.isnan(first.p)
    assert not first.holds


def test_too_few_shared_pairs_make_the_order_untestable():
    nan = np.nan
    (step,) = mediation.order_steps({"a": np.array([1.0, nan, 1.0]), "b": np.array([nan, 2.0, 3.0])})
    assert step.untestable.startswith("only 1 pairs")


def test_depth_tells_the_median_layer_from_the_centre_of_mass():
    """A stage in two places: the centre of mass lies where none of its heads does."""
    rng = np.random.default_rng(0)
    scores = np.zeros((40, 9, 2))
    heads = np.zeros((9, 2), dtype=bool)
    for layer, size in ((0, 4.0), (7, 3.0), (8, 3.0)):
        heads[layer, 1] = True
        scores[:, layer, 1] = size * rng.uniform(0.9, 1.1, 40)
    result = mediation.depth(scores, heads)
    assert result.centre_mean == pytest.approx(4.5, abs=0.05)
    assert result.centre_low < result.centre_mean < result.centre_high
    assert (result.median_layer, result.median_low, result.median_high) == (7.0, 7.0, 7.0)


@pytest.mark.parametrize("pairs", [0, 1, 8])
def test_depth_is_unknown_without_heads_or_pairs(pairs: int):
    heads = np.zeros((3, 2), dtype=bool)
    heads[1, 0] = pairs < 2
    assert np.isnan(astuple(mediation.depth(np.ones((pairs, 3, 2)), heads))).all()
