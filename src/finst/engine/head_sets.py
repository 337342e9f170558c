"""Rows that edit sets of heads: whole layers, the top K of a ranking, a grid of K and coefficients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.engine.edits import Block, Rows, check_coefficients, check_positions
from finst.engine.sites import HEAD_SITES, Site
from finst.errors import FinstError
from finst.vlm.to_device import to_device


def each_layer(source: Float[Tensor, "layer all_pos *head_width"], positions: Sequence[int], site: Site = "z") -> Rows:
    """One row for each layer: the values of all of its heads at ``positions`` become the source context's.

    ``source`` holds all positions of a site, with a head axis where the site has one. Replacing the z of all heads of a
    layer replaces all that its attention adds to the residual stream. Raises FinstError for positions outside the
    source.
    """
    check_positions(positions, source.shape[1])
    values = source if site in HEAD_SITES else source[:, :, None]
    layers, _, heads, width = values.shape
    row, pos, head = _grid(np.arange(layers), np.array(positions, dtype=np.int64), np.arange(heads))
    block = Block(row, row, pos, head, np.zeros(len(row), bool), values[:, list(positions)].reshape(-1, width))
    return Rows(np.zeros(layers, dtype=np.int64), {site: block})


def head_sets(
    values: Float[Tensor, "layer pos head d_head"],
    positions: Sequence[int],
    ranking: Int[np.ndarray, "ranked 2"],
    ks: Sequence[int],
    coefficients: Sequence[float] | None = None,
    site: Site = "z",
) -> Rows:
    """Rows that edit the first K heads of a ranking, for each of ``ks``; [k] or [k, coefficient] in row-major order.

    ``values`` are written to each head at each of ``positions``; ``ranking`` holds (layer, head) pairs, best first.
    Without ``coefficients`` values are replaced (a sweep over K: paper, Figs 13, 29, 45, Table 1); with them each row
    adds one coefficient times the values (the K x alpha grid of Fig 3b). K = 0 is an unedited row. Raises FinstError
    for a site without heads, a K that exceeds the ranking, a ranking that holds a head twice, and when the numbers of
    positions and values differ. Also for a head outside of ``values``, and coefficients that are not finite.
    """
    if site not in HEAD_SITES:
        raise FinstError(f"head sets need a site with heads, one of {', '.join(HEAD_SITES)}; got {site!r}")
    if len(positions) != values.shape[1]:
        raise FinstError(f"{len(positions)} positions need as many values per head; got {values.shape[1]}")
    if len(np.unique(ranking, axis=0)) < len(ranking):
        raise FinstError("the ranking holds a head twice: expected every head at most once")
    count = (values.shape[0], values.shape[2])
    if len(ranking) and (ranking.min() < 0 or (ranking >= count).any()):
        raise FinstError(
            f"the ranking holds (layer, head) from {ranking.min(0).tolist()} to {ranking.max(0).tolist()}; expected "
            f"layers in 0..{count[0] - 1} and heads in 0..{count[1] - 1}"
        )
    check_coefficients(coefficients or ())
    wrong = [k for k in ks if not 0 <= k <= len(ranking)]
    if wrong:
        raise FinstError(f"K must be in 0..{len(ranking)}, the number of ranked heads; got {wrong[0]}")
    factors = [1.0] if coefficients is None else list(coefficients)
    sizes = np.repeat(np.array(ks, dtype=np.int64), len(factors))
    row = np.repeat(np.arange(len(sizes)), sizes)
    rank = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    edit, place = _grid(np.arange(len(row)), np.arange(len(positions)))
    layer, head = ranking[rank[edit]].T
    index = to_device(np.stack([layer, place, head]), values.device)
    written = values[index[0], index[1], index[2]]
    if coefficients is not None:
        factor = torch.tensor(factors, dtype=values.dtype).repeat(len(ks))[torch.from_numpy(row[edit])]
        written = written * factor[:, None].to(values.device)
    pos = np.array(positions, dtype=np.int64)[place]
    adds = np.full(len(edit), coefficients is not None)
    block = Block(row[edit], layer, pos, head, adds, written)
    return Rows(np.zeros(len(sizes), dtype=np.int64), {site: block})


def _grid(*axes: Int[np.ndarray, "_"]) -> tuple[Int[np.ndarray, "point"], ...]:
    """All combinations, the last axis fastest."""
    return tuple(axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
