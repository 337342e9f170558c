"""The options of each command, as frozen dataclasses. Imports nothing heavy, so that help and refusals are quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import tyro

from finst.errors import FinstError
from finst.experiments.interventions.spec import InterventionSpec
from finst.experiments.reproduction.spec import DiscrepancySpec
from finst.options import Dtype, Entropy, Placement
from finst.plans.subjects import reproductions
from finst.runs.backends.execution import Execution
from finst.scenes.renders.spec import RenderSpec

SpecT = TypeVar("SpecT")

Factors = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=VALUE")]
"""``--factor NAME=VALUE``, any number of times."""

Executing = Annotated[Execution, tyro.conf.arg(name="")]
"""``--executor`` and ``--workers``."""

ModelName = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
"""The first word after a command."""


@dataclass(frozen=True)
class Demo:
    """The paper's central result on the model that comes with finst: causal mediation over every attention head."""

    out: Path = Path("runs/demo")
    """Folder of the run; a second call resumes it."""


@dataclass(frozen=True)
class RunExperiment(Generic[SpecT]):
    """The options of every experiment."""

    spec: Annotated[SpecT, tyro.conf.arg(name="")]
    factor: Factors = ()
    """Sets any of the other options by name, such as --factor leak_target_colour=true or --factor dtype=bf16. May be
    given several times."""
    out: Path | None = None
    """Folder of the run: a new one, or that of the same run, which is then resumed. runs/NAME if None."""
    execution: Executing = field(default_factory=Execution)


@dataclass(frozen=True)
class RunInterventions:
    """All interventions in turn with the heads of one run of causal mediation, and one table of their effects."""

    spec: Annotated[InterventionSpec, tyro.conf.arg(name="")]
    trials: int | None = None
    """Trials of every intervention that counts them so (rescue counts them by grid, and coco has pictures); each one's
    own number if None. What every option applies to is printed."""
    estimation: int | None = None
    """Other pictures to estimate from, in the same way."""
    ks: tuple[int, ...] = ()
    """Numbers of heads that are edited; each one's own if empty."""
    doses: tuple[float, ...] = ()
    """Doses; each one's own if empty."""
    factor: Factors = ()
    """Sets any option in every intervention that has it, such as --factor new_tokens=40, or in one of them, such as
    --factor rescue.trials=[12,2]. May be given several times."""
    out: Path = Path("runs/interventions")
    """Folder with one run per intervention, in a folder of its name; a second call resumes it."""
    execution: Executing = field(default_factory=Execution)


Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""An option without a value."""


@dataclass(frozen=True)
class PlanChoice:
    """Which plan, and which of its steps."""

    model: ModelName
    """Built-in model, folder of a checkpoint, or Hugging Face hub id."""
    fast: Flag = False
    """The small plan, minutes on two cores with a built-in model; this is the default."""
    full: Flag = False
    """The plan with the paper's numbers of trials."""
    plan: Path | None = None
    """A plan of one's own, a TOML file such as plan.toml in the folder of a reproduction."""
    only: tuple[str, ...] = ()
    """Steps of the plan, besides those whose heads they edit; all by default."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Dtype = "float32"
    """Number format of the model. The 16-bit formats are noisier than the scores of many heads."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:N or, over all GPUs, cuda:all."""


@dataclass(frozen=True)
class Reproduce(PlanChoice):
    """Every experiment of the paper with MODEL, from one plan, and one page of what holds.

    Every process opens the model once. A second call resumes; after a change of the plan only what changed is run
    again. An experiment that MODEL cannot run, or that fails, is recorded with its reason and the rest runs. Exit
    status 1: at least one is not finished.
    """

    out: Path | None = None
    """Folder: a new one, or that of the same model, which is then resumed. runs/reproduce-MODEL if None."""
    execution: Executing = field(default_factory=Execution)


@dataclass(frozen=True)
class Rehearse(PlanChoice):
    """Will the whole paper run here, and how long will it take? Every experiment of a plan at a small size.

    MODEL may be the name of a published shape, such as qwen2-vl-7b. Models other than the built-in ones have random
    weights of the true shape, so no weights are needed. Exit status 1: at least one experiment has no estimate.
    """

    out: Path | None = None
    """Folder for rehearsal.json and rehearsal.csv: a new one, or that of an earlier rehearsal.
    runs/rehearse-MODEL if None."""


