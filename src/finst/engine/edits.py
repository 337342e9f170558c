"""Changes inside the model: edits, rows of edits, and rows as flat arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from finst.engine.sites import HEAD_SITES, SITES, Site
from finst.errors import FinstError, choice
from finst.vlm.to_device import to_device

Op = Literal["replace", "add", "zero"]


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of the same kind at all of ``heads`` x ``positions`` of a layer.

    ``value`` broadcasts to [pos, head, d_head] (in the order given) and is left out for ``op="zero"``. ``k`` and ``v``
    count KV heads. At sites without heads (``attn_out``, ``mlp_out``, ``resid``) ``heads`` is ``()`` and ``value``
    broadcasts to [pos, d_model]. ``op="add"`` adds ``coefficient`` times the value.
    """

    layer: int
    heads: tuple[int, ...]
    positions: tuple[int, ...]
    value: Float[Tensor, "*pos_head_width"] | None = None
    site: Site = "z"
    op: Op = "replace"
    coefficient: float = 1.0

    def __post_init__(self) -> None:
        if self.site not in SITES:
            raise choice("site", self.site, SITES)
        if self.op not in get_args(Op):
            raise choice("op", self.op, get_args(Op))
        if (self.value is None) != (self.op == "zero"):
            raise FinstError(f"an edit with op {self.op!r} {'needs a' if self.value is None else 'takes no'} value")
        if self.value is not None and not isinstance(self.value, Tensor):
            raise FinstError(f"an edit's value is a {type(self.value).__name__}; expected a torch tensor")
        if self.value is not None and self.value.is_complex():
            raise FinstError(f"an edit's value is of {self.value.dtype}; expected real numbers")
        check_coefficients([self.coefficient])
        if self.coefficient != 1 and self.op != "add":
            raise FinstError(f"an edit with op {self.op!r} takes no coefficient: only op 'add' does")
        if bool(self.heads) != (self.site in HEAD_SITES):
            raise FinstError(f"an edit at site {self.site!r} {'takes no' if self.heads else 'needs'} heads")


def check_coefficients(coefficients: Sequence[object]) -> None:
    """Raises FinstError for a coefficient (a dose) that is not a finite number."""
    for coefficient in coefficients:
        try:
            finite = math.isfinite(cast(Any, coefficient))
        except (TypeError, ValueError, OverflowError, RuntimeError):
            finite = False
        if not finite:
            raise FinstError(f"an edit's coefficient is {coefficient!r}; expected a finite number, such as 1.0")


Row = tuple[Edit, ...]
"""All edits of one counterfactual run; none for the unedited run."""


@dataclass(frozen=True, eq=False)
class Block:
    """The edits of many rows at one site as flat arrays, one entry for each edited (row, layer, pos, head).

    ``head`` is 0 at sites without heads.
    """

    row: Int[np.ndarray, "edit"]
    layer: Int[np.ndarray, "edit"]
    pos: Int[np.ndarray, "edit"]
    head: Int[np.ndarray, "edit"]
    adds: Bool[np.ndarray, "edit"]
    value: Float[Tensor, "edit width"]
    """``width`` is d_head (d_model at sites without heads), or 1 for values that are the same along it."""

    def __post_init__(self) -> None:
        targets = np.stack([self.row, self.layer, self.pos, self.head])
        if targets.min(initial=0) < 0:
            raise FinstError("rows, layers, positions and heads of edits are counted from 0, without negative numbers")
        replaced = _codes(targets[:, ~self.adds])
        if len(np.unique(replaced)) < len(replaced):
            raise FinstError("a row replaces the same values (site, layer, position and head) twice")

    def take(self, place: Int[np.ndarray, "row"]) -> Block:
        """The edits of those rows whose ``place`` is not negative, with that place for their row."""
        kept = np.flatnonzero(place[self.row] >= 0)
        return Block(
            place[self.row[kept]],
            self.layer[kept],
            self.pos[kept],
            self.head[kept],
            self.adds[kept],
            self.value if len(kept) == len(self.value) else self.value[to_device(kept, self.value.device)],
        )


@dataclass(frozen=True, eq=False)
class Rows:
    """Many rows, their edits in one block of flat arrays a site.

    At each site replacements come first and additions after them, so the order of a row's edits does not matter;
    replacing the same values twice is refused.
    """

    context: Int[np.ndarray, "row"]
    """The clean context of each row: which one of the recording that the rows are run with."""
    blocks: Mapping[Site, Block]

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.context)

    def __len__(self) -> int:
        return self.count

    def on(self, context: int) -> Rows:
        """The same rows with another clean context."""
        return Rows(np.full(self.count, context), self.blocks)

    def __add__(self, other: Rows) -> Rows:
        """These rows, followed by the others."""
        blocks: dict[Site, Block] = {}
        for site in SITES:
            parts = [self.blocks[site]] if site in self.blocks else []
            parts += [_moved(other.blocks[site], self.count)] if site in other.blocks else []
            if parts:
                blocks[site] = _concatenated(parts)
        return Rows(np.concatenate([self.context, other.context]), blocks)

    def take(self, rows: Int[np.ndarray, "taken"]) -> Rows:
        """Some of these rows (each at most once), in the order given."""
        place = np.full(self.count, -1)
        place[rows] = np.arange(len(rows))
        return Rows(self.context[rows], {site: block.take(place) for site, block in self.blocks.items()})


