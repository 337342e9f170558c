"""Statistics of causal mediation (paper, section "Causal mediation", Figs 1d and 20-25): scores, stages, their order.

A head is an entry of a ``[layer, head]`` map. A stage's score of one pair and head is a change in logits: of the
difference between a1*, the answer that the stage gives with the source context's output, and a1, the right answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from finst.analysis import statistics
from finst.analysis.determined import ROUNDINGS, finite
from finst.analysis.multiplicity import bh_fdr
from finst.analysis.statistics import PERMUTATIONS, RESAMPLES

STAGES = ("id_retrieval", "id_selection", "feature_retrieval")
"""The stages in the paper's order, from early to late layers."""

Map = Float[np.ndarray, "layer head"]
HeadSet = Bool[np.ndarray, "layer head"]
HeadScores = Float[np.ndarray, "pair layer head"]


def scores(
    patched: Float[np.ndarray, "*row answers=2"], unedited: Float[np.ndarray, "*#row answers=2"]
) -> Float[np.ndarray, "*row"]:
    """s = (M(c1*)[a1*] - M(c1*)[a1]) - (M(c1)[a1*] - M(c1)[a1]), in logits.

    ``patched`` are the last token's logits of the edited runs c1*, ``unedited`` those of c1; the answers are (a1, a1*).
    """
    changed, kept = patched.astype(np.float64), unedited.astype(np.float64)
    return (changed[..., 1] - changed[..., 0]) - (kept[..., 1] - kept[..., 0])


BFLOAT16_DIGITS = 8
"""Binary digits of a bfloat16 significand, the leading one included."""


def resolution(logits: Float[np.ndarray, "*any"], digits: int | None = None) -> float:
    """The rounding error of a score in logits: that of its four logits, at the size of the largest one.

    ``digits`` are the binary digits to which the logits were rounded; None for those of their format.
    """
    largest = np.abs(logits).max(initial=0.0).astype(logits.dtype)
    coarser = 1 if digits is None else 2.0 ** (np.finfo(logits.dtype).nmant + 1 - digits)
    return 4 * float(np.spacing(largest)) * coarser


@dataclass(frozen=True, eq=False)
class StageMap:
    """One stage's statistics over its ``n`` usable pairs, one value a head. Scores are in logits.

    With one usable pair the means are its scores, their uncertainty and every p are NaN, and no head is above the
    noise: nothing could be tested. Without usable pairs the means are NaN, too.
    """

    n: int
    mean: Map
    standard_error: Map
    ci_low: Map
    ci_high: Map
    t: Map
    p: Map
    p_fwer: Map
    p_fdr: Map
    """Benjamini and Hochberg's adjusted p, over the map."""
    above: HeadSet
    """Heads above the noise: p_fwer < alpha, and the mean is positive and larger than the numerical noise."""
    below: HeadSet
    """The same with a negative mean: patching them moves the answer away from a1*."""