@dataclass(frozen=True)
class Score:
    """The numbers by which a checkpoint is tracked and compared: score.json and score.html; or several side by side.

    finst score MODEL measures what is missing in the folder of its reproduction, and scores it. finst score FOLDER
    scores the reproduction in a folder, and measures nothing. finst score FOLDER FOLDER ... puts the models of several
    folders side by side on one page. Exit status 1: a planned step that a score needs is not finished.
    """

    subjects: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL|FOLDER [FOLDER ...]")]
    """A built-in model, folder of a checkpoint or Hugging Face hub id; or folders of reproductions."""
    fast: Flag = False
    """The small plan; this is the default where the folder holds no reproduction, whose own plan is used otherwise."""
    full: Flag = False
    """The plan with the paper's numbers of trials."""
    plan: Path | None = None
    """A plan of one's own, a TOML file such as plan.toml in the folder of a reproduction."""
    out: Path | None = None
    """Folder of the model's reproduction, new or resumed. runs/reproduce-MODEL if None, as of finst reproduce."""
    page: Path | None = None
    """The page of several folders; replaced if it exists. scores.html if None."""
    markdown: Flag = False
    """Prints the table as Markdown."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Dtype = "float32"
    """Number format of the model. The 16-bit formats are noisier than the scores of many heads."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:N or, over all GPUs, cuda:all."""

    def check(self) -> None:
        """Raises FinstError for names that are neither one model nor folders of reproductions, and for options that do
        not apply to them."""
        check_one_plan(self)
        folders = reproductions(self.subjects)
        if len(folders) < 2 and self.page is not None:
            raise FinstError(
                "--page was given: expected two or more folders, as the page of one score is in its folder"
            )
        given = [name for name in _OF_MODELS if getattr(self, name) != getattr(Score, name)]
        if folders and given:
            raise FinstError(
                f"--{given[0]} was given, but {folders[0]} holds a reproduction, whose numbers are measured: expected "
                "a model, or no such option"
            )


def check_one_plan(options: PlanChoice | Score) -> None:
    """Raises FinstError for more than one plan."""
    named = [name for name in ("fast", "full", "plan") if getattr(options, name)]
    if len(named) > 1:
        raise FinstError(f"--{named[0]} and --{named[1]} were given: expected one plan")


_OF_MODELS = ("fast", "full", "plan", "out", "revision", "dtype", "device")
"""Options of ``Score`` that say how a model is measured."""


@dataclass(frozen=True)
class ExplainDiscrepancy:
    """Runs the choices of a public reproduction one at a time and shows which of them changes which curve or map."""

    spec: Annotated[DiscrepancySpec, tyro.conf.arg(name="")]
    out: Path = Path("runs/discrepancy")
    """Folder of the study: a new one, or that of the same study, which is then resumed."""


@dataclass(frozen=True)
class ToFile(Generic[SpecT]):
    """The options of every benchmark and of ``verify``."""

    spec: Annotated[SpecT, tyro.conf.arg(name="")]
    json: Path | None = None
    """Also writes the result there; replaced if it exists."""


@dataclass(frozen=True)
class Render:
    """Pictures of two coloured things, left and right, on a beach, in a salt desert and in a museum, with masks."""

    spec: Annotated[RenderSpec, tyro.conf.arg(name="")]
    out: Path = Path("renders")
    """Folder: a new one, or that of the same pictures, which is then resumed."""


@dataclass(frozen=True)
class Export:
    """The numbers of a finished run in formats of other tools, with units and provenance."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished run."""
    to: Literal["csv", "parquet", "netcdf"] = "csv"
    """csv and parquet: tables, one row an entry. netcdf: arrays with their dims. All but csv need finst[export]."""
    out: Path | None = None
    """Folder for the files, new or empty; RUN-FORMAT if None, such as runs/cma-csv."""


@dataclass(frozen=True)
class Report:
    """The page of a reproduction made again from its runs, or several models side by side on one page."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of one or more reproductions."""
    out: Path | None = None
    """The page of several; replaced if it exists. models.html if None. One folder keeps its page, index.html."""


