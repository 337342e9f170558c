"""What is changed inside the model: edits, rows of edits, and rows as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from finst.errors import FinstError, choice

Site = Literal["z"]
"""``z``: a head's output, its slice of ``o_proj``'s input."""

Op = Literal["replace", "add", "zero"]


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of the same kind at all of ``heads`` x ``positions`` of a layer.

    ``value`` broadcasts to [pos, head, d_head] (in the order given) and is left out for ``op="zero"``.
    """

    layer: int
    heads: tuple[int, ...]
    positions: tuple[int, ...]
    value: Float[Tensor, "*pos_head_d_head"] | None = None
    site: Site = "z"
    op: Op = "replace"

    def __post_init__(self) -> None:
        if self.site not in get_args(Site):
            raise choice("site", self.site, get_args(Site))
        if self.op not in get_args(Op):
            raise choice("op", self.op, get_args(Op))
        if (self.value is None) != (self.op == "zero"):
            raise FinstError(f"an edit with op {self.op!r} {'needs a' if self.value is None else 'takes no'} value")


Row = tuple[Edit, ...]
"""All edits of one counterfactual run; none for the unedited run."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Many rows as flat arrays, one entry for each edited (row, layer, pos, head).

    Within a row replacements come first and additions after them, so the order of its edits does not matter; replacing
    the same head's output twice is refused.
    """

    count: int
    row: Int[np.ndarray, "edit"]
    layer: Int[np.ndarray, "edit"]
    pos: Int[np.ndarray, "edit"]
    head: Int[np.ndarray, "edit"]
    adds: Bool[np.ndarray, "edit"]
    value: Float[Tensor, "edit width"]
    """``width`` is d_head, or 1 for values that are the same along d_head."""

    def __post_init__(self) -> None:
        targets = np.stack([self.row, self.layer, self.pos, self.head])
        if targets.min(initial=0) < 0:
            raise FinstError("rows, layers, positions and heads of edits are counted from 0, without negative numbers")
        replaced = _codes(targets[:, ~self.adds])
        if len(np.unique(replaced)) < len(replaced):
            raise FinstError("a row replaces the same head's output at the same layer and position twice")

    def __len__(self) -> int:
        return self.count

    def __add__(self, other: Rows) -> Rows:
        """These rows, then the other ones."""
        return Rows(
            self.count + other.count,
            np.concatenate([self.row, other.row + self.count]),
            np.concatenate([self.layer, other.layer]),
            np.concatenate([self.pos, other.pos]),
            np.concatenate([self.head, other.head]),
            np.concatenate([self.adds, other.adds]),
            _concatenated([self.value, other.value]),
        )

    def take(self, rows: Int[np.ndarray, "taken"]) -> Rows:
        """Some of these rows (each at most once), in the order given."""
        place = np.full(self.count, -1)
        place[rows] = np.arange(len(rows))
        kept = np.flatnonzero(place[self.row] >= 0)
        return Rows(
            len(rows),
            place[self.row[kept]],
            self.layer[kept],
            self.pos[kept],
            self.head[kept],
            self.adds[kept],
            self.value[torch.from_numpy(kept).to(self.value.device)],
        )

    def edits_of(self, row: int) -> list[int]:
        """Indices of a row's edits."""
        return np.flatnonzero(self.row == row).tolist()


def _codes(indices: Int[np.ndarray, "axis edit"]) -> Int[np.ndarray, "edit"]:
    """One number for each column, equal for equal columns."""
    return np.asarray(np.ravel_multi_index(tuple(indices), tuple(indices.max(axis=1, initial=0) + 1)))


def _concatenated(values: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, "edit width"]:
    """On the accelerator when any of them is there; widths of 1 are widened when needed."""
    device = next((value.device for value in values if value.device.type != "cpu"), torch.device("cpu"))
    width = max((value.shape[1] for value in values), default=1)
    return torch.cat([value.to(device).expand(-1, width) for value in values]) if values else torch.zeros(0, 1)


def unedited(count: int = 1) -> Rows:
    """Rows without edits: they walk the whole way beside the edited ones and show the numerical noise."""
    none = np.zeros(0, dtype=np.int64)
    return Rows(count, none, none, none, none, none.astype(bool), torch.zeros(0, 1))


def rows_from(rows: Sequence[Row]) -> Rows:
    """Rows given edit by edit."""
    edits = [(index, edit) for index, row in enumerate(rows) for edit in row]
    sizes = [(len(edit.positions), len(edit.heads)) for _, edit in edits]
    each = [positions * heads for positions, heads in sizes]
    values = [_spread(edit, size) for (_, edit), size in zip(edits, sizes, strict=True)]
    return Rows(
        len(rows),
        np.repeat(np.array([index for index, _ in edits], dtype=np.int64), each),
        np.repeat(np.array([edit.layer for _, edit in edits], dtype=np.int64), each),
        _joined([np.repeat(edit.positions, len(edit.heads)) for _, edit in edits]),
        _joined([np.tile(edit.heads, len(edit.positions)) for _, edit in edits]),
        np.repeat(np.array([edit.op == "add" for _, edit in edits], dtype=bool), each),
        _concatenated(values),
    )


def _joined(arrays: Sequence[np.ndarray]) -> Int[np.ndarray, "edit"]:
    return np.concatenate(arrays).astype(np.int64) if arrays else np.zeros(0, dtype=np.int64)


def _spread(edit: Edit, size: tuple[int, int]) -> Float[Tensor, "edit width"]:
    """The edit's value for each of its (position, head) pairs, positions first."""
    value = torch.zeros(1) if edit.value is None else edit.value
    width = value.shape[-1] if value.dim() else 1
    try:
        return value.expand(*size, width).reshape(size[0] * size[1], width)
    except RuntimeError as error:
        raise FinstError(
            f"an edit's value of shape {tuple(value.shape)} does not broadcast to [pos, head, d_head] = "
            f"[{size[0]}, {size[1]}, d_head]"
        ) from error


def each_head(source_z: Float[Tensor, "layer pos head d_head"], positions: Sequence[int]) -> Rows:
    """One row for each head of the model, layer by layer: its output at ``positions`` becomes the source context's.

    The L*H rows of one map of causal mediation (paper, section "Causal mediation", Fig 1d).
    """
    layers, _, heads, d_head = source_z.shape
    count = layers * heads
    replaced = source_z[:, list(positions)].transpose(1, 2).reshape(count * len(positions), d_head)
    return Rows(
        count,
        np.repeat(np.arange(count), len(positions)),
        np.repeat(np.arange(layers), heads * len(positions)),
        np.tile(np.array(positions, dtype=np.int64), count),
        np.tile(np.repeat(np.arange(heads), len(positions)), layers),
        np.zeros(count * len(positions), dtype=bool),
        replaced,
    )
