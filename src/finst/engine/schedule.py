"""Which row takes part where: the plan of one walk through the layers, made before any tensor moves.

Rows with the same first touched (edited or read) position form a group; each carries the positions from there to the
end. Within a group rows stand in the order of their first step, so those that have joined are always the first ones.
All tokens of all groups lie on one axis, group after group, row after row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from finst.engine.edits import Rows
from finst.engine.reads import Cells
from finst.engine.sites import Site, step_of


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that share the positions before ``first`` with the clean run."""

    first: int
    width: int
    """Positions that each of its rows carries."""
    rows: Int[np.ndarray, "row"]
    joined: Int[np.ndarray, "step"]
    """Rows that take part in each step."""


@dataclass(frozen=True)
class Segment:
    """Where the rows of a group lie on the token axis of one layer."""

    first: int
    width: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Step:
    """One layer of the walk, or what comes after the last one."""

    joining: tuple[int, ...]
    """New rows of each group."""
    segments: tuple[Segment, ...]
    """One for each group, empty ones included."""
    positions: Int[np.ndarray, "token"]
    """The position of each token of this layer."""


@dataclass(frozen=True, eq=False)
class Touches:
    """Where rows are edited or read, and so which of their layers and tokens have to be computed."""

    edited: Bool[np.ndarray, "row"]
    row: Int[np.ndarray, "touch"]
    step: Int[np.ndarray, "touch"]
    pos: Int[np.ndarray, "touch"]


@dataclass(frozen=True, eq=False)
class Schedule:
    """The plan of a walk: a step for each layer and one for what comes after the last."""

    groups: tuple[Group, ...]
    steps: tuple[Step, ...]
    group_of: Int[np.ndarray, "row"]
    rank: Int[np.ndarray, "row"]
    """Each row's place in its group."""

    def tokens(
        self, row: Int[np.ndarray, "touch"], step: Int[np.ndarray, "touch"], pos: Int[np.ndarray, "touch"]
    ) -> Int[np.ndarray, "touch"]:
        """Places on the token axes of the steps."""
        starts = np.array([[segment.start for segment in one.segments] for one in self.steps], dtype=np.int64)
        first = np.array([group.first for group in self.groups], dtype=np.int64)
        width = np.array([group.width for group in self.groups], dtype=np.int64)
        group = self.group_of[row]
        return starts[step, group] + self.rank[row] * width[group] + pos - first[group]


def touches(rows: Rows, reads: Sequence[tuple[Site, Cells]] = ()) -> Touches:
    """Of all edits and reads together: a read makes its rows join early enough to be read."""
    parts = [(step_of(site, block.layer), block) for site, block in (*rows.blocks.items(), *reads)]
    none = np.zeros(0, dtype=np.int64)
    edited = np.zeros(rows.count, dtype=bool)
    for block in rows.blocks.values():
        edited[block.row] = True
    return Touches(
        edited,
        np.concatenate([none, *(part.row for _, part in parts)]),
        np.concatenate([none, *(step for step, _ in parts)]),
        np.concatenate([none, *(part.pos for _, part in parts)]),
    )


def births(touched: Touches, n_layers: int) -> Int[np.ndarray, "row"]:
    """First step of each row; 0 without edits, so that an unedited row takes part in everything."""
    born = np.where(touched.edited, n_layers, 0)
    np.minimum.at(born, touched.row, touched.step)
    return born


def firsts(touched: Touches, length: int) -> Int[np.ndarray, "row"]:
    """First touched position of each row; without edits, that of the row that begins earliest."""
    first = np.full(len(touched.edited), length - 1)
    np.minimum.at(first, touched.row, touched.pos)
    return np.where(touched.edited, first, first.min(initial=length - 1))


def plan(touched: Touches, n_layers: int, length: int) -> Schedule:
    """The schedule for contexts of ``length`` tokens."""
    born, first = births(touched, n_layers), firsts(touched, length)
    groups = []
    rank = np.zeros(len(born), dtype=np.int64)
    group_of = np.zeros(len(born), dtype=np.int64)
    for index, start in enumerate(np.unique(first)):
        members = np.flatnonzero(first == start)
        members = members[np.argsort(born[members], kind="stable")]
        rank[members], group_of[members] = np.arange(len(members)), index
        joined = np.searchsorted(born[members], np.arange(n_layers + 1), side="right")
        groups.append(Group(int(start), length - int(start), members, joined))
    steps = tuple(_step(groups, step, length) for step in range(n_layers + 1))
    return Schedule(tuple(groups), steps, group_of, rank)


def _step(groups: list[Group], step: int, length: int) -> Step:
    counts = [int(group.joined[step]) for group in groups]
    stops = np.cumsum([count * group.width for count, group in zip(counts, groups, strict=True)], dtype=np.int64)
    segments = tuple(
        Segment(group.first, group.width, int(stop) - count * group.width, int(stop))
        for group, count, stop in zip(groups, counts, stops, strict=True)
    )
    joining = tuple(
        count - int(group.joined[step - 1]) * (step > 0) for group, count in zip(groups, counts, strict=True)
    )
    positions = [np.tile(np.arange(group.first, length), count) for group, count in zip(groups, counts, strict=True)]
    return Step(joining, segments, np.concatenate(positions) if positions else np.zeros(0, dtype=np.int64))


def chunks(touched: Touches, n_layers: int, length: int, max_tokens: int) -> Iterator[Int[np.ndarray, "row"]]:
    """Splits rows so that none of the parts carries more than ``max_tokens`` tokens (but at least one row).

    Rows that join at about the same layer stay together: the later ones skip the layers before.
    """
    order = np.argsort(births(touched, n_layers), kind="stable")
    carried = (length - firsts(touched, length))[order]
    start = total = 0
    for index, tokens in enumerate(carried):
        if total and total + tokens > max_tokens:
            yield order[start:index]
            start, total = index, 0
        total += tokens
    if len(order):
        yield order[start:]
