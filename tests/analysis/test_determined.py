"""Every estimator says NaN where exact arithmetic says that the data determine nothing, and its value elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import astuple
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finst import analysis
from finst.analysis import (
    curve_metrics,
    headsets,
    labels,
    mediation,
    multiplicity,
    paired,
    pca,
    proportions,
    ranks,
    reliability,
    rsa,
    rsm,
    separability,
    statistics,
)
from finst.analysis.comparisons import Comparison
from finst.analysis.determined import constant, scaled, ties_joined, vanishes
from tests.analysis import exact

SCALES = (1e-30, 1e-3, 1.0, 3.0, 1e8, 1e30)


@st.composite
def degenerate(draw: st.DrawFn, least: int = 0, most: int = 7) -> np.ndarray:
    """Few numbers, often equal, on a small grid times a scale of any size; float32 or float64."""
    values = np.array(draw(st.lists(st.integers(-2, 2), min_size=least, max_size=most)), dtype=np.float64)
    return (values * draw(st.sampled_from(SCALES))).astype(draw(st.sampled_from([np.float32, np.float64])))


@st.composite
def pairs_of(draw: st.DrawFn, least: int = 2, most: int = 7, parts: int = 2) -> list[np.ndarray]:
    """Degenerate data of one length; a later part may be an affine copy of an earlier one, rounded."""
    first = draw(degenerate(least, most))
    result = [first]
    for _ in range(parts - 1):
        if draw(st.booleans()):
            values = np.array(draw(st.lists(st.integers(-2, 2), min_size=len(first), max_size=len(first))))
            result.append((values * draw(st.sampled_from(SCALES))).astype(first.dtype))
        else:
            factor = draw(st.sampled_from([-1.0, 0.1, 3.0, 1 / 3]))
            result.append((result[-1] * first.dtype.type(factor)).astype(first.dtype))
    return result


def same(result: Any, expected: Any, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(np.asarray(result, dtype=np.float64), expected, rtol=tolerance, atol=tolerance)


def constants(size: int, dtype: Any) -> list[np.ndarray]:
    """Data that are constant: exactly, far from zero, and up to rounding."""
    noise = np.random.default_rng(0).integers(-1, 2, size)
    return [
        value + np.spacing(np.asarray(value, dtype=dtype)) * noise.astype(dtype) * wobbles
        for value in map(dtype, (0.1, -3.0, 1e8, 1e30, 1e-30))
        for wobbles in (0, 1)
    ]


# The rule itself


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_are_constant_at_any_scale_and_a_larger_spread_is_not(dtype: Any) -> None:
    for values in constants(50, dtype):
        assert constant(values.astype(dtype))
        spread = values.astype(dtype) * (1 + 100 * np.finfo(dtype).eps * np.resize([0, 1], 50)).astype(dtype)
        assert not constant(spread)
    assert not constant(np.array([0, 1], dtype=dtype))
    assert constant(np.zeros((3, 0), dtype=dtype)).tolist() == [True] * 3
    assert constant(np.zeros((3, 1), dtype=dtype)).tolist() == [True] * 3


def test_whole_numbers_have_the_precision_of_float64() -> None:
    assert not constant(np.array([2**40, 2**40 + 1]))
    assert constant(np.array([7, 7, 7]))
    assert constant(np.array([[1, 2], [1, 3]]), 0).tolist() == [True, False]


def test_remainders_are_compared_with_what_was_subtracted_and_nan_is_none() -> None:
    assert vanishes(np.array([0.0, 1e-15, 1e-14, np.nan]), 1.0, 2.2e-16).tolist() == [True, False, False, True]
    assert vanishes(1e-15, 1.0, 2.2e-16, terms=100)


def test_scaling_is_exact() -> None:
    values = np.random.default_rng(0).normal(size=(4, 5)) * 1e200
    part, exponent = scaled(values)
    assert abs(part).max() < 1
    np.testing.assert_array_equal(np.ldexp(part, exponent), values)


def test_ties_are_joined_where_rounding_made_them_differ_and_nowhere_else() -> None:
    values = np.array([0.3, 0.1 + 0.2, 0.3 + 1e-9, 5.0, 5.0 - 2e-15])
    joined = ties_joined(values)
    assert len(np.unique(joined)) == 3
    dense = np.arange(1000) * 1e-16 + 1
    np.testing.assert_array_equal(ties_joined(dense), dense)
    np.testing.assert_array_equal(ties_joined(np.geomspace(1e-30, 1e30, 50)), np.geomspace(1e-30, 1e30, 50))


# Every estimator against exact arithmetic


@given(values=degenerate())
def test_means_errors_and_flips(values: np.ndarray) -> None:
    given_ = exact.fractions(values)
    size = float(np.max(abs(values), initial=0)) or 1.0
    same(statistics.mean(values) / size, float(exact.mean(given_)) / size if given_ else np.nan)
    same(statistics.standard_error(values) / size, exact.standard_error(given_) / size)
    test = statistics.sign_flip(values)
    same([test.p, test.p_fwer], exact.sign_flip_p(given_))
    interval = statistics.bootstrap_ci(values, resamples=20)
    assert np.isnan(interval).all() == (len(values) < 2)
    assert np.isnan(statistics.resampled_means(values, resamples=3)).all() == (len(values) < 2)


@given(values=degenerate(most=8), data=st.data())
def test_label_tests(values: np.ndarray, data: st.DataObject) -> None:
    names = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(values), max_size=len(values))), dtype=int)
    result = labels.label_permutation(values, names, permutations=9)
    expected = exact.eta_squared(exact.fractions(values), names.tolist()) if len(values) else np.nan
    same(result.explained, expected)
    assert np.isnan([result.p, result.p_fwer]).all() == np.isnan(expected)


@given(parts=pairs_of(least=1))
def test_correlations_of_maps(parts: list[np.ndarray]) -> None:
    first, second = map(exact.fractions, parts)
    same(curve_metrics.likeness(*(part[:, None] for part in parts)), exact.pearson(first, second))
    same(ranks.spearman(*parts), exact.spearman(first, second))


@given(values=degenerate(least=1), data=st.data())
def test_silhouettes(values: np.ndarray, data: st.DataObject) -> None:
    names = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(values), max_size=len(values))))
    same(separability.silhouette(values[:, None], names), exact.silhouette(exact.fractions(values), names.tolist()))


@st.composite
def designs(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, list[int]]]:
    """Vectors of a few trials, often duplicated or parallel, and labels that are often constant or the same twice."""
    trials = draw(st.integers(1, 7))
    rows = draw(st.lists(st.tuples(*[st.integers(-1, 1)] * 2), min_size=trials, max_size=trials))
    scale = draw(st.sampled_from((1e-30, 1.0, 1e30)))
    names = st.lists(st.integers(0, 2), min_size=trials, max_size=trials)
    first = draw(names)
    second = draw(st.one_of(st.just(first), names, st.just([0] * trials)))
    vectors = np.array(rows, dtype=np.float64) * scale
    return vectors.astype(draw(st.sampled_from([np.float32, np.float64]))), {"one": first, "two": second}


def plane_cosines(vectors: np.ndarray) -> list[Fraction] | None:
    """Cosines of vectors with entries -1, 0, 1 in a plane: as fractions where 1 / sqrt(2) stands for itself."""
    unit = rsm.unit(vectors.astype(np.float64))
    if np.isnan(unit).any():
        return None
    values = (unit @ unit.T)[np.triu_indices(len(vectors), 1)]
    known = np.array([-1.0, -np.sqrt(0.5), 0.0, np.sqrt(0.5), 1.0])
    return [Fraction(float(known[abs(known - value).argmin()])) for value in values]


@settings(max_examples=60)
@given(design=designs())
def test_similarity_plain_partial_and_by_rank(design: tuple[np.ndarray, dict[str, list[int]]]) -> None:
    vectors, names = design
    targets = {name: rsm.match(np.array(values)) for name, values in names.items()}
    comparisons = [Comparison("one"), Comparison("two"), Comparison("one", "two"), Comparison("two", "one")]
    result = rsa.rsa([vectors], targets, comparisons, permutations=3, resamples=3)
    cosines = plane_cosines(vectors)
    if cosines is None:
        expected = [np.nan] * 6
    else:
        one, two = (exact.fractions(rsm.entries(targets[name].matrix())) for name in ("one", "two"))
        expected = [exact.pearson(cosines, one), exact.pearson(cosines, two)]
        expected += [exact.partial(cosines, one, two), exact.partial(cosines, two, one)]
        expected += [exact.spearman(cosines, one), exact.spearman(cosines, two)] if cosines else [np.nan] * 2
    same([*result.r[0], *rsa.spearman(vectors, targets)], expected, 1e-3)
    for name in ("p", "p_fwer"):
        np.testing.assert_array_equal(np.isnan(getattr(result, name)), np.isnan(result.r))


@given(values=degenerate(least=4), data=st.data())
def test_probes_and_components_of_points_on_a_line(values: np.ndarray, data: st.DataObject) -> None:
    varies = len(set(values.tolist())) > 1
    points = np.stack([values, 3 * values], axis=1)
    result = pca.pca([points], 2)
    assert np.isnan(result.axes[0]).all(axis=1).tolist() == [not varies, True]
    assert np.isnan(result.explained[0]).all() == (not varies)
    assert (result.scores[0, :, 1] == 0).all()
    if varies:
        same(result.explained[0], [1, 0], 1e-5)
    names = np.arange(len(values)) % 2
    means = [exact.mean(exact.fractions(values[names == name])) for name in (0, 1)]
    folds = separability.probe(
        np.concatenate([points, points]), np.tile(names, 2), folds=2, groups=np.repeat([0, 1], len(values))
    )
    assert np.isnan(folds.accuracy) == (means[0] == means[1])


@given(values=degenerate(least=1, most=6), layers=st.integers(1, 3))
def test_stages(values: np.ndarray, layers: int) -> None:
    scores = np.resize(values, (len(values), layers, 1)).astype(np.float64)
    heads = np.ones((layers, 1), dtype=bool)
    centres = mediation.centre_of_mass(scores, heads)
    np.testing.assert_array_equal(np.isnan(centres), ~(scores > 0).any(axis=(1, 2)))
    depth = mediation.depth(scores, heads, resamples=9)
    assert np.isnan(astuple(depth)).all() or (scores > 0).any()
    stage = mediation.stage_map(scores, noise=0.0, permutations=9, resamples=9)
    assert np.isnan([stage.p, stage.p_fwer, stage.p_fdr, stage.standard_error]).all() == (len(scores) < 2)
    half = reliability.split_half(scores, halves=9)
    assert not (layers == 1 and not np.isnan(half.r))


@given(p=st.lists(st.sampled_from([0.001, 0.2, 0.5, 1.0, np.nan]), max_size=8))
def test_heads_without_a_test_neither_silence_nor_pass_the_others(p: list[float]) -> None:
    values = np.array(p, dtype=np.float64)
    result = multiplicity.bh_fdr(values)
    known = ~np.isnan(values)
    np.testing.assert_array_equal(np.isnan(result), ~known)
    np.testing.assert_array_equal(result[known], multiplicity.bh_fdr(values[known]))
    scores = np.where(known, values, np.nan).reshape(1, -1)
    for k in range(1, len(p) + 1):
        top = headsets.top_k(scores, k)
        taken = scores[0, [head for _, head in top.heads]]
        assert np.isnan(taken).sum() == max(0, k - known.sum())
        assert np.isnan(top.cut) == (k > known.sum())
        assert ("have a score" in top.warning) == (k > known.sum())


@given(trials=st.integers(0, 5), data=st.data())
def test_proportions(trials: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, trials))
    for interval in (proportions.wilson(hits, trials), proportions.clopper_pearson(hits, trials)):
        low, high = interval
        assert (
            np.isnan(interval).all()
            if not trials
            else 0 <= low <= hits / trials + 1e-12 and hits / trials - 1e-12 <= high <= 1
        )
    low, high = paired.paired_interval(hits, 0, trials)
    assert np.isnan((low, high)).all() if not trials else low - 1e-12 <= hits / trials <= high + 1e-12
    same(proportions.above_share(hits, trials, 1.0), 1.0 if trials else np.nan)
    same(proportions.fisher(hits, hits, trials, trials), 1.0 if trials else np.nan)
    same(proportions.fisher(hits, 0, trials, 0), np.nan)
    before, after = np.arange(trials) < hits, np.zeros(trials, dtype=bool)
    result = proportions.mcnemar(before, after)
    same(result.p, min(1.0, 2 * 0.5**hits) if trials else np.nan)
    same(result.difference, -hits / trials if trials else np.nan)


def test_the_same_layers_up_to_rounding_are_no_order() -> None:
    late = np.full(8, 0.3)
    early = np.full(8, 0.1 + 0.2) - 2 * np.spacing(0.3)
    (step,) = mediation.order_steps({"a": early, "b": late})
    assert step.p == 1
    assert not step.holds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", range(10))
def test_constants_up_to_rounding_determine_nothing_anywhere(dtype: Any, index: int) -> None:
    values = constants(24, dtype)[index].astype(dtype)
    names, other = np.resize([0, 1, 2], 24), np.arange(24.0)
    points = np.stack([values, values[::-1]], axis=1)
    cells = {"labels": rsm.match(names)}
    results = [
        labels.label_permutation(values, names, permutations=9).explained,
        curve_metrics.likeness(values[:, None], other[:, None]),
        ranks.spearman(values, other),
        separability.silhouette(points, names),
        separability.probe(points, names).accuracy,
        pca.pca([points]).explained,
        pca.pca([points]).axes,
        rsa.rsa([points], cells, permutations=9, resamples=9).p,
        rsa.spearman(points, cells),
        reliability.split_half(np.tile(values, (8, 1))).r,
    ]
    assert all(np.isnan(result).all() for result in results)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [2.0**-90, 1e-3, 3.0, 2.0**90])
def test_correlations_do_not_depend_on_scale_or_format(dtype: Any, factor: float) -> None:
    rng = np.random.default_rng(0)
    points, names = rng.normal(size=(30, 3)).astype(dtype), np.resize([0, 1, 2], 30)
    points[:, 0] += names
    moved = (points.astype(np.float64) * factor).astype(dtype)
    cells = {"labels": rsm.match(names)}
    estimators: list[Callable[[np.ndarray], Any]] = [
        lambda x: labels.label_permutation(x, names, permutations=99).explained,
        lambda x: labels.label_permutation(x, names, permutations=99).p_fwer,
        lambda x: curve_metrics.likeness(x[:15], x[15:]),
        lambda x: ranks.spearman(x[:, 0], x[:, 1]),
        lambda x: separability.silhouette(x, names),
        lambda x: separability.probe(x, names).accuracy,
        lambda x: pca.pca([x]).explained,
        lambda x: rsa.rsa([x], cells, conditions=names, permutations=9, resamples=9).ceiling_high,
        lambda x: rsa.rsa([x], cells, permutations=9, resamples=9).r,
        lambda x: rsa.spearman(x, cells),
        lambda x: statistics.sign_flip(x, permutations=99).p_fwer,
        lambda x: reliability.split_half(x, halves=9).r,
    ]
    for estimate in estimators:
        same(estimate(moved), estimate(points), 1e-4)
        same(estimate(points.astype(np.float32)), estimate(points.astype(np.float64)), 1e-4)


# No estimator is forgotten

ESTIMATORS = {
    "curve_metrics": {"early", "valley", "step", "likeness", "mass_by_layer", "mean_layer"},
    "headsets": {"top_k"},
    "labels": {"label_permutation"},
    "mediation": {"stage_map", "centre_of_mass", "depth", "order_steps"},
    "multiplicity": {"bh_fdr"},
    "pca": {"pca"},
    "ratios": {"ratio_of_means"},
    "paired": {"paired_interval"},
    "proportions": {"wilson", "clopper_pearson", "mcnemar", "above_share", "fisher"},
    "ranks": {"spearman"},
    "reliability": {"split_half"},
    "rsa": {"rsa", "draws", "tested", "spearman"},
    "rsm": {"unit", "cosine_rsm"},
    "separability": {"probe", "silhouette"},
    "statistics": {"mean", "standard_error", "bootstrap_ci", "resampled_means", "sign_flip"},
}

EXCLUDED = {
    "ceiling": {"ceiling": "part of rsa, which is tested"},
    "curve_metrics": {"distinct": "a count, compared exactly", "exact_ties": "a count, compared exactly"},
    "determined": dict.fromkeys(("precision", "vanishes", "constant", "scaled", "ties_joined", "finite"), "the rule"),
    "headsets": {
        **dict.fromkeys(("random_k", "layer_matched_random_k"), "draws, without data"),
        **dict.fromkeys(("largest_k", "displaced"), "counts of heads"),
    },
    "mediation": {"scores": "a difference of logits", "resolution": "the size of a rounding error"},
    "pairs": dict.fromkeys(("kernel_sums", "cosine_sums"), "sums, which any data determine"),
    "paired": {"told_apart": "of counts, which always determine it"},
    "places": {"place": "part of rsa, which is tested"},
    "proportions": {"fewest_gains": "takes no data"},
    "ranks": {"average_ranks": "exact", "top_overlap": "a count"},
    "rsm": dict.fromkeys(("entries", "position", "match", "mean_of"), "of labels: refused or exact"),
    "selection": {"smallest_of_the_best": "a choice: refused without trials"},
    "shuffles": {"shuffles": "draws, without data"},
    "statistics": {"tails": "takes no data"},
}


@pytest.mark.parametrize("module", sorted(path.stem for path in Path(analysis.__path__[0]).glob("[!_]*.py")))
def test_every_public_function_is_an_estimator_here_or_excluded_with_a_reason(module: str) -> None:
    loaded = import_module(f"finst.analysis.{module}")
    public = {
        name
        for name, value in inspect.getmembers(loaded, callable)
        if not name.startswith("_") and not inspect.isclass(value) and value.__module__ == loaded.__name__
    }
    assert public == ESTIMATORS.get(module, set()) | set(EXCLUDED.get(module, {}))


def test_curves_without_layers_or_positive_scores_have_no_numbers() -> None:
    none = np.zeros(0)
    assert np.isnan([curve_metrics.early(none), curve_metrics.valley(none), curve_metrics.step(np.ones((2, 2)))]).all()
    assert np.isnan(curve_metrics.mass_by_layer(-np.ones((2, 2)))).all()
    assert np.isnan(curve_metrics.mean_layer(np.zeros((2, 2))))
    assert np.isnan(curve_metrics.valley(np.array([0.5, np.nan, 0.5])))
