"""What each command takes, as frozen dataclasses. Nothing heavy is imported, so that help and refusals are quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import tyro

from finst.experiments.interventions.spec import InterventionSpec
from finst.experiments.reproduction.spec import DiscrepancySpec
from finst.options import Dtype, Entropy, Placement
from finst.scenes.renders.spec import RenderSpec

SpecT = TypeVar("SpecT")

Factors = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=VALUE")]
"""``--factor NAME=VALUE``, any number of times."""

Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
"""The first word after a command."""


@dataclass(frozen=True)
class Demo:
    """The paper's central result on the model that comes with finst: causal mediation over every attention head."""

    out: Path = Path("runs/demo")
    """Folder of the run; a second call resumes it."""


@dataclass(frozen=True)
class Run(Generic[SpecT]):
    """What every experiment takes."""

    spec: Annotated[SpecT, tyro.conf.arg(name="")]
    factor: Factors = ()
    """Any of the other options by name, such as --factor leak_target_colour=true or --factor dtype=bf16: one choice of
    another reproduction at a time. May be given several times."""
    out: Path | None = None
    """Folder of the run: a new one, or that of the same run, which is resumed. runs/NAME if None."""


@dataclass(frozen=True)
class RunInterventions:
    """All interventions one after the other with the heads of one run of causal mediation, and one table of effects."""

    spec: Annotated[InterventionSpec, tyro.conf.arg(name="")]
    out: Path = Path("runs/interventions")
    """Folder with a run of each in a folder of its name; a second call resumes it."""


@dataclass(frozen=True)
class ExplainDiscrepancy:
    """Runs the choices of a public reproduction one at a time and shows which of them changes which curve or map."""

    spec: Annotated[DiscrepancySpec, tyro.conf.arg(name="")]
    out: Path = Path("runs/discrepancy")
    """Folder of the study: a new one, or that of the same study, which is resumed."""


@dataclass(frozen=True)
class ToFile(Generic[SpecT]):
    """What every benchmark takes, and ``verify``."""

    spec: Annotated[SpecT, tyro.conf.arg(name="")]
    json: Path | None = None
    """Also writes the result there; replaced if it exists."""


@dataclass(frozen=True)
class Render:
    """Pictures of two coloured things, left and right, on a beach, in a salt desert and in a museum, with masks."""

    spec: Annotated[RenderSpec, tyro.conf.arg(name="")]
    out: Path = Path("renders")
    """Folder: a new one, or that of the same pictures, which is resumed."""


@dataclass(frozen=True)
class Compare:
    """Finished runs of one experiment side by side, on one page; their models may be of any size."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of two runs or more."""
    out: Path = Path("comparison.html")
    """The page; replaced if it exists."""
    figures: Path | None = None
    """Also writes each figure into this folder, as PNG and PDF beside its numbers as CSV."""


@dataclass(frozen=True)
class Effects:
    """Effects of finished interventions, of any experiments and models, in one table."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of one run or more."""
    out: Path = Path("interventions.html")
    """The page; replaced if it exists."""
    csv: Path | None = None
    """Also writes the table there, a line an effect, floats in full precision."""
    json: Path | None = None
    """The same as JSON."""
    markdown: bool = False
    """Prints the table as Markdown."""


@dataclass(frozen=True)
class Verify:
    """Replays random cells of a result of MODEL by plain hooks and nnsight, in float32, and compares the logits."""

    model: Model
    """Built-in model, folder of a checkpoint, or Hugging Face hub id."""
    cells: int = 20
    """How many cells are drawn: (pair, condition, layer, head) of a run, else edits at all sites of the engine."""
    seed: int = 0
    """Draws the cells."""
    run: Path | None = None
    """Folder of a causal mediation run of MODEL; without one, a fresh call of the engine is verified."""
    revision: str | None = None
    """Hub branch, tag or commit; by default that of the run."""
    device: str = "auto"
    """Where the replay runs: auto, cpu, cuda, cuda:N or, over all GPUs, cuda:all."""


@dataclass(frozen=True)
class Inspect:
    """A picture of what MODEL sees: patch grid, the patches of each object, and the role of every prompt token."""

    model: Model
    """Built-in model, folder of a checkpoint, or Hugging Face hub id."""
    out: Path = Path("inspect.png")
    """Where the picture goes (.png, .pdf or .svg); replaced if it exists."""
    grid: str = "2x2"
    """ROWSxCOLUMNS of the scene."""
    objects: int = 4
    """How many objects are shown. All but the last are described; the last is the target."""
    entropy: Entropy = "any"
    """How much the objects share colours and shapes."""
    jitter_px: int = 0
    """Moves each object by up to this many px from its cell."""
    placement: Placement = "prefill"
    """The sentence begins the assistant's turn (prefill) or stands in the user's (user_turn)."""
    seed: int = 0
    """Chooses the scene."""
    revision: str | None = None
    """Hub branch, tag or commit."""


@dataclass(frozen=True)
class Models:
    """Published checkpoints: hub id, sizes, image tokens of square pictures, memory of the weights."""

    json: bool = False
    """Prints JSON instead of a table."""


@dataclass(frozen=True)
class Check:
    """Whether MODEL fits this machine, what will run, and about how long: from its configuration, without weights."""

    model: Model
    """Built-in model, folder, hub id, or the name of a published shape such as qwen2-vl-7b."""
    revision: str | None = None
    """Hub branch, tag or commit."""
    dtype: Dtype = "float32"
    """Number format for the estimate of time."""
    device: str = "auto"
    """Where it would run: auto, cpu, cuda or cuda:N."""
    pairs: int = 50
    """Pairs of causal mediation."""
    json: bool = False
    """Prints JSON instead of text."""