@dataclass(frozen=True)
class Compare:
    """Finished runs of one experiment side by side, on one page; their models may be of any size."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of two or more runs."""
    out: Path = Path("comparison.html")
    """The page; replaced if it exists."""
    figures: Path | None = None
    """Also writes each figure into this folder, as PNG and PDF beside its numbers as CSV."""


@dataclass(frozen=True)
class Effects:
    """Effects of finished interventions, of any experiments and models, in one table."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of one or more runs."""
    out: Path = Path("interventions.html")
    """The page; replaced if it exists."""
    csv: Path | None = None
    """Also writes the table there, one line per effect, with floats in full precision."""
    json: Path | None = None
    """Also writes the table there as JSON."""
    markdown: bool = False
    """Prints the table as Markdown."""


@dataclass(frozen=True)
class Heads:
    """A page on which all heads of a run of causal mediation are explored: maps, filters, and each head's pairs."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished run of causal mediation."""
    out: Path | None = None
    """The page; replaced if it exists. RUN/heads.html if None."""


@dataclass(frozen=True)
class Verify:
    """Measures a random part of a result of MODEL again and compares.

    Cells of causal mediation are replayed by plain hooks and nnsight, in float32. Units of other experiments are
    measured again, and all arrays are compared: texts and integers must be equal, numbers may differ by 1e-4 (in
    proportion if larger than 10, ten times that on another kind of device). Exit status 1: not reproduced.
    """

    model: ModelName
    """Built-in model, folder of a checkpoint, or Hugging Face hub id."""
    cells: int = 20
    """Number of replayed cells: (pair, condition, layer, head) of a run, or edits at all sites of the engine."""
    units: int = 1
    """Number of units of a run of another experiment that are measured again."""
    seed: int = 0
    """Draws the cells or units."""
    run: Path | None = None
    """Folder of a run of MODEL, of any experiment; without one, a new call of the engine is verified."""
    revision: str | None = None
    """Hub branch, tag or commit; by default that of the run."""
    device: str = "auto"
    """Where it runs: auto, cpu, cuda, cuda:N or, over all GPUs, cuda:all. For units, auto is the device of the run."""


@dataclass(frozen=True)
class Inspect:
    """A picture of the input of MODEL: patch grid, the patches of each object, and the role of every prompt token."""

    model: ModelName
    """Built-in model, folder of a checkpoint, or Hugging Face hub id."""
    out: Path = Path("inspect.png")
    """File of the picture (.png, .pdf or .svg); replaced if it exists."""
    grid: str = "2x2"
    """ROWSxCOLUMNS of the scene."""
    objects: int = 4
    """Number of objects. All but the last are described; the last is the target."""
    entropy: Entropy = "any"
    """How much the objects share colours and shapes."""
    jitter_px: int = 0
    """Moves each object by up to this many px from its cell."""
    placement: Placement = "prefill"
    """The sentence begins the assistant's turn (prefill) or stands in the user's (user_turn)."""
    seed: int = 0
    """Draws the scene."""
    revision: str | None = None
    """Hub branch, tag or commit."""


@dataclass(frozen=True)
class Models:
    """Published checkpoints: hub id, sizes, image tokens of square pictures, size of the weights."""

    json: bool = False
    """Prints JSON instead of a table."""


@dataclass(frozen=True)
class Check:
    """A rehearsal without weights: whether MODEL runs here, with which experiments, and about how long.

    What ``finst run`` would refuse is refused in the same words.
    """

    model: ModelName
    """Built-in model, folder, hub id, or the name of a published shape such as qwen2-vl-7b. A folder of that name is
    taken first."""
    revision: str | None = None
    """Hub branch, tag or commit."""
    dtype: Dtype = "float32"
    """Number format for the estimate of time."""
    device: str = "auto"
    """Where it would run: auto, cpu, cuda, cuda:N or, over all GPUs, cuda:all."""
    on: str | None = None
    """Another machine instead: a card such as h100-80gb, several (2xh100-80gb), or memory (24GiB); a wrong name is
    answered with the list."""
    pairs: int = 50
    """Pairs of causal mediation."""
    json: bool = False
    """Prints JSON instead of text."""
