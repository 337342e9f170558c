"""The operations of a walk at one site: writing edits and then taking reads, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.engine.edits import Block
from finst.engine.reads import ReadCells
from finst.engine.schedule import Schedule
from finst.engine.sites import Site, step_of, with_heads
from finst.vlm.to_device import to_device


@dataclass(frozen=True, eq=False)
class _Writes:
    """Edits sorted by layer, replacements before additions; on the device of the model's inputs."""

    bounds: Int[np.ndarray, "two_layers_and_one"]
    """Layer l replaces between bounds 2l and 2l + 1, and adds between 2l + 1 and 2l + 2."""
    tokens: Int[Tensor, "edit"]
    heads: Int[Tensor, "edit"]
    values: Float[Tensor, "edit width"]

    def at(self, layer: int, x: Float[Tensor, "token head width"]) -> None:
        """Writes a layer's edits into ``x``."""
        for start, stop, adds in zip(
            self.bounds[2 * layer :], self.bounds[2 * layer + 1 :], (False, True), strict=False
        ):
            if start < stop:
                tokens, heads = (index[start:stop].to(x.device) for index in (self.tokens, self.heads))
                values = self.values[start:stop].to(x.device, x.dtype).expand(-1, x.shape[-1])
                x.index_put_((tokens, heads), values, accumulate=adds)


@dataclass(frozen=True, eq=False)
class _Reads:
    """A read's entries sorted by layer; on the device of the model's inputs."""

    bounds: Int[np.ndarray, "layers_and_one"]
    tokens: Int[Tensor, "cell"]
    index: Int[Tensor, "cell"]
    seen: Float[Tensor, "all_cells head width"]
    """The read's result, filled layer by layer."""

    def at(self, layer: int, x: Float[Tensor, "token head width"]) -> None:
        """Takes a layer's entries from ``x``."""
        start, stop = self.bounds[layer : layer + 2]
        if start < stop:
            taken = x[self.tokens[start:stop].to(x.device)]
            self.seen[self.index[start:stop]] = taken.to(self.seen.device)


@dataclass(frozen=True, eq=False)
class SiteOps:
    """All edits and reads at one site in one walk."""

    shape: tuple[int, int]
    """Number of heads and entries per head."""
    layers: frozenset[int]
    """Layers with an edit or a read."""
    parts: tuple[_Writes | _Reads, ...]
    """The edits, if there are any, and then the reads."""

    def at(self, layer: int, x: Float[Tensor, "..."]) -> None:
        """Writes the edits into the values at the site (in place), then reads from them."""
        for part in self.parts if layer in self.layers else ():
            part.at(layer, with_heads(x, *self.shape))


def writes(block: Block, tokens: Int[np.ndarray, "edit"], n_layers: int, device: torch.device) -> _Writes:
    """A block's edits, at the indices ``tokens`` of the token axis."""
    turn = 2 * block.layer + block.adds
    order = np.argsort(turn, kind="stable")
    placed = to_device(np.stack([order, tokens[order], block.head[order]]), device)
    bounds = np.searchsorted(turn[order], np.arange(2 * n_layers + 1))
    return _Writes(bounds, placed[1], placed[2], block.value.to(device)[placed[0]])


def _reads(
    cells: ReadCells, tokens: Int[np.ndarray, "cell"], n_layers: int, seen: Float[Tensor, "all_cells head width"]
) -> _Reads:
    order = np.argsort(cells.layer, kind="stable")
    placed = to_device(np.stack([tokens[order], cells.index[order]]), seen.device)
    return _Reads(np.searchsorted(cells.layer[order], np.arange(n_layers + 1)), placed[0], placed[1], seen)


def site_ops(
    site: Site,
    shape: tuple[int, int],
    block: Block | None,
    reads: Sequence[tuple[ReadCells, Float[Tensor, "_ head width"]]],
    schedule: Schedule,
    device: torch.device,
) -> SiteOps:
    """The edits and reads of a walk's rows at one site, with their indices on the walk's token axis."""

    def tokens(part: Block | ReadCells) -> Int[np.ndarray, "touch"]:
        return schedule.tokens(part.row, step_of(site, part.layer), part.pos)

    n_layers = len(schedule.steps) - 1
    touched = [cells.layer for cells, _ in reads] + ([] if block is None else [block.layer])
    edits = () if block is None else (writes(block, tokens(block), n_layers, device),)
    taken = tuple(_reads(cells, tokens(cells), n_layers, seen) for cells, seen in reads)
    return SiteOps(shape, frozenset(np.concatenate(touched).tolist()), (*edits, *taken))
