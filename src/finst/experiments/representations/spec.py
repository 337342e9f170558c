"""The settings of the representational analyses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finst.options import Arrangements, Entropy, Objects, Placement, TensorName
from finst.vlm.spec import ModelSpec

LAST = "last"
"""The role of a prompt's last token; ``comma 0`` is that of the token after the first described object, and so on."""


@dataclass(frozen=True)
class TrialSpec(ModelSpec):
    """What is asked of which model and where it is read: the part that the representational analyses share."""

    trials: int = 8
    """Trials for every pair of an object and a cell."""
    seed: int = 0
    """Fixes objects, scenes, orders of mention, permutations and resamples."""
    placement: Placement = "prefill"
    """Where the unfinished sentence is: begun in the assistant's turn, or in the user's (not stated in the paper)."""
    tensor: TensorName = "resid"
    """What is compared: the residual stream after each layer (the paper's), its normalised form between attention and
    MLP, the output of attention, or (rsa-stages alone) z, the output of every head by itself."""
    leak_target_colour: bool = False
    """Let the prompt end with the target's colour, as a public reproduction did; the answer is then the shape alone."""
    batch: int = 32
    """Contexts in one pass through the model."""
    trials_per_unit: int = 81
    """Trials that are measured and kept together, all or none if killed."""


@dataclass(frozen=True)
class SimilaritySpec(TrialSpec):
    """What all experiments of RSA share: the trials, and the statistics of correlations."""

    permutations: int = 1_000
    """Permutations of trials behind each p value."""
    bootstraps: int = 1_000
    """Resamples of trials behind each confidence interval."""
    alpha: float = 0.05
    """Family-wise error over layers; intervals have level 1 - alpha."""
    spearman: bool = True
    """Also rank correlations; they sort all pairs of trials at every layer and role."""


@dataclass(frozen=True)
class RSAStagesSpec(SimilaritySpec):
    """RSA of the residual stream with position and features, at commas and last token, by layer (Figs 1c, 14-19).

    With --tensor z of every head's output: a map of layers and heads, which takes as many times longer as a layer has
    heads (--no-spearman saves half of it).

    The default, 8 trials a pair (648), takes a minute on two cores with the built-in model; the paper's base design is
    --trials 50 on 3x3 (4,050) or --trials 100 --grid 2x2 (1,600).
    """

    grid: str = "3x3"
    """2x2 or 3x3: as many objects as cells."""
    objects: Objects = "same"
    """same: all trials show the same objects (the paper's design), so that the described ones tell, without the
    picture, which one is missing; fresh: every trial shows objects of its own (with --entropy any, the described ones
    then tell next to nothing about the target)."""
    arrangements: Arrangements = "counterbalanced"
    """counterbalanced: every object in every cell equally often at every step of the sentence, --trials times (the
    paper's); all: all 24 arrangements of four objects, --trials times, as a public reproduction did once."""
    entropy: Entropy = "high"
    """high: objects as distinct as possible; low: all conjunctions of few values; any: any distinct conjunctions."""


@dataclass(frozen=True)
class RSAFrameSpec(SimilaritySpec):
    """RSA of the last token with relative cell, absolute cell and features, on the frame set (Figs 2, 26-28).

    Four 2x2 arrangements on a 3x3 lattice, 16 pairs of object and cell each: 64 trials for every one of --trials. The
    default takes a minute on two cores with the built-in model. The paper does not state its number; --trials 25
    (1,600) is what its 2x2 sets have.
    """


@dataclass(frozen=True)
class RSAEntropySpec(SimilaritySpec):
    """RSA with position at commas and last token, and accuracy, for objects that share features and for distinct ones.

    low is all conjunctions of 2x2 (3x3) values, high is as distinct as possible (Figs 6, 7, 30-36). The default, 8
    trials a pair on 3x3 (648 a condition), takes two minutes on two cores with the built-in model; the paper's sets are
    --trials 50 (4,050 a condition) and --grid 2x2 --trials 100 (1,600).
    """

    grid: str = "3x3"
    """2x2 or 3x3: as many objects as cells."""


@dataclass(frozen=True)
class PCASpec(TrialSpec):
    """Principal components of one token over many trials, at every layer, by position and features (Fig 1b).

    The sets are pca (six named objects beside an empty middle column: 36 trials for every one of --trials) and frame
    (2x2 arrangements in a 3x3 lattice: 64; also for the centre object alone). The default takes a minute on two cores
    with the built-in model; the paper's is --trials 200 (7,200).
    """

    set: Literal["pca", "frame"] = "pca"
    """Which scenes are shown."""
    role: str = LAST
    """Whose activations are taken: those of the token last, or comma 0, comma 1, ... after a described object."""
    components: int = 50
    """Components that the linear probe sees; the plane is that of the first two."""
    alpha: float = 0.05
    """Intervals have level 1 - alpha."""


@dataclass(frozen=True)
class AccuracySpec(ModelSpec):
    """Accuracy of scene descriptions: the whole answer and its colour, by number of objects, entropy and placement.

    Up to 4 objects are on a 2x2 grid, more on a 3x3 grid, in random cells, described in random order but for one. The
    default, 40 trials in each of 32 conditions, takes a minute on two cores with the built-in model. The paper's Fig 7
    is --objects 4 --trials 1600 and --objects 9 --trials 4050.
    """

    trials: int = 40
    """Trials of every condition."""
    objects: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8, 9)
    """Numbers of objects."""
    entropies: tuple[Entropy, ...] = ("low", "high")
    """low: conjunctions of few values; high: objects as distinct as possible; any: any distinct conjunctions."""
    placements: tuple[Placement, ...] = ("prefill", "user_turn")
    """Where the unfinished sentence is: begun in the assistant's turn, or in the user's."""
    leak_target_colour: bool = False
    """Let the prompt end with the target's colour; the answer is then the shape alone."""
    seed: int = 0
    """Fixes scenes, targets and orders of mention."""
    batch: int = 32
    """Contexts in one pass through the model."""
    alpha: float = 0.05
    """Intervals have level 1 - alpha."""
