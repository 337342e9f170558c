"""RSA without RSMs against RSMs written out, against rsatoolbox, and against its own promises."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from rsatoolbox.rdm.compare import compare
from rsatoolbox.rdm.rdms import RDMs

from finst.analysis import pairs, places, rsa, shuffles
from finst.analysis.comparisons import Comparison, Question
from finst.analysis.cosines import Cosines
from finst.analysis.rsm import Kernel, Target, cosine_rsm, entries, match, mean_of, position
from finst.errors import FinstError
from tests.analysis import plain

COMPARISONS = (
    *(Comparison(name) for name in ("position", "colour", "features")),
    Comparison("position", "features"),
    Comparison("features", "position"),
)


def design(trials: int, seed: int = 0) -> tuple[np.ndarray, dict[str, Target]]:
    """Cells, and targets that are not independent of each other."""
    rng = np.random.default_rng(seed)
    cells, shape = rng.integers(0, 3, (trials, 2)), rng.integers(0, 4, trials)
    colours, shapes = match((cells[:, 0] + rng.integers(0, 2, trials)) % 3), match(shape)
    return cells, {"position": position(cells), "colour": colours, "features": mean_of([colours, shapes])}


def coding(cells: np.ndarray, strength: float, d_model: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(cells), d_model)) + 1 + strength * (cells @ rng.normal(size=(2, d_model)))


def test_correlations_are_those_of_rsms_written_out() -> None:
    cells, targets = design(40)
    activations = np.stack([coding(cells, strength) for strength in (0.0, 1.0)])
    found = rsa.rsa(activations, targets, COMPARISONS, permutations=9, resamples=9)
    expected = [plain.observed(place, targets, COMPARISONS) for place in activations]
    np.testing.assert_allclose(found.r, expected, atol=1e-12)
    assert [one.name for one in found.comparisons][3:] == ["position | features", "features | position"]


@pytest.mark.parametrize(("method", "target"), [("corr", "position"), ("corr", "features"), ("spearman", "position")])
def test_correlations_are_rsatoolboxs(method: str, target: str) -> None:
    """Its RDMs are one less our RSMs, in both members of a comparison, so that correlations are the same."""
    cells, targets = design(30)
    activations = coding(cells, 0.5)
    ours = RDMs(1 - entries(cosine_rsm(activations))[None])
    model = RDMs(1 - entries(targets[target].matrix())[None])
    expected = compare(ours, model, method)[0, 0]
    if method == "spearman":
        found = rsa.spearman(activations, {target: targets[target]})[0]
    else:
        found = rsa.rsa([activations], {target: targets[target]}, permutations=1, resamples=1).r[0, 0]
    assert found == pytest.approx(expected, abs=1e-10)


def test_float32_keeps_enough_where_all_cosines_are_nearly_one() -> None:
    cells, targets = design(400)
    activations = coding(cells, 0.02, 64) + 20
    cosines = entries(cosine_rsm(activations))
    assert cosines.std() < 1e-3
    exact = rsa.rsa([activations], targets, permutations=99, resamples=9)
    single = rsa.rsa([activations.astype(np.float32)], targets, permutations=99, resamples=9)
    np.testing.assert_allclose(single.r, exact.r, atol=1e-5)
    np.testing.assert_allclose(single.p, exact.p, atol=0.01 + 1e-9)


@pytest.mark.parametrize(("trials", "d_model"), [(40, 6), (30, 50)])
def test_permutations_and_resamples_are_those_of_rsms_written_out(trials: int, d_model: int) -> None:
    cells, targets = design(trials)
    activations = coding(cells, 0.5, d_model)
    plan = places.Design.of(Question.of(targets, COMPARISONS), None, 5, 4, np.random.default_rng(0))
    found = places.place(activations, plan)
    placed = activations[plan.order]
    moved = dict(zip(targets, ordered(targets, plan.order), strict=True))
    for row, order in zip(found.null, plan.shuffles.orders(), strict=True):
        np.testing.assert_allclose(row, plain.permuted(placed, moved, COMPARISONS, order), atol=1e-12)
    for row, counts in zip(found.resampled, plan.drawn[1:], strict=True):
        drawn = np.repeat(np.arange(trials), counts.astype(int))
        np.testing.assert_allclose(row, plain.resampled(placed, moved, COMPARISONS, drawn), atol=1e-12)


def ordered(targets: dict[str, Target], order: np.ndarray) -> list[Target]:
    return [
        Target(one.weights, tuple(Kernel(kernel.labels[order], kernel.similarity) for kernel in one.kernels))
        for one in targets.values()
    ]


def test_p_counts_permutations_at_least_as_good_at_this_place_and_at_any() -> None:
    cells, targets = design(25)
    activations = np.stack([coding(cells, 0.2, seed=seed) for seed in range(3)])
    found = rsa.rsa(activations, targets, permutations=99, resamples=9, seed=4)
    plan = places.Design.of(
        Question.of(targets, tuple(map(Comparison, targets))), None, 99, 9, np.random.default_rng(4)
    )
    null = np.stack([places.place(one, plan).null for one in activations])
    for place in range(3):
        np.testing.assert_allclose(found.p[place], (null[place] >= found.r[place] - 1e-9).mean(axis=0))
        np.testing.assert_allclose(found.p_fwer[place], (null.max(axis=0) >= found.r[place] - 1e-9).mean(axis=0))


@pytest.mark.parametrize("trials", [1030, 1100, 33])
def test_rings_are_permutations_and_their_sums_those_of_the_same_ones_written_out(trials: int) -> None:
    cells, targets = design(trials)
    rings = shuffles.Rings.dealt(trials, 6, np.random.default_rng(0))
    orders = rings.orders()
    assert (np.sort(orders, axis=1) == np.arange(trials)).all()
    assert (orders[0] == np.arange(trials)).all()
    assert (orders[1:] == np.arange(trials)).mean() < 0.12
    cosines = Cosines.of(coding(cells, 0.5))
    kernels = Question.of(targets, ()).kernels
    written = shuffles.Plain(orders).forms(cosines, kernels)
    np.testing.assert_allclose(rings.forms(cosines, kernels), written, rtol=1e-12)
    moved = kernels[0].similarity[kernels[0].labels[orders[2]]][:, kernels[0].labels[orders[2]]]
    assert written[2, 0] == pytest.approx((cosine_rsm(coding(cells, 0.5)) * moved).sum(), rel=1e-12)


def test_turns_of_rings_are_a_group() -> None:
    """Two turns one after the other are a turn, which is what makes p exact."""
    rings = shuffles.Rings.dealt(1050, 2, np.random.default_rng(0))
    first, second = rings.orders()[1:]
    both = shuffles.Rings(rings.members, rings.sources, (rings.turns[1:2] + rings.turns[2:3]) % shuffles.TURNS)
    np.testing.assert_array_equal(first[second], both.orders()[0])


def test_memory_is_bounded_by_blocks_without_changing_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, targets = design(300)
    activations = [coding(cells, 0.5)]
    whole = rsa.rsa(activations, targets, COMPARISONS, permutations=50, resamples=50, conditions=cells[:, 0])
    monkeypatch.setattr(pairs, "_BLOCK_TRIALS", 20)
    monkeypatch.setattr(shuffles, "_CHUNK_BYTES", 4096)
    parts = rsa.rsa(activations, targets, COMPARISONS, permutations=50, resamples=50, conditions=cells[:, 0])
    for name in ("r", "p", "p_fwer", "ci_low", "ci_high", "ceiling_low", "ceiling_high"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-12)


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
        found = rsa.rsa([activations[at]], subset(targets, at), COMPARISONS[:1], permutations=1, resamples=200)
        covered.append(found.ci_low[0, 0] <= truth <= found.ci_high[0, 0])
    assert 0.86 <= np.mean(covered) <= 1


@pytest.mark.parametrize(("strength", "least"), [(0.0, 0.95), (0.5, 0.9), (2.0, 0.9)])
def test_intervals_of_a_balanced_design_are_unbiased_and_rather_wide_than_narrow(strength: float, least: float) -> None:
    """The experiments' designs: labels are fixed, and the trials' noise alone is random."""
    rng = np.random.default_rng(0)
    cells = np.stack(np.divmod(np.tile(np.arange(4), 12), 2), axis=1)
    targets = {"position": position(cells)}
    mix = rng.normal(size=(2, 20))
    drawn = [
        rsa.draws([rng.normal(size=(48, 20)) + strength * (cells - 0.5) @ mix], targets, permutations=1, resamples=200)
        for _ in range(80)
    ]
    r = np.array([one.r[0, 0] for one in drawn])
    resampled = np.array([one.resampled[0, :, 0] for one in drawn])
    assert abs((resampled.mean(axis=1) - r).mean()) < 0.2 * r.std()
    tested = [rsa.tested(one, 0.95) for one in drawn]
    covered = [one.ci_low[0, 0] <= r.mean() <= one.ci_high[0, 0] for one in tested]
    assert np.mean(covered) >= least
    width = np.mean([one.ci_high - one.ci_low for one in tested]) / 3.92
    assert 0.9 < width / r.std() < 2.2


def subset(targets: dict[str, Target], at: np.ndarray) -> dict[str, Target]:
    return dict(zip(targets, ordered(targets, at), strict=True))


def test_the_ceiling_bounds_the_best_target() -> None:
    """Upper: the means of cosines by pair of cells, as a target. Lower: what these reach in other trials."""
    cells, targets = design(300)
    conditions = cells @ [3, 1]
    activations = np.stack([coding(cells, strength) for strength in (0.0, 0.5, 3.0)])
    found = rsa.rsa(activations, targets, permutations=1, resamples=1, conditions=conditions)
    assert (found.ceiling_low < found.ceiling_high).all()
    assert (found.r[:, 0] < found.ceiling_high).all()
    assert abs(found.ceiling_low[0]) < 0.05 < found.ceiling_low[1] < found.ceiling_low[2]
    cosines = entries(cosine_rsm(activations[1]))
    first, second = np.sort([conditions[index] for index in np.triu_indices(300, 1)], axis=0)
    _, kind = np.unique(first * 9 + second, return_inverse=True)
    best = (np.bincount(kind, cosines) / np.bincount(kind))[kind]
    assert found.ceiling_high[1] == pytest.approx(scipy.stats.pearsonr(cosines, best)[0], abs=1e-12)


def test_the_mean_over_tokens_has_the_p_of_the_mean_under_the_same_permutations() -> None:
    """Two tokens of the same trials, each with labels and activations of its own."""
    tokens = [design(30, seed) for seed in (0, 1)]
    activations = [coding(cells, 0.15, seed=seed) for seed, (cells, _) in enumerate(tokens)]
    drawn = [
        rsa.draws([x], targets, COMPARISONS, permutations=60, resamples=9, seed=5)
        for x, (_, targets) in zip(activations, tokens, strict=True)
    ]
    found = rsa.tested(rsa.Draws.mean(drawn), 0.95)
    plan = places.Design.of(Question.of(tokens[0][1], COMPARISONS), None, 60, 9, np.random.default_rng(5))
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
    np.testing.assert_allclose(found.r[0], expected, atol=1e-12)
    np.testing.assert_allclose(found.p[0], (np.array(null) >= expected - 1e-9).mean(axis=0))
    assert 0.02 < found.p[0, 0] < 0.9


def test_places_without_activations_are_not_a_number_and_take_no_part() -> None:
    cells, targets = design(30)
    some = rsa.draws([coding(cells, strength) for strength in (0.2, 0.4)], targets, permutations=20, resamples=9)
    found = rsa.tested(some.among(np.array([True, False, True])), 0.95)
    alone = rsa.tested(some, 0.95)
    assert np.isnan([*found.r[1], *found.ci_low[1], found.ceiling_low[1]]).all()
    assert (found.p_fwer[1] == 1).all()
    for name in ("r", "p", "p_fwer", "ci_low"):
        np.testing.assert_array_equal(getattr(found, name)[[0, 2]], getattr(alone, name))


def test_a_place_that_is_the_same_in_all_trials_has_no_correlation_and_spoils_no_other() -> None:
    cells, targets = design(40)
    activations = np.stack([np.tile(coding(cells[:1], 0.0), (40, 1)), coding(cells, 1.0)])
    found = rsa.rsa(activations, targets, permutations=49, resamples=9, conditions=cells[:, 0])
    alone = rsa.rsa(activations[1:], targets, permutations=49, resamples=9, conditions=cells[:, 0])
    assert np.isnan(found.r[0]).all()
    assert np.isnan([found.ceiling_low[0], found.ci_low[0, 0]]).all()
    assert (found.p[0] == 1).all()
    assert (found.p_fwer[0] == 1).all()
    assert np.isnan(rsa.spearman(activations[0], targets)).all()
    np.testing.assert_array_equal(found.p_fwer[1], alone.p_fwer[0])


def test_bad_questions_are_refused() -> None:
    cells, targets = design(10)
    activations = coding(cells, 1.0)
    with pytest.raises(FinstError, match="target"):
        rsa.rsa([activations], targets, [Comparison("place")])
    with pytest.raises(FinstError, match="over 10 trials and activations over 9"):
        rsa.rsa([activations[:9]], targets)
    with pytest.raises(FinstError, match="'colour' is the same for all pairs"):
        rsa.rsa([activations], {"colour": match(np.ones(10))})
    with pytest.raises(FinstError, match="at least 1 place"):
        rsa.rsa([], targets)
    with pytest.raises(FinstError, match="expected one number of at least 3"):
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
        found = rsa.rsa(activations, {"position": targets["position"]}, permutations=199, resamples=1, seed=seed)
        p += found.p[:, 0].tolist()
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01


def test_shuffled_labels_leave_no_layer_significant_in_95_runs_of_100() -> None:
    """Layers depend on each other as those of a residual stream do, and code positions strongly."""
    alarms = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        cells, _ = design(40, seed)
        stream = np.cumsum([coding(cells, 1.0, seed=10 * seed + layer) for layer in range(4)], axis=0)
        shuffled = {"position": position(rng.permutation(cells))}
        found = rsa.rsa(stream, shuffled, permutations=99, resamples=1, seed=seed)
        alarms.append((found.p_fwer <= 0.05).any())
    assert np.mean(alarms) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 100)
