"""A score in words: its sentence, its numbers as texts, and tables for the terminal and for Markdown."""

# ruff: noqa: RUF001  (typeset text: dashes and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

from finst.plans.scores.keys import KEYS, PARTS, Unit
from finst.plans.scores.score import Number, Score
from finst.report.tables import aligned
from finst.report.wording import counted, listed, number, probability, share

ABSENT = "–"

BAR = "\\|"
"""A bar in a cell of Markdown."""

DECIMALS: Mapping[Unit, int] = {"logits": 3, "r": 3, "share of the depth": 2}
"""Of units that are not written in per cent."""

SUFFIXES: Mapping[Unit, str] = {
    "logits": " logits",
    "share of the margin": " of the margin",
    "share of the depth": " of the depth",
}

WHICH = {"high": "distinct objects", "low": "objects that share features"}
"""Objects by entropy."""

OBJECTS = sorted(PARTS["objects"], key=lambda count: (count != "4", -int(count)))
"""Numbers of objects, in the order in which the sentence prefers their accuracies."""


def value_text(at: Number) -> str:
    """``93.8% [71.7%, 98.9%]``, ``0.411 [0.213, 0.627] logits``; a dash where there is no value."""
    if at.value is None:
        return ABSENT
    ends = "no interval" if at.low is None or at.high is None else f"{_plain(at.low, at)}, {_plain(at.high, at)}"
    return f"{_plain(at.value, at)} [{ends}]{SUFFIXES.get(at.unit, '')}"


def _plain(value: float, at: Number) -> str:
    decimals = DECIMALS.get(at.unit)
    return share(value).replace("-", "−") if decimals is None else number(value, decimals)


def sample_text(at: Number) -> str:
    """``16 trials``; empty where nothing was measured."""
    return "" if at.n is None else counted(at.n, at.samples.removesuffix("s"))


def against_text(at: Number) -> str:
    """What the number is compared with, and its p where it has one."""
    return at.against if at.p is None else probability(at.p, at.against)


def cell_text(at: Number) -> str:
    """The value with its interval and n, for a column of a model."""
    return ", n = ".join(filter(None, (value_text(at), sample_text(at))))


def headline(score: Score) -> str:
    """What a score says, in one sentence."""
    keys = score.keys
    stages = [keys[f"stage.{stage}.strength"] for stage in PARTS["stage"]]
    orders = [at for name, at in keys.items() if name.startswith("order.")]
    edits = [at for name, at in keys.items() if name.endswith(".after")]
    parts = [
        _accuracy_text(keys),
        _clause(stages, "stage", ("has", "have"), "heads above the noise"),
        _clause(orders, "order of stages", ("is", "are"), "that of the paper"),
        _clause(edits, "edit", ("does", "do"), "more than no edit and every control"),
    ]
    return f"{Path(score.model).name}: {listed(parts)}."


def _accuracy_text(keys: Mapping[str, Number]) -> str:
    for (entropy, objects), count in product(WHICH.items(), OBJECTS):
        at = keys[f"accuracy.{entropy}.{count}"]
        if at.value is not None:
            return f"the missing one of {count} {objects} is named in {value_text(at)} of {sample_text(at)}"
    return "accuracy was not measured"


def _clause(numbers: Sequence[Number], noun: str, verbs: tuple[str, str], rest: str) -> str:
    """``2 of 3 tested stages have heads above the noise``, those that are found."""
    tested, found = count_tested(numbers), count_found(numbers)
    if not tested:
        return f"no {noun} could be tested"
    first, _, others = noun.partition(" ")
    return " ".join(filter(None, (f"{found} of {counted(tested, f'tested {first}')}", others, verbs[found != 1], rest)))


def count_tested(numbers: Iterable[Number]) -> int:
    """How many numbers could be beyond what they are compared with."""
    return sum(at.verdict not in (None, "not testable") for at in numbers)


def count_found(numbers: Iterable[Number]) -> int:
    """How many numbers are beyond what they are compared with."""
    return sum(at.verdict == "found" for at in numbers)


COLUMNS = ("key", "value, 95 % interval", "n", "compared with", "verdict", "where")


def rows(score: Score) -> list[tuple[str, ...]]:
    """A row with ``COLUMNS`` for every key that has a value."""
    return [
        (name, value_text(at), sample_text(at), against_text(at), at.verdict or "", at.detail)
        for name, at in score.keys.items()
        if at.value is not None
    ]


def missing(score: Score) -> dict[str, list[str]]:
    """The keys without a value, by the reason; ``steering.*`` stands for all keys that begin like that."""
    found: dict[str, list[str]] = {}
    for name, at in score.keys.items():
        if at.value is None:
            found.setdefault(at.reason, []).append(name)
    return {reason: _shortened(names) for reason, names in found.items()}


def _shortened(names: Sequence[str]) -> list[str]:
    """The names, with all that begin with one part in one where none of them is left out."""
    by_part: dict[str, list[str]] = {}
    for name in names:
        by_part.setdefault(name.partition(".")[0], []).append(name)
    complete = {part for part in by_part if len(by_part[part]) == sum(name.startswith(f"{part}.") for name in KEYS)}
    return [name for part, those in by_part.items() for name in ([f"{part}.*"] if part in complete else those)]


def text_of(score: Score) -> str:
    """The sentence, the table, and what has no value, for a terminal."""
    absent = [f"no value: {', '.join(names)} ({reason})" for reason, names in missing(score).items()]
    return "\n".join([headline(score), "", *aligned([COLUMNS, *rows(score)]), *([""] if absent else []), *absent])


def markdown_of(score: Score) -> str:
    """The table in Markdown."""
    return markdown(COLUMNS, rows(score))


def markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; bars in its texts are escaped."""
    table = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(text.replace('|', BAR) for text in line)} |" for line in table)
