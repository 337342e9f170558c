"""Which rows are computed in which layers: the plan of one walk through the layers, made before any tensor moves.

Rows of one clean context with the same first touched (edited or read) position form a group; each carries the
positions from there to the end. Within a group the rows are in the order of their first step, so the rows that have
joined come first. All tokens of all groups lie on one axis, group after group, row after row. Groups with the same
first position lie next to each other, so that attention can take them in one bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from finst.engine.edits import Rows
from finst.engine.reads import ReadCells
from finst.engine.sites import Site, step_of


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that share the positions before ``first`` with one clean context."""

    context: int
    first: int
    width: int
    """Number of positions that each of its rows carries."""
    rows: Int[np.ndarray, "row"]
    joined: Int[np.ndarray, "step"]
    """Number of rows that take part in each step."""


@dataclass(frozen=True)
class Bundle:
    """Neighbouring groups on the token axis of a layer, with the same first position and number of rows."""

    contexts: slice
    """The groups' clean contexts, in order."""
    first: int
    width: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class WalkStep:
    """One layer of the walk, or the output after the last layer."""

    bundles: tuple[Bundle, ...]
    sources: Int[np.ndarray, "token"] | None
    """Where each token's hidden state comes from: an index into the tokens of the previous step followed by all tokens
    of all clean contexts. None when no row joins, so that the tokens are those of the previous step."""
    places: Int[np.ndarray, "token"]
    """Each token's index among all tokens of all clean contexts, context after context."""


@dataclass(frozen=True, eq=False)
class Touches:
    """Where rows are edited or read; this decides which of their layers and tokens must be computed."""

    context: Int[np.ndarray, "row"]
    edited: Bool[np.ndarray, "row"]
    row: Int[np.ndarray, "touch"]
    step: Int[np.ndarray, "touch"]
    pos: Int[np.ndarray, "touch"]


@dataclass(frozen=True, eq=False)
class Schedule:
    """The plan of a walk: a step for each layer and one for the output after the last."""

    groups: tuple[Group, ...]
    steps: tuple[WalkStep, ...]
    starts: Int[np.ndarray, "step group"]
    """The first index of each group on the token axis of each step."""
    group_of: Int[np.ndarray, "row"]
    rank: Int[np.ndarray, "row"]
    """Each row's index in its group."""

    @cached_property
    def _widths(self) -> Int[np.ndarray, "group"]:
        return np.array([group.width for group in self.groups], dtype=np.int64)

    @cached_property
    def _firsts(self) -> Int[np.ndarray, "group"]:
        return np.array([group.first for group in self.groups], dtype=np.int64)

    def tokens(
        self, row: Int[np.ndarray, "touch"], step: Int[np.ndarray, "touch"], pos: Int[np.ndarray, "touch"]
    ) -> Int[np.ndarray, "touch"]:
        """Indices on the token axes of the steps."""
        group = self.group_of[row]
        return self.starts[step, group] + self.rank[row] * self._widths[group] + pos - self._firsts[group]

    @property
    def last(self) -> Int[np.ndarray, "row"]:
        """The index of each row's last token after the last layer."""
        return self.starts[-1, self.group_of] + (self.rank + 1) * self._widths[self.group_of] - 1


def touches(rows: Rows, reads: Sequence[tuple[Site, ReadCells]] = ()) -> Touches:
    """The touches of all edits and reads; a read makes its rows join early enough to be read."""
    parts = [(step_of(site, block.layer), block) for site, block in (*rows.blocks.items(), *reads)]
    none = np.zeros(0, dtype=np.int64)
    edited = np.zeros(rows.count, dtype=bool)
    for block in rows.blocks.values():
        edited[block.row] = True
    return Touches(
        rows.context,
        edited,
        np.concatenate([none, *(part.row for _, part in parts)]),
        np.concatenate([none, *(step for step, _ in parts)]),
        np.concatenate([none, *(part.pos for _, part in parts)]),
    )


def first_layers(touched: Touches, n_layers: int) -> Int[np.ndarray, "row"]:
    """First step of each row; 0 without edits, so that an unedited row takes part in everything."""
    first_step = np.where(touched.edited, n_layers, 0)
    np.minimum.at(first_step, touched.row, touched.step)
    return first_step


