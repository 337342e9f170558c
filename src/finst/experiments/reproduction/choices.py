"""The choices of a public reproduction, and the baselines with which each of them is compared."""

# ruff: noqa: RUF001  (typeset text: apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import xarray as xr

from finst.experiments.cma.spec import CMASpec
from finst.experiments.representations.spec import RSAStagesSpec
from finst.experiments.reproduction import measures
from finst.experiments.reproduction.shift import Direction, Shift
from finst.experiments.reproduction.spec import DiscrepancySpec

Name = Literal["rsa-stages", "cma"]


def baselines(spec: DiscrepancySpec) -> dict[Name, RSAStagesSpec | CMASpec]:
    """The settings with which every choice is compared, by the experiment's name.

    Every trial shows new objects, so only the picture determines the target.
    """
    shared = {name: value for name, value in asdict(spec).items() if name not in ("trials", "pairs")}
    stages = RSAStagesSpec(**shared, trials=spec.trials, grid="2x2", objects="fresh", entropy="any", spearman=False)
    return {"rsa-stages": stages, "cma": CMASpec(**shared, pairs=spec.pairs)}


@dataclass(frozen=True)
class Choice:
    """One thing that the reproduction did differently."""

    key: str
    """Its name in folders and tables."""
    name: str
    experiment: Name
    factors: tuple[str, ...]
    """The changed settings, as typed after ``--factor``."""
    measure: measures.Measure
    expected: Direction
    reason: str
    """Why it should change the number; whole sentences."""

    def shift(self, without: xr.Dataset, with_: xr.Dataset) -> Shift:
        """The change of the number between the summaries without and with the choice."""
        quantity, before, after = self.measure(without, with_)
        return Shift(self.name, self.experiment, self.factors, quantity, before, after, self.expected, self.reason)


ONE_SAMPLE = ("samples=1", "dtype=bf16", "logits=bf16", "only_correct=false")

CHOICES: tuple[Choice, ...] = (
    Choice(
        "leak",
        "target’s colour in the prompt",
        "rsa-stages",
        ("leak_target_colour=true",),
        measures.early_features,
        "up",
        "Half of the feature RSM is colour. So the curve is high before any layer has read the picture, falls while "
        "the position is computed, and rises again with the answer: the “bimodal” feature curve.",
    ),
    Choice(
        "same-objects",
        "same objects in all trials",
        "rsa-stages",
        ("objects=same",),
        measures.early_features,
        "up",
        "The described objects then determine the missing one, so features are similar without any picture. This is "
        "the paper’s design.",
    ),
    Choice(
        "low-entropy",
        "low entropy",
        "rsa-stages",
        ("entropy=low",),
        measures.position_peak,
        "down",
        "For objects that share colours and shapes, the paper finds that position IDs give way to features: weak "
        "position curves.",
    ),
    Choice(
        "24-trials",
        "24 trials",
        "rsa-stages",
        ("arrangements=all", "trials=1"),
        measures.interval_width,
        "up",
        "24 pictures give 276 pairs of trials, and target and position are not counterbalanced: noisy position curves.",
    ),
    Choice(
        "normalised",
        "normalised tensor",
        "rsa-stages",
        ("tensor=post_attention_norm",),
        measures.largest_change,
        "either",
        "The output of the norm between attention and MLP is read instead of the residual stream. Every channel then "
        "has its own gain, and large channels no longer dominate the cosine.",
    ),
    Choice(
        "user-turn",
        "sentence in the user’s turn",
        "rsa-stages",
        ("placement=user_turn",),
        measures.largest_change,
        "either",
        "The last token is then the end of the template instead of the sentence’s “a”, so curves of models with and "
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
        measures.early_features,
        "up",
        "Together: features are high from the first layer on, and wide intervals hide the change of position.",
    ),
    Choice(
        "patched-tokens",
        "logits read at the patched tokens",
        "cma",
        ("readout=patched_tokens",),
        measures.retrieval_layer,
        "up",
        "ID retrieval is then scored where the prompt’s next words are predicted, and late heads that write there "
        "have large scores: “intertwined” stages.",
    ),
    Choice(
        "one-sample",
        "one sample",
        "cma",
        ("samples=1",),
        measures.map_likeness,
        "down",
        "The score of one pair depends on its colours, sides and shapes, and nothing averages them out.",
    ),
    Choice(
        "bf16-model",
        "model in bfloat16",
        "cma",
        ("dtype=bf16",),
        measures.resolved_heads,
        "down",
        "Rounding inside the model is as large as the scores of most heads.",
    ),
    Choice(
        "bf16-logits",
        "logits in bfloat16",
        "cma",
        ("logits=bf16",),
        measures.ties_at_the_cut,
        "up",
        "Logits of 8 to 16 have steps of 0.0625, which is larger than most scores. Averaging over pairs hides the "
        "steps without removing them.",
    ),
    Choice(
        "one-sample-bf16",
        "one sample, all in bfloat16",
        "cma",
        ONE_SAMPLE,
        measures.ties_at_the_cut,
        "up",
        "Scores of one pair can only be multiples of a step. Most heads score exactly 0, and the cuts of top sets "
        "divide ties, so most heads of a set are determined by their order.",
    ),
    Choice(
        "all-cma",
        "all of the reproduction’s choices for mediation",
        "cma",
        ("readout=patched_tokens", *ONE_SAMPLE),
        measures.map_likeness,
        "down",
        "Together they give the maps from which that reproduction took its heads.",
    ),
)


def shifts_of(choices: tuple[Choice, ...], summaries: Mapping[str, xr.Dataset]) -> tuple[Shift, ...]:
    """The shifts of all choices, from summaries by the choices' keys (baselines by the experiments' names)."""
    return tuple(choice.shift(summaries[choice.experiment], summaries[choice.key]) for choice in choices)
