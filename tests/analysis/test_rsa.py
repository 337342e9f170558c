"""RSA without RSMs compared with whole RSMs and with rsatoolbox, and its calibration."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from rsatoolbox.rdm.compare import compare
from rsatoolbox.rdm.rdms import RDMs

from finst.analysis import places, rsa, shuffles
from finst.analysis.comparisons import Comparison, ComparisonSet
from finst.analysis.rsm import cosine_rsm, entries, match, position
from finst.errors import FinstError
from tests.analysis import plain
from tests.analysis.plain import COMPARISONS, coding, design, ordered, subset


def test_correlations_are_those_of_whole_rsms() -> None:
    cells, targets = design(40)
    activations = np.stack([coding(cells, strength) for strength in (0.0, 1.0)])
    result = rsa.rsa(activations, targets, COMPARISONS, permutations=9, resamples=9)
    expected = [plain.observed(place, targets, COMPARISONS) for place in activations]
    np.testing.assert_allclose(result.r, expected, atol=1e-12)
    assert [comparison.name for comparison in result.comparisons][3:] == ["position | features", "features | position"]


@pytest.mark.parametrize(("method", "target"), [("corr", "position"), ("corr", "features"), ("spearman", "position")])
def test_correlations_are_rsatoolboxs(method: str, target: str) -> None:
    """Its RDMs are 1 minus our RSMs, on both sides of a comparison, so correlations are the same."""
    cells, targets = design(30)
    activations = coding(cells, 0.5)
    ours = RDMs(1 - entries(cosine_rsm(activations))[None])
    model = RDMs(1 - entries(targets[target].matrix())[None])
    expected = compare(ours, model, method)[0, 0]
    if method == "spearman":
        result = rsa.spearman(activations, {target: targets[target]})[0]
    else:
        result = rsa.rsa([activations], {target: targets[target]}, permutations=1, resamples=1).r[0, 0]
    assert result == pytest.approx(expected, abs=1e-10)


def test_float32_keeps_enough_where_all_cosines_are_nearly_one() -> None:
    cells, targets = design(400)
    activations = coding(cells, 0.02, 64) + 20
    cosines = entries(cosine_rsm(activations))
    assert cosines.std() < 1e-3
    exact = rsa.rsa([activations], targets, permutations=99, resamples=9)
    single = rsa.rsa([activations.astype(np.float32)], targets, permutations=99, resamples=9)
    np.testing.assert_allclose(single.r, exact.r, atol=1e-5)
    np.testing.assert_allclose(single.p, exact.p, atol=0.01 + 1e-9)


def test_p_counts_permutations_at_least_as_good_at_this_place_and_at_any() -> None:
    cells, targets = design(25)
    activations = np.stack([coding(cells, 0.2, seed=seed) for seed in range(3)])
    result = rsa.rsa(activations, targets, permutations=99, resamples=9, seed=4)
    plan = places.Design.of(
        ComparisonSet.of(targets, tuple(map(Comparison, targets))), None, 99, 9, np.random.default_rng(4)
    )
    null = np.stack([places.place(vectors, plan).null for vectors in activations])
    for place in range(3):
        np.testing.assert_allclose(result.p[place], (null[place] >= result.r[place] - 1e-9).mean(axis=0))
        np.testing.assert_allclose(result.p_fwer[place], (null.max(axis=0) >= result.r[place] - 1e-9).mean(axis=0))


def test_the_same_labels_in_another_order_of_trials_give_the_same_correlations() -> None:
    cells, targets = design(50)
    activations, order = coding(cells, 0.5), np.random.default_rng(3).permutation(50)
    first = rsa.rsa([activations], targets, permutations=1, resamples=1)
    second = rsa.rsa(
        [activations[order]], dict(zip(targets, ordered(targets, order), strict=True)), permutations=1, resamples=1
    )
    np.testing.assert_allclose(first.r, second.r, atol=1e-12)


def test_intervals_cover_what_many_trials_give() -> None:
    """Also with fewer groups than trials."""
    cells, targets = design(10_000, 1)
    activations = coding(cells, 0.6)
    parts = [(activations[at], subset(targets, at)) for at in np.split(np.arange(3_000), 6)]
    truth = np.mean([plain.observed(*part, COMPARISONS[:1]) for part in parts])
    covered = []
    for at in np.split(np.arange(10_000), 50):
        result = rsa.rsa([activations[at]], subset(targets, at), COMPARISONS[:1], permutations=1, resamples=200)
        covered.append(result.ci_low[0, 0] <= truth <= result.ci_high[0, 0])
    assert 0.86 <= np.mean(covered) <= 1


@pytest.mark.parametrize(("strength", "least"), [(0.0, 0.95), (0.5, 0.9), (2.0, 0.9)])
def test_intervals_of_a_balanced_design_are_unbiased_and_rather_wide_than_narrow(strength: float, least: float) -> None:
    """The experiments' designs: labels are fixed, and only the trials' noise is random."""
    rng = np.random.default_rng(0)
    cells = np.stack(np.divmod(np.tile(np.arange(4), 12), 2), axis=1)
    targets = {"position": position(cells)}
    mix = rng.normal(size=(2, 20))
    drawn = [
        rsa.draws([rng.normal(size=(48, 20)) + strength * (cells - 0.5) @ mix], targets, permutations=1, resamples=200)
        for _ in range(80)
    ]
    r = np.array([draws.r[0, 0] for draws in drawn])
    resampled = np.array([draws.resampled[0, :, 0] for draws in drawn])
    assert abs((resampled.mean(axis=1) - r).mean()) < 0.2 * r.std()
    tested = [rsa.tested(draws, 0.95) for draws in drawn]
    covered = [test.ci_low[0, 0] <= r.mean() <= test.ci_high[0, 0] for test in tested]
    assert np.mean(covered) >= least
    width = np.mean([test.ci_high - test.ci_low for test in tested]) / 3.92
    assert 0.9 < width / r.std() < 2.2


def test_the_mean_over_tokens_has_the_p_of_the_mean_under_the_same_permutations() -> None:
    """Two tokens of the same trials, each with labels and activations of its own."""
    tokens = [design(30, seed) for seed in (0, 1)]
    activations = [coding(cells, 0.15, seed=seed) for seed, (cells, _) in enumerate(tokens)]
    drawn = [
        rsa.draws([x], targets, COMPARISONS, permutations=60, resamples=9, seed=5)
        for x, (_, targets) in zip(activations, tokens, strict=True)
    ]
    result = rsa.tested(rsa.Draws.mean(drawn), 0.95)
    plan = places.Design.of(ComparisonSet.of(tokens[0][1], COMPARISONS), None, 60, 9, np.random.default_rng(5))
    null = []
    for order in plan.shuffles.orders():
        both = [
            plain.permuted(x[plan.order], dict(zip(t, ordered(t, plan.order), strict=True)), COMPARISONS, order)
            for x, (_, t) in zip(activations, tokens, strict=True)
        ]
        null.append(np.mean(both, axis=0))
    expected = np.mean(
        [plain.observed(x, t, COMPARISONS) for x, (_, t) in zip(activations, tokens, strict=True)], axis=0
    )
    np.testing.assert_allclose(result.r[0], expected, atol=1e-12)
    np.testing.assert_allclose(result.p[0], (np.array(null) >= expected - 1e-9).mean(axis=0))
    assert 0.02 < result.p[0, 0] < 0.9


def test_places_without_activations_are_nan_and_do_not_change_the_others() -> None:
    cells, targets = design(30)
    some = rsa.draws([coding(cells, strength) for strength in (0.2, 0.4)], targets, permutations=20, resamples=9)
    result = rsa.tested(some.among(np.array([True, False, True])), 0.95)
    alone = rsa.tested(some, 0.95)
    assert np.isnan([*result.r[1], *result.ci_low[1], result.ceiling_low[1]]).all()
    assert np.isnan([result.p[1], result.p_fwer[1]]).all()
    for name in ("r", "p", "p_fwer", "ci_low"):
        np.testing.assert_array_equal(getattr(result, name)[[0, 2]], getattr(alone, name))


def test_a_place_that_is_the_same_in_all_trials_has_no_correlation_and_does_not_change_the_others() -> None:
    cells, targets = design(40)
    activations = np.stack([np.tile(coding(cells[:1], 0.0), (40, 1)), coding(cells, 1.0)])
    result = rsa.rsa(activations, targets, permutations=49, resamples=9, conditions=cells[:, 0])
    alone = rsa.rsa(activations[1:], targets, permutations=49, resamples=9, conditions=cells[:, 0])
    assert np.isnan(result.r[0]).all()
    assert np.isnan([result.ceiling_low[0], result.ci_low[0, 0]]).all()
    assert np.isnan([result.p[0], result.p_fwer[0]]).all()
    assert np.isnan(rsa.spearman(activations[0], targets)).all()
    np.testing.assert_array_equal(result.p_fwer[1], alone.p_fwer[0])


def test_a_target_that_is_the_same_for_all_pairs_has_no_correlation_and_does_not_change_the_others() -> None:
    cells, targets = design(30)
    activations = [coding(cells, 1.0)]
    result = rsa.rsa(activations, {"same": match(np.ones(30)), **targets}, permutations=49, resamples=9)
    alone = rsa.rsa(activations, targets, permutations=49, resamples=9)
    assert np.isnan([result.r[0, 0], result.p[0, 0], result.p_fwer[0, 0], result.ci_low[0, 0]]).all()
    np.testing.assert_array_equal(result.p_fwer[:, 1:], alone.p_fwer)


def test_bad_comparisons_are_refused() -> None:
    cells, targets = design(10)
    activations = coding(cells, 1.0)
    with pytest.raises(FinstError, match="target"):
        rsa.rsa([activations], targets, [Comparison("place")])
    with pytest.raises(FinstError, match="over 10 trials and activations over 9"):
        rsa.rsa([activations[:9]], targets)
    with pytest.raises(FinstError, match="at least 1 place"):
        rsa.rsa([], targets)
    with pytest.raises(FinstError, match="expected one number"):
        rsa.rsa([activations], {**targets, "other": match(np.arange(9))})
    with pytest.raises(FinstError, match="permutations are 0"):
        rsa.rsa([activations], targets, permutations=0)


@pytest.mark.parametrize("rings", [False, True])
def test_p_values_of_random_activations_are_uniform(rings: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if rings:
        monkeypatch.setattr(shuffles, "PLAIN", 0)
        monkeypatch.setattr(shuffles, "SETS", 4)
        monkeypatch.setattr(shuffles, "TURNS", 8)
    p = []
    for seed in range(40):
        cells, targets = design(48, seed)
        activations = [coding(cells, 0.0, seed=1000 * seed + place) for place in range(5)]
        result = rsa.rsa(activations, {"position": targets["position"]}, permutations=199, resamples=1, seed=seed)
        p += result.p[:, 0].tolist()
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01


def test_shuffled_labels_leave_no_layer_significant_in_95_runs_of_100() -> None:
    """Layers depend on each other as those of a residual stream do, and code positions strongly."""
    alarms = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        cells, _ = design(40, seed)
        stream = np.cumsum([coding(cells, 1.0, seed=10 * seed + layer) for layer in range(4)], axis=0)
        shuffled = {"position": position(rng.permutation(cells))}
        result = rsa.rsa(stream, shuffled, permutations=99, resamples=1, seed=seed)
        alarms.append((result.p_fwer <= 0.05).any())
    assert np.mean(alarms) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 100)