def _codes(indices: Int[np.ndarray, "axis edit"]) -> Int[np.ndarray, "edit"]:
    """One number for each column, equal for equal columns."""
    return np.asarray(np.ravel_multi_index(tuple(indices), tuple(indices.max(axis=1, initial=0) + 1)))


def _moved(block: Block, rows: int) -> Block:
    return Block(block.row + rows, block.layer, block.pos, block.head, block.adds, block.value)


def _concatenated(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    return Block(
        np.concatenate([block.row for block in blocks]),
        np.concatenate([block.layer for block in blocks]),
        np.concatenate([block.pos for block in blocks]),
        np.concatenate([block.head for block in blocks]),
        np.concatenate([block.adds for block in blocks]),
        _stacked([block.value for block in blocks]),
    )


def _stacked(values: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, "edit width"]:
    """All values in one tensor: on the GPU when any of them is there; widths of 1 are expanded when needed."""
    device = next((value.device for value in values if value.device.type != "cpu"), torch.device("cpu"))
    width = max(value.shape[1] for value in values)
    wrong = sorted({value.shape[1] for value in values} - {1, width})
    if wrong:
        raise FinstError(f"the values of edits at one site have {wrong[0]} and {width} entries; expected one width")
    return torch.cat([value.to(device).expand(-1, width) for value in values])


def unedited(count: int = 1) -> Rows:
    """Rows without edits. They are computed from layer 0 beside the edited rows and show the numerical noise."""
    return Rows(np.zeros(count, dtype=np.int64), {})


def rows_from(rows: Sequence[Row]) -> Rows:
    """Rows given edit by edit. Raises FinstError for a value that does not broadcast to its edit's shape."""
    edits = [(index, edit) for index, row in enumerate(rows) for edit in row]
    blocks: dict[Site, Block] = {}
    for site in SITES:
        here = [(index, edit) for index, edit in edits if edit.site == site]
        if here:
            blocks[site] = _block(here)
    return Rows(np.zeros(len(rows), dtype=np.int64), blocks)


def _block(edits: Sequence[tuple[int, Edit]]) -> Block:
    """The edits (with their rows) of one site."""
    heads = [edit.heads or (0,) for _, edit in edits]
    each = [len(edit.positions) * len(h) for (_, edit), h in zip(edits, heads, strict=True)]
    return Block(
        np.repeat(np.array([index for index, _ in edits]), each),
        np.repeat(np.array([edit.layer for _, edit in edits]), each),
        _joined(np.repeat(edit.positions, len(h)) for (_, edit), h in zip(edits, heads, strict=True)),
        _joined(np.tile(h, len(edit.positions)) for (_, edit), h in zip(edits, heads, strict=True)),
        np.repeat(np.array([edit.op == "add" for _, edit in edits]), each),
        _stacked([_spread(edit) for _, edit in edits]),
    )


def _joined(arrays: Iterable[np.ndarray]) -> Int[np.ndarray, "edit"]:
    return np.concatenate(list(arrays)).astype(np.int64)


def _spread(edit: Edit) -> Float[Tensor, "edit width"]:
    """The edit's value for each of its (position, head) pairs, positions first."""
    value = torch.zeros(1) if edit.value is None else edit.value * edit.coefficient
    width = value.shape[-1] if value.dim() else 1
    size = (len(edit.positions), len(edit.heads)) if edit.heads else (len(edit.positions),)
    try:
        return value.expand(*size, width).reshape(-1, width)
    except RuntimeError as error:
        axes = "[pos, head, d_head]" if edit.heads else "[pos, d_model]"
        raise FinstError(
            f"an edit's value of shape {tuple(value.shape)} does not broadcast to {axes} = "
            f"[{', '.join(map(str, size))}, {'d_head' if edit.heads else 'd_model'}]"
        ) from error


def check_positions(positions: Sequence[int], length: int) -> None:
    """Raises FinstError for positions outside a source of ``length`` tokens."""
    wrong = [pos for pos in positions if not 0 <= pos < length]
    if wrong:
        raise FinstError(f"a position to edit must be in 0..{length - 1}, the source's tokens; got {wrong[0]}")


def each_head(
    source: Float[Tensor, "layer pos head d_head"], positions: Sequence[int], site: Literal["q", "k", "v", "z"] = "z"
) -> Rows:
    """One row for each head of the model, layer by layer: its values at ``positions`` become the source context's.

    The L*H rows of one map of causal mediation (paper, section "Causal mediation", Fig 1d). ``source`` holds all
    positions; its heads are KV heads for ``k`` and ``v``. Raises FinstError for positions outside the source.
    """
    if source.dim() != 4:
        raise FinstError(f"a source has the axes layer, pos, head and d_head; got {source.dim()} axes")
    check_positions(positions, source.shape[1])
    layers, _, heads, d_head = source.shape
    count = layers * heads
    block = Block(
        np.repeat(np.arange(count), len(positions)),
        np.repeat(np.arange(layers), heads * len(positions)),
        np.tile(np.array(positions, dtype=np.int64), count),
        np.tile(np.repeat(np.arange(heads), len(positions)), layers),
        np.zeros(count * len(positions), dtype=bool),
        torch.stack([source[:, pos] for pos in positions], dim=2).reshape(count * len(positions), d_head),
    )
    return Rows(np.zeros(count, dtype=np.int64), {site: block})
