"""Checks that rows and reads fit the model and the contexts, and that edits are finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from finst.engine.edits import Block, Rows
from finst.engine.finite import cause_in, context_name, first_bad, not_finite
from finst.engine.reads import Read
from finst.engine.record import Recording
from finst.engine.sites import HEAD_SITES, Site, heads_and_width
from finst.errors import FinstError, NotFiniteError
from finst.vlm.open import VLM


def check(vlm: VLM, clean: Recording, rows: Rows, reads: Sequence[Read], generated: int = 0) -> None:
    """Raises FinstError for rows or reads that do not fit the model and the contexts.

    ``generated`` is the number of tokens after the context that can be edited as well.
    """
    _check_range("a row's clean context", rows.context, len(clean))
    for site, block in rows.blocks.items():
        _check_block(vlm, clean.length, generated, site, block)
    for read in reads:
        _check_range("a read's row", () if read.rows is None else read.rows, rows.count)
        _check_range("a read's layer", read.layers, vlm.n_layers)
        _check_range("a read's position", read.positions, clean.length)


def _check_block(vlm: VLM, length: int, generated: int, site: Site, block: Block) -> None:
    heads, width = heads_and_width(vlm, site)
    place = f"an edit's position (that of the first generated token is {length})" if generated else "an edit's position"
    _check_range("an edit's layer", block.layer, vlm.n_layers)
    _check_range(f"the head of an edit at site {site!r}", block.head, heads)
    _check_range(place, block.pos, length + generated)
    if block.value.shape[1] not in (1, width):
        per, name = ("a head", "d_head") if site in HEAD_SITES else ("a position", "d_model")
        raise FinstError(
            f"an edit's value has {block.value.shape[1]} entries {per} at site {site!r}; the model's {name} is {width}"
        )


def _check_range(name: str, indices: Sequence[int] | np.ndarray, limit: int) -> None:
    """Raises FinstError unless all of ``indices`` are in 0..limit-1."""
    given = np.asarray(indices)
    if given.size and not 0 <= given.min() <= given.max() < limit:
        raise FinstError(f"{name} must be in 0..{limit - 1}; got {given.min()}..{given.max()}")


def written(vlm: VLM, rows: Rows) -> tuple[Float[Tensor, "edit width"], ...]:
    """All values that edits write, in the model's number format."""
    return tuple(block.value.to(vlm.dtype) for block in rows.blocks.values())


def check_values(vlm: VLM, rows: Rows) -> None:
    """Looks at every value. Raises NotFiniteError for the first edit whose values are not finite in the model's format.

    Not called unless a fast check failed: it waits for the device.
    """
    for site, block in rows.blocks.items():
        index = first_bad([block.value.to(vlm.dtype)])
        if index is not None:
            given = block.value[index]
            size = given[given.isfinite()].abs().max().item() if given.isfinite().any() else 0
            fits = f"up to {size:.3g}, beyond {vlm.dtype}" if given.isfinite().all() else "NaN or infinite"
            head = f", head {block.head[index]}" if site in HEAD_SITES else ""
            raise NotFiniteError(
                f"edit {index + 1} of {len(block.row)} at site {site!r} (row {block.row[index]}, layer "
                f"{block.layer[index]}{head}, position {block.pos[index]}) has values that are {fits}; expected finite "
                f"numbers of at most {torch.finfo(vlm.dtype).max:.3g}"
            )


def bad_row(vlm: VLM, clean: Recording, row: Rows, index: int, count: int, where: str) -> NotFiniteError:
    """The error for a row (number ``index`` of ``count``) whose numbers are not finite though its edits' values are."""
    context = int(row.context[0])
    name = context_name(vlm, context, len(clean), clean.input_ids[context])
    sizes = [float(block.value.abs().max()) for block in row.blocks.values() if block.value.numel()]
    cause = cause_in(vlm)
    if sizes and cause.startswith("format"):
        cause = f"edit, whose values go up to {max(sizes):.3g}, too large for the {cause}"
    return not_finite(vlm, f"edited run {index + 1} of {count}, of {name},", where, cause)
