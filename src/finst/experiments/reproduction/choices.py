"""The choices of a public reproduction, one at a time: which of them bends which curve or map of a model."""

# ruff: noqa: RUF001  (typeset text: apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from finst.analysis import curve_metrics as metrics
from finst.analysis import mediation, statistics
from finst.experiments.cma.spec import CMASpec
from finst.experiments.representations.spec import RSAStagesSpec
from finst.experiments.reproduction.shift import Bend, Direction, Measured
from finst.experiments.reproduction.spec import DiscrepancySpec

Name = Literal["rsa-stages", "cma"]

TOP = 20
"""Size of the top set at whose cut ties are counted: the paper's for Fig 4."""


def baselines(spec: DiscrepancySpec) -> dict[Name, RSAStagesSpec | CMASpec]:
    """What every choice is compared with, by the experiment's name.

    Every trial shows objects of its own, so that nothing but the picture tells what the target is.
    """
    shared = {
        "model": spec.model,
        "revision": spec.revision,
        "seed": spec.seed,
        "placement": spec.placement,
        "dtype": spec.dtype,
        "device": spec.device,
        "permutations": spec.permutations,
        "bootstraps": spec.bootstraps,
        "alpha": spec.alpha,
    }
    stages = RSAStagesSpec(**shared, trials=spec.trials, grid="2x2", objects="fresh", entropy="any", spearman=False)
    return {"rsa-stages": stages, "cma": CMASpec(**shared, pairs=spec.pairs)}


Compared = tuple[str, Measured, Measured]
"""What a number is, and the number without and with a choice."""

Measure = Callable[[xr.Dataset, xr.Dataset], Compared]
"""Of the summaries without and with a choice."""


@dataclass(frozen=True)
class Choice:
    """What the reproduction did otherwise."""

    key: str
    """Of its folder and in tables."""
    name: str
    experiment: Name
    factors: tuple[str, ...]
    """On top of the baseline."""
    measure: Measure
    expected: Direction
    reason: str

    def bend(self, without: xr.Dataset, with_: xr.Dataset) -> Bend:
        """From the two summaries."""
        quantity, before, after = self.measure(without, with_)
        return Bend(self.name, self.experiment, self.factors, quantity, before, after, self.expected, self.reason)


def _last(summary: xr.Dataset, comparison: str) -> xr.Dataset:
    return summary.sel(role="last", comparison=comparison)


def _each(measure: Callable[[np.ndarray], float], part: xr.Dataset) -> Measured:
    """A number of a curve, and the same of the curves through the ends of its intervals."""
    return Measured(*(measure(part[name].values) for name in ("r", "ci_low", "ci_high")))


