"""Means, intervals and tests over samples, for whole maps at once.

Scores are ``[sample, *map]``: one map (say layer x head) a sample. The only assumption about their distribution is the
sign-flip null: without an effect, a sample's map is as likely as its negative. All random draws come from ``seed``, and
nothing depends on the order of the samples. What so few samples do not determine is NaN; scores that are not finite are
refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from finst.analysis.determined import finite, scaled
from finst.errors import FinstError

Scores = Float[np.ndarray, "sample *map"]

PERMUTATIONS = 10_000
RESAMPLES = 2_000

_CHUNK_BYTES = 1 << 26
"""Memory for the permuted or resampled statistics of one chunk."""

_TIE = 1e-12
"""Statistics in [0, 1] that differ by less are equal: the order of terms in a sum changes them that much."""


def mean(scores: Scores) -> Float[np.ndarray, "*map"]:
    """Mean over samples, in the scores' unit; NaN without samples. Raises FinstError for scores that are not finite."""
    data = finite(scores)
    return np.asarray(data.mean(axis=0)) if len(data) else np.full(data.shape[1:], np.nan)


def standard_error(scores: Scores) -> Float[np.ndarray, "*map"]:
    """Standard error of the mean (n - 1 in the variance), in the scores' unit; NaN for fewer than two samples.

    Raises FinstError for scores that are not finite.
    """
    data = finite(scores)
    if len(data) < 2:
        return np.full(data.shape[1:], np.nan)
    return np.asarray(data.std(axis=0, ddof=1) / np.sqrt(len(data)))


def bootstrap_ci(
    scores: Scores, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "2 *map"]:
    """Lower and upper end of the percentile bootstrap interval of the mean, in the scores' unit.

    Samples are drawn with replacement, the same draws for every entry of the map. NaN for fewer than two samples.
    Raises FinstError for scores that are not finite, and a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise FinstError(f"a confidence level lies between 0 and 1, not {confidence}")
    data = _flat(scores)
    if len(data) < 2:
        return np.full((2, *scores.shape[1:]), np.nan)
    data = data[np.lexsort(data.T)]
    weights = _resampling(len(data), resamples, seed)
    width = max(1, _CHUNK_BYTES // (8 * resamples))
    chunks = [
        np.quantile(weights @ data[:, start : start + width], tails(confidence), axis=0)
        for start in range(0, data.shape[1], width)
    ]
    return np.concatenate(chunks, axis=1).reshape(2, *scores.shape[1:])


def resampled_means(scores: Scores, *, resamples: int = RESAMPLES, seed: int = 0) -> Float[np.ndarray, "resample *map"]:
    """The bootstrap means whose quantiles are ``bootstrap_ci``, in the scores' unit: for statistics of whole maps.

    NaN for fewer than two samples. Raises FinstError for scores that are not finite.
    """
    data = _flat(scores)
    if len(data) < 2:
        return np.full((resamples, *scores.shape[1:]), np.nan)
    means = _resampling(len(data), resamples, seed) @ data[np.lexsort(data.T)]
    return means.reshape(resamples, *scores.shape[1:])


def tails(confidence: float) -> tuple[float, float]:
    """The quantiles that enclose the middle ``confidence`` of a distribution."""
    return 0.5 - confidence / 2, 0.5 + confidence / 2


def _resampling(count: int, resamples: int, seed: int) -> Float[np.ndarray, "resample sample"]:
    """Each sample's share of each resample, drawn with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count


@dataclass(frozen=True, eq=False)
class SignFlip:
    """Two-sided sign-flip tests of the null hypothesis "the mean is zero", one for every entry of a map."""

    t: Float[np.ndarray, "*map"]
    """Student's t; infinite when an entry's scores are all equal, zero when they are numerical noise. NaN, as all p
    values, for fewer than two samples."""
    p: Float[np.ndarray, "*map"]
    """p of each entry by itself."""
    p_fwer: Float[np.ndarray, "*map"]
    """Family-wise p of each entry: the chance, without any effect, of so large a |t| anywhere in the map."""
    permutations: int
    """Sign patterns behind the p values."""
    exact: bool
    """Whether these are all patterns."""


