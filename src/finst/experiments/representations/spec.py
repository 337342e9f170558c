"""The settings of the representational analyses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finst.experiments.representations.roles import LAST
from finst.options import Arrangements, Entropy, Objects, Placement, TensorName
from finst.vlm.spec import ModelSpec, check_numbers


@dataclass(frozen=True)
class TrialSpec(ModelSpec):
    """Model, trials and tensor: the settings that the representational analyses share."""

    trials: int = 8
    """Trials for every pair of an object and a cell."""
    seed: int = 0
    """Fixes objects, scenes, orders of mention, permutations and resamples."""
    placement: Placement = "prefill"
    """Where the unfinished sentence is: at the start of the assistant's turn, or in the user's turn. The paper does not
    state which."""
    tensor: TensorName = "resid"
    """The activations that are compared: the residual stream after each layer (the paper's), its normalised form
    between attention and MLP, the output of attention, or (rsa-stages only) z, the output of every head by itself."""
    leak_target_colour: bool = False
    """Let the prompt end with the target's colour, as a public reproduction did; the answer is then the shape alone."""
    batch: int = 32
    """Contexts in one pass through the model."""
    trials_per_unit: int = 81
    """Trials that are measured and kept together, all or none if killed."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        check_numbers(self, {"trials": 1, "batch": 1, "trials_per_unit": 1})


@dataclass(frozen=True)
class SimilaritySpec(TrialSpec):
    """Trials and statistics: the settings that all experiments of RSA share."""

    permutations: int = 1_000
    """Permutations of trials behind each p value."""
    bootstraps: int = 1_000
    """Resamples of trials behind each confidence interval."""
    alpha: float = 0.05
    """Family-wise error over layers; intervals have level 1 - alpha."""
    spearman: bool = True
    """Also compute rank correlations; they sort all pairs of trials at every layer and role."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        super().check()
        check_numbers(self, {"permutations": 1, "bootstraps": 1})


@dataclass(frozen=True)
class RSAStagesSpec(SimilaritySpec):
    """RSA of the residual stream with position and features, at commas and last token, by layer (Figs 1c, 14-19).

    With --tensor z: RSA of every head's output, a map of layers and heads. It takes as many times longer as a layer has
    heads (--no-spearman saves half of it).

    The default, 8 trials a pair (648), takes a minute on two cores with the built-in model; the paper's base design is
    --trials 50 on 3x3 (4,050) or --trials 100 --grid 2x2 (1,600).
    """

    grid: str = "3x3"
    """2x2 or 3x3: as many objects as cells."""
    objects: Objects = "same"
    """same: all trials show the same objects (the paper's design), so the described ones determine the missing one even
    without the picture; fresh: every trial shows objects of its own (with --entropy any, the described ones then say
    almost nothing about the target)."""
    arrangements: Arrangements = "counterbalanced"
    """counterbalanced: every object in every cell equally often at every step of the sentence, --trials times (the
    paper's); all: all 24 arrangements of four objects, --trials times (a public reproduction showed each once)."""
    entropy: Entropy = "high"
    """high: objects as distinct as possible; low: all conjunctions of few values; any: any distinct conjunctions."""


@dataclass(frozen=True)
class RSAFrameSpec(SimilaritySpec):
    """RSA of the last token with relative cell, absolute cell and features, in four arrangements (Figs 2, 26-28).

    Four 2x2 arrangements on a 3x3 lattice have 16 pairs of object and cell each, so --trials 1 is 64 trials. The
    default takes a minute on two cores with the built-in model. The paper does not state its number of trials;
    --trials 25 (1,600) is that of its 2x2 sets.
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

    The sets are pca (six named objects beside an empty middle column; --trials 1 is 36 trials) and frame (2x2
    arrangements in a 3x3 lattice, also for the centre object alone; --trials 1 is 64 trials). The default takes a
    minute on two cores with the built-in model; the paper's is --trials 200 (7,200).
    """

    set: Literal["pca", "frame"] = "pca"
    """The scenes."""
    role: str = LAST
    """The token whose activations are read: last, or comma 0, comma 1, ... after a described object."""
    components: int = 50
    """Principal components that the linear probe uses; the plane is that of the first two."""
    alpha: float = 0.05
    """Intervals have level 1 - alpha."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        super().check()
        check_numbers(self, {"components": 2})


@dataclass(frozen=True)
class AccuracySpec(ModelSpec):
    """Accuracy of scene descriptions: the whole answer and its colour, by number of objects, entropy and placement.

    Up to 4 objects are in random cells of a 2x2 grid, more of a 3x3 grid. All but one are described, in random order.
    The default, 40 trials in each of 32 conditions, takes a minute on two cores with the built-in model. The paper's
    Fig 7 is --objects 4 --trials 1600 and --objects 9 --trials 4050.
    """

    trials: int = 40
    """Trials of every condition."""
    objects: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8, 9)
    """Numbers of objects."""
    entropies: tuple[Entropy, ...] = ("low", "high")
    """low: conjunctions of few values; high: objects as distinct as possible; any: any distinct conjunctions."""
    placements: tuple[Placement, ...] = ("prefill", "user_turn")
    """Where the unfinished sentence is: at the start of the assistant's turn, or in the user's turn."""
    leak_target_colour: bool = False
    """Let the prompt end with the target's colour; the answer is then the shape alone."""
    seed: int = 0
    """Fixes scenes, targets and orders of mention."""
    batch: int = 32
    """Contexts in one pass through the model."""
    alpha: float = 0.05
    """Intervals have level 1 - alpha."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        check_numbers(self, {"trials": 1, "batch": 1})