def firsts(touched: Touches, length: int) -> Int[np.ndarray, "row"]:
    """First touched position of each row; for a row without edits, the earliest of all rows."""
    first = np.full(len(touched.edited), length - 1)
    np.minimum.at(first, touched.row, touched.pos)
    return np.where(touched.edited, first, first.min(initial=length - 1))


def plan(touched: Touches, n_layers: int, length: int) -> Schedule:
    """The schedule for contexts of ``length`` tokens."""
    first_step, first = first_layers(touched, n_layers), firsts(touched, length)
    groups: list[Group] = []
    rank = np.zeros(len(first_step), dtype=np.int64)
    keys, group_of = np.unique(np.stack([first, touched.context]), axis=1, return_inverse=True)
    for index, (start, context) in enumerate(keys.T):
        members = np.flatnonzero(group_of == index)
        members = members[np.argsort(first_step[members], kind="stable")]
        rank[members] = np.arange(len(members))
        joined = np.searchsorted(first_step[members], np.arange(n_layers + 1), side="right")
        groups.append(Group(int(context), int(start), length - int(start), members, joined))
    lengths = np.array([group.joined * group.width for group in groups], dtype=np.int64).reshape(len(groups), -1).T
    starts = np.concatenate([np.zeros((len(lengths), 1), dtype=np.int64), lengths.cumsum(axis=1)], axis=1)
    steps = tuple(_step(groups, starts, step, length) for step in range(n_layers + 1))
    return Schedule(tuple(groups), steps, starts, group_of.reshape(-1), rank)


def _step(groups: list[Group], starts: Int[np.ndarray, "step edge"], step: int, length: int) -> WalkStep:
    places, sources, joins = [], [], False
    behind = int(starts[step - 1, -1]) if step else 0
    for index, group in enumerate(groups):
        own = np.arange(group.first, length) + group.context * length
        places.append(np.tile(own, group.joined[step]))
        here_before = slice(*starts[step - 1, index : index + 2]) if step else slice(0, 0)
        new = group.joined[step] - (group.joined[step - 1] if step else 0)
        sources += [np.arange(here_before.start, here_before.stop), np.tile(own + behind, new)]
        joins = joins or new > 0
    none = np.zeros(0, dtype=np.int64)
    return WalkStep(
        _bundles(groups, starts[step], step),
        np.concatenate([none, *sources]) if joins else None,
        np.concatenate([none, *places]),
    )


def _bundles(groups: list[Group], edges: Int[np.ndarray, "edge"], step: int) -> tuple[Bundle, ...]:
    bundles: list[Bundle] = []
    for index, group in enumerate(groups):
        start, stop = (int(edge) for edge in edges[index : index + 2])
        if start == stop:
            continue
        single = Bundle(slice(group.context, group.context + 1, 1), group.first, group.width, start, stop)
        wider = _merged(bundles[-1], single) if bundles else None
        bundles = [*bundles[:-1], wider] if wider else [*bundles, single]
    return tuple(bundles)


def _merged(bundle: Bundle, single: Bundle) -> Bundle | None:
    """A bundle and the single group after it as one bundle; None unless they are alike and contexts equally spaced."""
    contexts = range(*bundle.contexts.indices(bundle.contexts.stop))
    per_context = (bundle.stop - bundle.start) // len(contexts)
    if (bundle.first, per_context) != (single.first, single.stop - single.start):
        return None
    distance = single.contexts.start - contexts[-1]
    if len(contexts) > 1 and distance != contexts.step:
        return None
    return Bundle(
        slice(contexts.start, single.contexts.stop, distance), bundle.first, bundle.width, bundle.start, single.stop
    )


def chunks(touched: Touches, n_layers: int, length: int, max_tokens: int) -> Iterator[Int[np.ndarray, "row"]]:
    """Splits rows into parts that carry at most ``max_tokens`` tokens each (but at least one row).

    Rows that join at about the same layer go together, so that a part of late rows skips the earlier layers.
    """
    order = np.argsort(first_layers(touched, n_layers), kind="stable")
    carried = (length - firsts(touched, length))[order]
    start = total = 0
    for index, tokens in enumerate(carried):
        if total and total + tokens > max_tokens:
            yield order[start:index]
            start, total = index, 0
        total += tokens
    if len(order):
        yield order[start:]