def sign_flip(scores: Scores, *, permutations: int = PERMUTATIONS, noise: float = 0.0, seed: int = 0) -> SignFlip:
    """Sign-flip test with family-wise error control by the largest |t| of the map (Westfall and Young's single step).

    A pattern flips whole samples, that is, all entries of the map together, which keeps their dependence. All 2^(n-1)
    distinct patterns are used when there are at most ``permutations``. Otherwise that many are drawn, and the unflipped
    data count as one more pattern, so that p is never zero. Entries without a score above ``noise`` (same unit) get
    t = 0 and p = 1, because rounding errors have a sign, too. Raises FinstError for scores that are not finite, or no
    permutations.
    """
    if permutations < 1:
        raise FinstError(f"a permutation test needs at least 1 permutation, not {permutations}")
    data, shape = _flat(scores), scores.shape[1:]
    if len(data) < 2:
        unknown = np.full(shape, np.nan)
        return SignFlip(unknown, unknown, unknown, 0, True)
    data, _ = scaled(np.where((abs(data) > noise).any(axis=0), data, 0.0), axis=0)
    norms = np.linalg.norm(data, axis=0)
    unit = np.divide(data, norms * np.sqrt(len(data)), out=np.zeros_like(data), where=norms > 0)
    signed = unit.sum(axis=0)
    size = abs(signed)
    # Flips do not change an entry's sum of squares, so |t| grows with `size` in [0, 1] and needs no division a pattern.
    exact = 2 ** (len(data) - 1) <= permutations
    patterns = _all_patterns(len(data)) if exact else _drawn_patterns(len(data), permutations, seed)
    exceeds, exceeds_max, total = _exceedances(_oriented(unit), size, patterns)
    extra = 0 if exact else 1
    return SignFlip(
        t=_student(signed, len(data)).reshape(shape),
        p=((exceeds + extra) / (total + extra)).reshape(shape),
        p_fwer=((exceeds_max + extra) / (total + extra)).reshape(shape),
        permutations=total,
        exact=exact,
    )


def _exceedances(
    unit: Float[np.ndarray, "sample entry"],
    size: Float[np.ndarray, "entry"],
    patterns: Iterator[Float[np.ndarray, "pattern sample"]],
) -> tuple[np.ndarray, np.ndarray, int]:
    """How many patterns reach each entry's ``size`` there, how many anywhere in the map, and the number of patterns."""
    reached, reached_max, total = np.zeros(len(size)), np.zeros(len(size)), 0
    step = max(1, _CHUNK_BYTES // (8 * max(1, len(size))))
    for block in patterns:
        for start in range(0, len(block), step):
            flipped = abs(block[start : start + step] @ unit)
            reached += (flipped >= size - _TIE).sum(axis=0)
            largest = np.sort(flipped.max(axis=1, initial=0.0))
            reached_max += len(largest) - np.searchsorted(largest, size - _TIE)
            total += len(flipped)
    return reached, reached_max, total


_BLOCK = 4096


def _all_patterns(count: int) -> Iterator[Float[np.ndarray, "pattern sample"]]:
    """All sign patterns up to the overall sign, which does not change a two-sided test."""
    bits = np.arange(count)
    for start in range(0, 2 ** (count - 1), _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, 2 ** (count - 1)))
        yield 1.0 - 2.0 * ((numbers[:, None] >> bits) & 1)


def _drawn_patterns(count: int, permutations: int, seed: int) -> Iterator[Float[np.ndarray, "pattern sample"]]:
    rng = np.random.default_rng(seed)
    for start in range(0, permutations, _BLOCK):
        yield 1.0 - 2.0 * rng.integers(0, 2, size=(min(_BLOCK, permutations - start), count))


def _oriented(data: Float[np.ndarray, "sample entry"]) -> Float[np.ndarray, "sample entry"]:
    """The samples in a canonical order and with canonical signs, so that p depends on neither."""
    first = np.argmax(data != 0, axis=1)
    turned = data * np.where(np.take_along_axis(data, first[:, None], axis=1) < 0, -1.0, 1.0)
    return turned[np.lexsort(turned.T)]


def _student(size: Float[np.ndarray, "entry"], count: int) -> Float[np.ndarray, "entry"]:
    """Student's t from mean / root mean square."""
    spread = np.maximum(0.0, 1.0 - size**2)
    constant = spread <= _TIE
    t = size * np.sqrt((count - 1) / np.where(constant, 1.0, spread))
    return np.where(constant, np.copysign(np.inf, size), t)


def _flat(scores: Scores) -> Float[np.ndarray, "sample entry"]:
    data = finite(scores)
    return data.reshape(len(data), math.prod(data.shape[1:]))