def stage_map(
    scores: HeadScores,
    *,
    noise: float,
    alpha: float = 0.05,
    permutations: int = PERMUTATIONS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> StageMap:
    """Mean, standard error, bootstrap interval (level 1 - alpha), p and family-wise p of every head of a stage.

    ``scores`` are those of usable pairs only; ``noise`` is the numerical noise of a score, in logits. Raises
    FinstError for scores that are not finite.
    """
    test = statistics.sign_flip(scores, permutations=permutations, noise=noise, seed=seed)
    mean = statistics.mean(scores)
    low, high = statistics.bootstrap_ci(scores, confidence=1 - alpha, resamples=resamples, seed=seed)
    significant = (test.p_fwer < alpha) & (abs(mean) > noise)
    return StageMap(
        n=len(scores),
        mean=mean,
        standard_error=statistics.standard_error(scores),
        ci_low=low,
        ci_high=high,
        t=test.t,
        p=test.p,
        p_fwer=test.p_fwer,
        p_fdr=bh_fdr(test.p),
        above=significant & (mean > 0),
        below=significant & (mean < 0),
    )


def centre_of_mass(scores: HeadScores, heads: HeadSet) -> Float[np.ndarray, "pair"]:
    """The mean layer, counted from 0, of a stage in each pair, weighted by the positive scores of ``heads``.

    NaN where none of these heads has a positive score: the stage has no layer in that pair. Raises FinstError for
    scores that are not finite.
    """
    finite(scores)
    weights = np.where(heads, np.maximum(scores, 0.0), 0.0).sum(axis=2)
    total = weights.sum(axis=1)
    layers = weights @ np.arange(weights.shape[1])
    return np.divide(layers, total, out=np.full(len(scores), np.nan), where=total > 0)


@dataclass(frozen=True)
class Depth:
    """The layers, counted from 0, of a stage's heads above the noise; NaN where there are none.

    The centre says little about a stage in two separate ranges of layers, hence the median as well.
    """

    centre_mean: float
    """Mean over pairs of the centre of mass."""
    centre_low: float
    centre_high: float
    median_layer: float
    """The first layer up to which these heads' mean scores reach half of their sum."""
    median_low: float
    median_high: float


def depth(
    scores: HeadScores, heads: HeadSet, *, alpha: float = 0.05, resamples: int = RESAMPLES, seed: int = 0
) -> Depth:
    """Centre and median layer of fixed ``heads``, with bootstrap intervals over pairs (level 1 - alpha).

    The centre's interval is over the pairs that have a centre, and NaN when fewer than two do; the median's is over the
    resamples that have one. Raises FinstError for scores that are not finite.
    """
    nan = float("nan")
    if len(scores) < 2 or not heads.any():
        return Depth(nan, nan, nan, nan, nan, nan)
    centres = centre_of_mass(scores, heads)
    centres = centres[np.isfinite(centres)]
    drawn = {"resamples": resamples, "seed": seed}
    low, high = statistics.bootstrap_ci(centres, confidence=1 - alpha, **drawn)
    by_layer = np.where(heads, scores, 0.0).sum(axis=2)
    medians = _median_layer(statistics.resampled_means(by_layer, **drawn))
    medians = medians[np.isfinite(medians)]
    # Medians are whole numbers, and so are the ends of their interval.
    quantiles = statistics.tails(1 - alpha)
    ends = np.quantile(medians, quantiles, method="inverted_cdf") if len(medians) else (nan, nan)
    middle = float(_median_layer(by_layer.mean(axis=0)))
    return Depth(float(statistics.mean(centres)), float(low), float(high), middle, float(ends[0]), float(ends[1]))


def _median_layer(sums: Float[np.ndarray, "*any layer"]) -> Float[np.ndarray, "*any"]:
    """The first layer at which the sums so far, negative ones left out, are at least half of their total.

    NaN where no sum is positive.
    """
    reached = np.cumsum(np.maximum(sums, 0.0), axis=-1)
    first = np.argmax(reached >= reached[..., -1:] / 2, axis=-1)
    return np.where(reached[..., -1] > 0, first, np.nan)


@dataclass(frozen=True)
class OrderStep:
    """Whether one stage comes before the next, by paired centre-of-mass layers.

    ``difference`` (later minus earlier, in layers), its interval and ``p`` are NaN when ``untestable`` says why.
    """

    earlier: str
    later: str
    n: int
    difference: float
    ci_low: float
    ci_high: float
    p: float
    holds: bool
    untestable: str = ""


def order_steps(
    centres: dict[str, Float[np.ndarray, "pair"]],
    *,
    alpha: float = 0.05,
    permutations: int = PERMUTATIONS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[OrderStep, ...]:
    """Tests whether each stage of ``centres`` (early to late) comes before the next: sign flips over the shared pairs.

    The heads are fixed, so the test generalises to other pairs, not to other heads. A pair may have NaN as its centre.
    A stage whose centres are all NaN has no head above the noise; the step is then ``untestable``.
    """
    return tuple(
        _order_step(earlier, later, centres[earlier], centres[later], alpha, permutations, resamples, seed)
        for earlier, later in pairwise(centres)
    )


def _order_step(
    earlier: str,
    later: str,
    early: Float[np.ndarray, "pair"],
    late: Float[np.ndarray, "pair"],
    alpha: float,
    permutations: int,
    resamples: int,
    seed: int,
) -> OrderStep:
    difference = late - early
    difference = difference[np.isfinite(difference)]
    reason = _untestable({earlier: early, later: late}, len(difference))
    if reason:
        nan = float("nan")
        return OrderStep(earlier, later, len(difference), nan, nan, nan, nan, False, reason)
    layers = np.concatenate([centre[np.isfinite(centre)] for centre in (early, late)])
    rounding = ROUNDINGS * float(np.finfo(np.float64).eps * layers.max())
    test = statistics.sign_flip(difference, permutations=permutations, noise=rounding, seed=seed)
    low, high = statistics.bootstrap_ci(difference, confidence=1 - alpha, resamples=resamples, seed=seed)
    mean = float(difference.mean())
    p = float(test.p)
    return OrderStep(earlier, later, len(difference), mean, float(low), float(high), p, mean > 0 and p < alpha)


def _untestable(centres: dict[str, Float[np.ndarray, "pair"]], shared: int) -> str:
    missing = [name for name, layers in centres.items() if np.isnan(layers).all()]
    if missing:
        return f"no head above the noise in {' and '.join(missing)}"
    if shared < 2:
        return f"only {shared} pairs have a positive score in both {' and '.join(centres)}"
    return ""
