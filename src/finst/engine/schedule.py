"""Which row takes part where: the plan of one walk through the layers, made before any tensor moves.

Rows with the same first edited position form a group; each carries the positions from there to the end. Within a group
rows stand in the order of their first edited layer, so those that have joined are always the first ones. All tokens
of all groups lie on one axis, group after group, row after row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from finst.engine.edits import Rows


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that share the positions before ``first`` with the clean run."""

    first: int
    width: int
    """Positions that each of its rows carries."""
    rows: Int[np.ndarray, "row"]
    joined: Int[np.ndarray, "layer"]
    """Rows that take part in each layer."""


@dataclass(frozen=True)
class Segment:
    """Where the rows of a group lie on the token axis of one layer."""

    first: int
    width: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Targets:
    """Where some of the rows' edits act in one layer."""

    edits: Int[np.ndarray, "edit"]
    """Indices among the edits of all rows."""
    tokens: Int[np.ndarray, "edit"]
    """Places on the token axis."""


@dataclass(frozen=True, eq=False)
class Step:
    """One layer of the walk."""

    joining: tuple[int, ...]
    """New rows of each group."""
    segments: tuple[Segment, ...]
    """One for each group, empty ones included."""
    positions: Int[np.ndarray, "token"]
    """The position of each token of this layer."""
    replaced: Targets
    added: Targets


@dataclass(frozen=True, eq=False)
class Schedule:
    """The plan of a walk."""

    groups: tuple[Group, ...]
    steps: tuple[Step, ...]


def births(rows: Rows, n_layers: int) -> Int[np.ndarray, "row"]:
    """First edited layer of each row; 0 without edits, so that an unedited row takes part in everything."""
    born = np.full(rows.count, n_layers)
    np.minimum.at(born, rows.row, rows.layer)
    born[born == n_layers] = 0
    return born


def firsts(rows: Rows, length: int) -> Int[np.ndarray, "row"]:
    """First edited position of each row; without edits, that of the row that begins earliest."""
    first = np.full(rows.count, length)
    np.minimum.at(first, rows.row, rows.pos)
    first[first == length] = first.min(initial=length - 1)
    return first


def plan(rows: Rows, n_layers: int, length: int) -> Schedule:
    """The schedule for contexts of ``length`` tokens."""
    born, first = births(rows, n_layers), firsts(rows, length)
    groups = []
    rank = np.zeros(rows.count, dtype=np.int64)
    group_of = np.zeros(rows.count, dtype=np.int64)
    for index, start in enumerate(np.unique(first)):
        members = np.flatnonzero(first == start)
        members = members[np.argsort(born[members], kind="stable")]
        rank[members], group_of[members] = np.arange(len(members)), index
        joined = np.searchsorted(born[members], np.arange(n_layers), side="right")
        groups.append(Group(int(start), length - int(start), members, joined))
    steps = tuple(_step(rows, groups, layer, length, rank, group_of) for layer in range(n_layers))
    return Schedule(tuple(groups), steps)


def _step(
    rows: Rows,
    groups: list[Group],
    layer: int,
    length: int,
    rank: Int[np.ndarray, "row"],
    group_of: Int[np.ndarray, "row"],
) -> Step:
    counts = [int(group.joined[layer]) for group in groups]
    stops = np.cumsum([count * group.width for count, group in zip(counts, groups, strict=True)], dtype=np.int64)
    segments = tuple(
        Segment(group.first, group.width, int(stop) - count * group.width, int(stop))
        for group, count, stop in zip(groups, counts, stops, strict=True)
    )
    joining = tuple(
        count - int(group.joined[layer - 1]) * (layer > 0) for group, count in zip(groups, counts, strict=True)
    )
    positions = [np.tile(np.arange(group.first, length), count) for group, count in zip(groups, counts, strict=True)]

    here = np.flatnonzero(rows.layer == layer)
    row = rows.row[here]
    start = np.array([segment.start for segment in segments], dtype=np.int64)[group_of[row]]
    first = np.array([group.first for group in groups], dtype=np.int64)[group_of[row]]
    token = start + rank[row] * (length - first) + rows.pos[here] - first
    adds = rows.adds[here]
    return Step(
        joining,
        segments,
        np.concatenate(positions) if positions else np.zeros(0, dtype=np.int64),
        Targets(here[~adds], token[~adds]),
        Targets(here[adds], token[adds]),
    )


def chunks(rows: Rows, n_layers: int, length: int, max_tokens: int) -> Iterator[Int[np.ndarray, "row"]]:
    """Splits rows so that none of the parts carries more than ``max_tokens`` tokens (but at least one row).

    Rows that join at about the same layer stay together: the later ones skip the layers before.
    """
    order = np.argsort(births(rows, n_layers), kind="stable")
    carried = (length - firsts(rows, length))[order]
    start = total = 0
    for index, tokens in enumerate(carried):
        if total and total + tokens > max_tokens:
            yield order[start:index]
            start, total = index, 0
        total += tokens
    if len(order):
        yield order[start:]