def early_features(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """r with the target's features at the last token in the first layers."""
    before, after = (_last(summary, "features") for summary in (without, with_))
    depths = " → ".join(f"{metrics.valley(part['r'].values):.2f}" for part in (before, after))
    quantity = f"r with features at the last token, mean of the first third of layers (deepest valley {depths})"
    return quantity, _each(metrics.early, before), _each(metrics.early, after)


def position_peak(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """r with the target's position at the last token, where it is largest."""

    def peak(summary: xr.Dataset) -> Measured:
        part = _last(summary, "position")
        at = part.isel(layer=int(part["r"].argmax("layer")))
        return Measured(*(float(at[name]) for name in ("r", "ci_low", "ci_high")))

    return "r with position at the last token, in its best layer", peak(without), peak(with_)


def interval_width(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """How uncertain r with the target's position is."""

    def width(summary: xr.Dataset) -> Measured:
        part = _last(summary, "position")
        return Measured(float((part["ci_high"] - part["ci_low"]).mean()))

    quantity = "width of the interval of r with position at the last token, mean over layers"
    return quantity, width(without), width(with_)


def largest_change(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """r at the last token in the layer, and of position and features that one, in which it changes most."""
    plain = ["position", "features"]
    curves = [s[["r", "ci_low", "ci_high"]].sel(role="last", comparison=plain) for s in (without, with_)]
    before, after = (part.transpose("layer", "comparison") for part in curves)
    layer, which = divmod(int(np.argmax(abs(after["r"].values - before["r"].values))), len(plain))

    def there(part: xr.Dataset) -> Measured:
        return Measured(*(float(part[name].values[layer, which]) for name in ("r", "ci_low", "ci_high")))

    quantity = f"r at the last token where it changes most, with {plain[which]} in layer {layer}"
    return quantity, there(before), there(after)


def _map(summary: xr.Dataset, stage: str) -> np.ndarray:
    return summary["mean"].sel(condition=stage).transpose("layer", "head").values


def _resampled(summary: xr.Dataset, stage: str, measure: Callable[[np.ndarray], float]) -> Measured:
    """A number of a mean map with its interval over pairs."""
    part = summary.sel(condition=stage)
    scores = part["score"].transpose("pair", "layer", "head").values[part["usable"].values]
    value = measure(_map(summary, stage))
    if len(scores) < 2:
        return Measured(value)
    attrs = summary.attrs
    maps = statistics.resampled_means(scores, resamples=attrs["bootstraps"], seed=attrs["seed"])
    low, high = np.nanquantile([measure(one) for one in maps], statistics.tails(1 - attrs["alpha"]))
    return Measured(value, float(low), float(high))


def retrieval_layer(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """In which layer ID retrieval's positive scores lie on average."""
    selection = metrics.mean_layer(_map(without, "id_selection"))
    quantity = f"mean layer of ID retrieval’s positive scores (of ID selection’s: {selection:.2f})"
    before, after = (_resampled(summary, "id_retrieval", metrics.mean_layer) for summary in (without, with_))
    return quantity, before, after


def map_likeness(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """Correlation with the baseline's maps; the baseline's own interval is that of its resampled pairs."""
    kept = []
    for stage in mediation.STAGES:
        whole = _map(without, stage)
        own = _resampled(without, stage, lambda one, whole=whole: metrics.likeness(one, whole))
        kept.append((own.span[0], metrics.likeness(_map(with_, stage), whole)))
    low, other = (float(value) for value in np.mean(kept, axis=0))
    return "correlation with the baseline’s maps, mean of the stages", Measured(1.0, low, 1.0), Measured(other)


def resolved_heads(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """Heads whose score is larger than the numerical noise."""
    before, after = (Measured(float((abs(s["mean"]) > s["noise_floor"]).sum())) for s in (without, with_))
    floors = " → ".join(f"{float(s['noise_floor']):.1g}" for s in (without, with_))
    quantity = f"heads of all maps with a score beyond the numerical noise ({floors} logits)"
    return quantity, before, after


def ties_at_the_cut(without: xr.Dataset, with_: xr.Dataset) -> Compared:
    """Heads that share exactly the score of the last one of a top set, in the stage with most of them."""
    heads = with_["mean"].isel(condition=0).size
    k = min(TOP, heads // 2)
    tied = [{stage: metrics.exact_ties(_map(s, stage), k) for stage in mediation.STAGES} for s in (without, with_)]
    worst = max(mediation.STAGES, key=lambda stage: tied[1][stage][0])
    values = _map(with_, worst)
    quantity = (
        f"heads that tie exactly at the cut of the top {k} of {worst.replace('_', ' ').replace('id ', 'ID ')}, "
        f"{tied[1][worst][1]} of them taken ({metrics.distinct(values)} different scores, "
        f"{int((values == 0).sum())} of {heads} heads exactly 0)"
    )
    before, after = (Measured(float(one[worst][0])) for one in tied)
    return quantity, before, after


ONE_SAMPLE = ("samples=1", "dtype=bf16", "logits=bf16", "only_correct=false")

CHOICES: tuple[Choice, ...] = (
    Choice(
        "leak",
        "target’s colour in the prompt",
        "rsa-stages",
        ("leak_target_colour=true",),
        early_features,
        "up",
        "Half of the feature RSM is colour, so the curve is high before any layer has read the picture, falls while "
        "the place is worked out and rises again with the answer: the “bimodal” feature curve.",
    ),
    Choice(
        "same-objects",
        "same objects in all trials",
        "rsa-stages",
        ("objects=same",),
        early_features,
        "up",
        "The described objects then tell which one is missing, so features are similar without any picture; this is "
        "the paper’s own design.",
    ),
    Choice(
        "low-entropy",
        "low entropy",
        "rsa-stages",
        ("entropy=low",),
        position_peak,
        "down",
        "Objects that share colours and shapes are those for which the paper itself finds that indexes of place give "
        "way to features: weak position curves.",
    ),
    Choice(
        "24-trials",
        "24 trials",
        "rsa-stages",
        ("arrangements=all", "trials=1"),
        interval_width,
        "up",
        "24 pictures are 276 pairs of trials, and who is the target where is left to chance: noisy position curves.",
    ),
    Choice(
        "normalised",
        "normalised tensor",
        "rsa-stages",
        ("tensor=post_attention_norm",),
        largest_change,
        "either",
        "Read is the output of the norm between attention and MLP and not the residual stream: every channel has a "
        "gain of its own, and large channels no longer decide the cosine.",
    ),
    Choice(
        "user-turn",
        "sentence in the user’s turn",
        "rsa-stages",
        ("placement=user_turn",),
        largest_change,
        "either",
        "The last token is then the end of the template and not the sentence’s “a”, so curves of models with and "
        "without a template are not comparable.",
    ),
    Choice(
        "all-rsa",
        "all of the reproduction’s choices for similarity",
        "rsa-stages",
        (
            "leak_target_colour=true",
            "objects=same",
            "entropy=low",
            "arrangements=all",
            "trials=1",
            "tensor=post_attention_norm",
        ),
        early_features,
        "up",
        "Together: features are high from the first layer on, and wide intervals hide how position moves.",
    ),
    Choice(
        "patched-tokens",
        "logits read at the patched tokens",
        "cma",
        ("readout=patched_tokens",),
        retrieval_layer,
        "up",
        "ID retrieval is then judged where the prompt’s next words are predicted, and late heads that write there "
        "stand out: “intertwined” stages.",
    ),
    Choice(
        "one-sample",
        "one sample",
        "cma",
        ("samples=1",),
        map_likeness,
        "down",
        "One pair has its own colours, sides and shapes in the score, and nothing averages them out.",
    ),
    Choice(
        "bf16-model",
        "model in bfloat16",
        "cma",
        ("dtype=bf16",),
        resolved_heads,
        "down",
        "Rounding inside the model is as large as the scores of most heads.",
    ),
    Choice(
        "bf16-logits",
        "logits in bfloat16",
        "cma",
        ("logits=bf16",),
        ties_at_the_cut,
        "up",
        "Logits of 8 to 16 come in steps of 0.0625, larger than most scores; averaging over pairs hides the steps "
        "without removing them.",
    ),
    Choice(
        "one-sample-bf16",
        "one sample, all in bfloat16",
        "cma",
        ONE_SAMPLE,
        ties_at_the_cut,
        "up",
        "Scores of one pair can only be multiples of a step: most heads score exactly 0, and the cuts of top sets run "
        "through ties, so that most of a set’s heads are a matter of order.",
    ),
    Choice(
        "all-cma",
        "all of the reproduction’s choices for mediation",
        "cma",
        ("readout=patched_tokens", *ONE_SAMPLE),
        map_likeness,
        "down",
        "Together they make the maps from which that reproduction took its heads.",
    ),
)


def bends_of(choices: tuple[Choice, ...], summaries: Mapping[str, xr.Dataset]) -> tuple[Bend, ...]:
    """From summaries by the choices' keys; those of the baselines under the experiments' names."""
    return tuple(choice.bend(summaries[choice.experiment], summaries[choice.key]) for choice in choices)
