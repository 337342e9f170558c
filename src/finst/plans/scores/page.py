"""The pages of scores: one model, and several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finst.plans.scores.board import Scoreboard
from finst.plans.scores.keys import KEYS, KeyFamily
from finst.plans.scores.score import Number, Score
from finst.plans.scores.words import (
    against_text,
    cell_text,
    headline,
    missing,
    sample_text,
    value_text,
)
from finst.report.page import render
from finst.report.status import CLASSES

GROUPS: Mapping[str, str] = {
    "accuracy": "Accuracy",
    "stage": "Heads of the three stages",
    "order": "Order of the stages in depth",
    "similarity": "Similarity of representations",
    "steering": "Steering which of two things is named",
    "key-swap": "Keys of two objects exchanged",
    "rescue": "IDs of easy scenes in hard ones",
}
"""The headings, by the first part of a key."""


def score_page(score: Score) -> str:
    """The page of one score, to stand in the folder of the reproduction: links lead to the pages of the steps."""
    names = [name for name, at in score.keys.items() if at.value is not None]
    return render(
        "score.html.j2",
        "finst.plans.scores",
        score=score,
        headline=headline(score),
        groups=[
            (title, _families(group), [_entry(name, score.keys[name]) for name in group])
            for title, group in _grouped(names)
        ],
        missing=list(missing(score).items()),
    )


def scores_page(board: Scoreboard) -> str:
    """The page of several scores."""
    rows = {row.key: row.numbers for row in board.rows}
    return render(
        "scores.html.j2",
        "finst.plans.scores",
        board=board,
        groups=[
            (title, _families(group), [(name, [_cell(at) for at in rows[name]]) for name in group])
            for title, group in _grouped([*rows])
        ],
        absent=[name for name in KEYS if name not in rows],
    )


def _cell(at: Number) -> tuple[str, str]:
    """A cell of a model and its class."""
    return cell_text(at), "status yes" if at.verdict == "found" else ""


def _grouped(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The names under their headings, without empty groups."""
    groups = [(title, [name for name in names if name.partition(".")[0] == part]) for part, title in GROUPS.items()]
    return [(title, group) for title, group in groups if group]


def _families(names: Sequence[str]) -> list[KeyFamily]:
    """The families of these keys, each once."""
    return list(dict.fromkeys(KEYS[name] for name in names))


def _entry(name: str, at: Number) -> dict[str, str]:
    return {
        "key": name,
        "value": value_text(at),
        "n": sample_text(at),
        "against": against_text(at),
        "verdict": at.verdict or "",
        "style": "soft" if at.verdict is None else CLASSES[at.verdict],
        "detail": at.detail,
    }
