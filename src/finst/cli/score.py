"""``finst score``: the numbers by which a checkpoint is tracked, as a file and a page; or several side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from finst.cli.options import Score
from finst.cli.plans import chosen_plan, default_folder
from finst.plans.plan import Plan, read_plan
from finst.plans.reproduce import reproduce
from finst.plans.scores.board import Scoreboard
from finst.plans.scores.page import score_page, scores_page
from finst.plans.scores.score import PAGE, score_of, steps_to_run, write_score
from finst.plans.scores.words import markdown_of, text_of
from finst.plans.subjects import holds_reproduction, reproductions
from finst.runs.archive import write_atomically
from finst.vlm.spec import ModelSpec


@dataclass(frozen=True)
class Scored:
    """What was written, as a text for the terminal."""

    text: str
    complete: bool
    """Whether every planned step of a single score is finished; true for several."""


def run(options: Score, console: Console) -> Scored:
    """Scores one model, measuring what is missing, or one or several folders of reproductions, measuring nothing.

    Raises FinstError for names and options that do not fit (``Score.check``), a plan without any step that a score
    needs, and whatever ``finst.plans.reproduce.reproduce`` refuses.
    """
    options.check()
    folders = reproductions(options.subjects) or (_measured(options, console),)
    return _one(folders[0], options) if len(folders) == 1 else _several(folders, options)


def _measured(options: Score, console: Console) -> Path:
    """The folder of the reproduction of the model, with the steps that a score needs."""
    (model,) = options.subjects
    folder = options.out or default_folder(model)
    plan = _plan(options, folder)
    spec = ModelSpec(model, options.revision, options.dtype, options.device)
    reproduce(plan, spec, folder, only=steps_to_run(plan), console=console)
    return folder


def _plan(options: Score, folder: Path) -> Plan:
    """The plan that the options name, or else that of the reproduction in the folder, or else the small one."""
    own = folder / "plan.toml"
    named = options.fast or options.full or options.plan is not None
    if not named and holds_reproduction(folder) and own.is_file():
        return read_plan(own)
    return chosen_plan(options)


def _one(folder: Path, options: Score) -> Scored:
    score = score_of(folder)
    file = write_score(folder, score)
    write_atomically(folder / PAGE, score_page(score).encode())
    text = markdown_of(score) if options.markdown else f"{text_of(score)}\n\nscore: {file}\npage: {folder / PAGE}"
    return Scored(text, score.complete)


def _several(folders: tuple[Path, ...], options: Score) -> Scored:
    board = Scoreboard.of(folders, [score_of(folder) for folder in folders])
    page = options.page or Path("scores.html")
    write_atomically(page, scores_page(board).encode())
    return Scored(board.markdown if options.markdown else f"{board.text}\n\npage: {page}", True)
