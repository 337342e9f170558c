"""Reading activations: in whole contexts, and in counterfactual runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.engine.finite import all_finite, context_name, first_bad, first_layer, in_layer, not_finite, total
from finst.engine.kernel_patching import fused
from finst.engine.precision import arithmetic
from finst.engine.readout import decoder_call, decoder_inputs
from finst.engine.sites import HEAD_SITES, SITES, Site, heads_and_width, tapped
from finst.errors import FinstError, choice
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM

Activations = Float[Tensor, "context layer _ *_"]
"""One site in all layers: [context, layer, pos, head, d_head], or [context, layer, pos, d_model] without heads."""


@dataclass(frozen=True)
class Read:
    """One site at all of ``layers`` x ``positions`` of some rows (by default of all), after the rows' edits."""

    site: Site
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    rows: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.site not in SITES:
            raise choice("site", self.site, SITES)


@dataclass(frozen=True, eq=False, repr=False)
class Observed:
    """Counterfactual runs: their logits and what was read in them."""

    logits: Float[Tensor, "row answer"]
    reads: tuple[Float[Tensor, "_ _ _ *_"], ...]
    """One tensor a read: [row, layer, pos, head, d_head], or [row, layer, pos, d_model] at sites without heads."""


@dataclass(frozen=True, eq=False)
class ReadCells:
    """A read as flat arrays, one entry for each (row, layer, pos), in that order."""

    row: Int[np.ndarray, "cell"]
    layer: Int[np.ndarray, "cell"]
    pos: Int[np.ndarray, "cell"]
    index: Int[np.ndarray, "cell"]
    """The entry's place in what the read returns."""

    def take(self, place: Int[np.ndarray, "row"]) -> ReadCells:
        """The entries of those rows whose ``place`` is not negative, with that place for their row."""
        kept = np.flatnonzero(place[self.row] >= 0)
        return ReadCells(place[self.row[kept]], self.layer[kept], self.pos[kept], self.index[kept])


def cells(read: Read, count: int) -> ReadCells:
    """The entries of a read of ``count`` rows."""
    rows = range(count) if read.rows is None else read.rows
    axes = [np.array(axis, dtype=np.int64) for axis in (rows, read.layers, read.positions)]
    row, layer, pos = (grid.ravel() for grid in np.meshgrid(*axes, indexing="ij"))
    return ReadCells(row, layer, pos, np.arange(len(row)))


def shaped(
    values: Float[Tensor, "cell head width"], read: Read, count: int
) -> Float[Tensor, "row layer pos *head_width"]:
    """The entries of a read of ``count`` rows, on the read's axes; no head axis at sites without heads."""
    rows = count if read.rows is None else len(read.rows)
    grid = values.view(rows, len(read.layers), len(read.positions), *values.shape[1:])
    return grid if read.site in HEAD_SITES else grid.squeeze(-2)


@contextmanager
def reading(
    vlm: VLM, sites: Sequence[Site], positions: Sequence[int] | None = None
) -> Iterator[Mapping[Site, list[Float[Tensor, "context pos head width"]]]]:
    """Keeps some sites of every layer, at ``positions`` (None: all), from the decoder calls that this thread makes.

    Raises FinstError for an unknown site.
    """
    kept: dict[Site, list[Tensor]] = {}
    with ExitStack() as taps:
        for site in sites:
            if site not in SITES:
                raise choice("site", site, SITES)
            kept[site] = []
            keep = partial(_keep, kept[site], heads_and_width(vlm, site), positions)
            for layer in range(vlm.n_layers):
                taps.enter_context(tapped(vlm, layer, site, keep))
        yield kept


def _keep(kept: list[Tensor], shape: tuple[int, int], positions: Sequence[int] | None, x: Tensor) -> None:
    whole = x.view(*x.shape[:2], *shape)
    kept.append(whole.clone() if positions is None else whole[:, list(positions)])


def stacked(kept: Mapping[Site, Sequence[Tensor]]) -> dict[Site, Activations]:
    """The values that ``reading`` kept of one call, with a layer axis; no head axis at sites without heads."""
    activations: dict[Site, Activations] = {}
    for site, layers in kept.items():
        whole = torch.stack([layer.to(layers[0].device) for layer in layers], dim=1)
        activations[site] = whole if site in HEAD_SITES else whole.squeeze(-2)
    return activations


def check_positions(positions: Sequence[int] | None, length: int) -> None:
    """Raises FinstError for positions outside a context of ``length`` tokens."""
    wrong = [pos for pos in positions or () if not 0 <= pos < length]
    if wrong:
        raise FinstError(f"a position to read must be in 0..{length - 1}; got {wrong[0]}")


@torch.inference_mode()
def activations(
    vlm: VLM, contexts: Sequence[Encoded], sites: Sequence[Site], positions: Sequence[int] | None = None
) -> dict[Site, Activations]:
    """Some sites at some ``positions`` (None: all) of contexts of equal length. Nothing else is kept.

    Raises FinstError for contexts of different lengths, an unknown site, a position outside the contexts, and for
    values that are not finite.
    """
    read = _read(vlm, contexts, sites, positions)
    if not all_finite(total(*read.values())):
        index = first_bad(list(read.values()))
        if index is not None:
            layer = first_layer(vlm, partial(_read, vlm, contexts[index : index + 1], sites, positions))
            name = context_name(vlm, index, len(contexts), contexts[index].input_ids)
            raise not_finite(vlm, name, in_layer(layer))
    return read


def _read(
    vlm: VLM, contexts: Sequence[Encoded], sites: Sequence[Site], positions: Sequence[int] | None
) -> dict[Site, Activations]:
    with arithmetic(vlm), fused(vlm):
        inputs = decoder_inputs(vlm, contexts)
        check_positions(positions, inputs.embeds.shape[1])
        with reading(vlm, sites, positions) as kept:
            vlm.decoder(**decoder_call(vlm, inputs))
    return stacked(kept)
