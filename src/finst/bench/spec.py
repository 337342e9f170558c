"""The settings of the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finst.options import Dtype, Placement
from finst.vlm.spec import ModelSpec

ConditionName = Literal["all", "retrieval", "selection", "feature"]


@dataclass(frozen=True)
class SubjectSpec(ModelSpec):
    """Model, contexts and conditions: the settings that the benchmarks of the engine share."""

    shape: str | None = None
    """Instead of a model: random weights of the true shape of a published one, such as qwen2-vl-7b."""
    tokens: int | None = None
    """Tokens of a shape's contexts; by default those of a picture and of the paper's prompt."""
    picture_px: int | None = None
    """Side of a shape's square picture, in px (392, or the largest that ``tokens`` leaves room for)."""
    suffix: int | None = None
    """Tokens of a shape's contexts from the first described one to the last (10)."""
    condition: ConditionName = "all"
    """Conditions of causal mediation; their rows run together."""
    inputs: int = 1
    """Pairs that are measured together."""
    seed: int = 0
    """Fixes scenes, and a shape's weights and contexts."""


@dataclass(frozen=True)
class BenchSweep(SubjectSpec):
    """Maps of causal mediation over all heads, by each engine in turn."""

    repeats: int = 5
    """Runs of every engine; medians are reported."""
    engines: tuple[Literal["hooks", "nnsight"], ...] = ("hooks", "nnsight")
    """Engines to compare with; nnsight is left out where it is not installed."""
    loop_rows: int = 0
    """Rows that these run, chosen at random; their time is scaled to all rows. 0: all rows."""


@dataclass(frozen=True)
class BenchPaper(SubjectSpec):
    """Maps of causal mediation over all heads, for many pairs."""

    inputs: int = 5
    """Pairs that are measured together."""
    pairs: int = 50
    """Pairs of contexts (the paper's 50 samples)."""


@dataclass(frozen=True)
class BenchPrecision(SubjectSpec):
    """Maps of causal mediation over all heads in several number formats, compared with float32."""

    formats: tuple[Dtype, ...] = ("bfloat16", "float64")
    """Number formats; bf16x3 and bf16x6 need a GPU, and float16 cannot hold the same weights."""


@dataclass(frozen=True)
class BenchRSA:
    """Times RSA of random activations: position, colour, shape, features, and both partial correlations."""

    trials: int = 4050
    layers: int = 10
    roles: int = 9
    d_model: int = 3584
    permutations: int = 1000
    resamples: int = 1000
    plain_trials: int = 2000
    """Trials of the one place whose permutations are also computed from whole RSMs."""
    plain_permutations: int = 20
    seed: int = 0


@dataclass(frozen=True)
class BenchGrid(SubjectSpec):
    """Grids of K and dose, one for each stage, from pixels to words."""

    ks: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 40)
    """Numbers of heads edited in a row; heads are drawn at random."""
    doses: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 300.0)
    repeats: int = 5
    """Runs of every measurement; medians are reported."""


@dataclass(frozen=True)
class BenchAttribution(ModelSpec):
    """Attribution patching compared with the exact map, over all heads, in the three conditions of causal mediation."""

    pairs: int = 8
    """Pairs whose mean maps are compared, whether or not the model answers them correctly."""
    steps: int = 8
    """Gradients a layer of the integrated estimate; the plain estimate, with a single gradient, is always included."""
    top: int = 10
    """How many of the highest heads of both maps are compared."""
    seed: int = 0
    """Fixes scenes and resamples."""
    placement: Placement = "prefill"
    """Where the unfinished sentence is: at the start of the assistant's turn, or in the user's turn."""
    bootstraps: int = 2_000
    """Resamples of pairs behind each confidence interval."""


@dataclass(frozen=True)
class BenchExecutors(ModelSpec):
    """The units of causal mediation by several workers, beside the same units by one worker."""

    workers: int = 2
    """Processes that measure at the same time: one a GPU, or each in one thread on the CPU."""
    pairs: int = 20
    """Pairs of causal mediation, whether or not the model answers them correctly."""
    pairs_per_unit: int = 1
    """Pairs that a worker measures before it takes the next ones."""
    repeats: int = 5
    """Times that both measure all pairs, in turn; medians are reported."""
    seed: int = 0
    """Fixes scenes."""
