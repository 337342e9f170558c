"""Exact logits of many edited copies of recorded contexts, in one walk through the layers (see README.md here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.engine.attention import PROBE, probing
from finst.engine.edits import Rows
from finst.engine.finite import all_finite, first_bad, first_layer, in_layer, total
from finst.engine.graphs import forget, replayed
from finst.engine.kernel_patching import fused
from finst.engine.memory import recording_bytes, token_budget, walk_bytes
from finst.engine.precision import arithmetic
from finst.engine.prefix import SharedPrefix
from finst.engine.readout import answer_logits, output_of
from finst.engine.reads import Observed, Read, ReadCells, cells, shaped
from finst.engine.record import Recording, check_recording
from finst.engine.schedule import Bundle, Schedule, Touches, chunks, plan, touches
from finst.engine.site_ops import SiteOps, site_ops
from finst.engine.sites import SITES, Site, heads_and_width, tapped
from finst.engine.validation import bad_row, check, check_values, written
from finst.vlm.families.base import Blocks
from finst.vlm.open import VLM
from finst.vlm.to_device import to_device
from finst.vlm.visibility import reached

REPLAYED_TOKENS = 1 << 13
"""Walks of at most this many tokens are replayed as CUDA graphs; larger ones keep the GPU busy without."""


def counterfactuals(
    vlm: VLM, clean: Recording, rows: Rows, answers: Sequence[int] | None, *, max_memory: int | None = None
) -> Float[Tensor, "row answer"]:
    """The answers' logits at the last token of each row's clean context, run with the row's edits.

    Equal to one full forward pass a row, up to rounding. ``clean`` may hold many contexts (of equal length);
    ``rows.context`` is the index of the context that each row starts from, and all rows share one walk. ``answers`` are
    token ids; None is the whole vocabulary. ``max_memory`` bounds the working memory in bytes (default: 1 GiB on the
    CPU, half of a GPU's free memory); rows that do not fit take several walks.

    Raises FinstError when an edit, an answer or a row's context is outside the model, the contexts or the recording.
    """
    return observe(vlm, clean, rows, (), answers, max_memory=max_memory).logits


@torch.inference_mode()
def observe(
    vlm: VLM,
    clean: Recording,
    rows: Rows,
    reads: Sequence[Read],
    answers: Sequence[int] | None,
    *,
    max_memory: int | None = None,
) -> Observed:
    """As ``counterfactuals``; returns the activations at ``reads`` beside the logits.

    A row is computed from its first edited or read layer and token on, so a read before a row's edits costs time.
    Raises NotFiniteError, also for edits whose values are not finite.
    """
    check(vlm, clean, rows, reads)
    observed = _observed(vlm, clean, rows, reads, answers, max_memory)
    if not all_finite(clean.total, total(observed.logits, *observed.reads, *written(vlm, rows))):
        _look_again(vlm, clean, rows, observed, reads, answers)
    return observed


def _look_again(
    vlm: VLM, clean: Recording, rows: Rows, observed: Observed, reads: Sequence[Read], answers: Sequence[int] | None
) -> None:
    """Raises NotFiniteError for the first context, edit or row that is not finite, if there is one."""
    check_recording(vlm, clean)
    check_values(vlm, rows)
    whole = range(rows.count)
    bad = [(whole, observed.logits), *((read.rows or whole, x) for read, x in zip(reads, observed.reads, strict=True))]
    found = [taken[index] for taken, values in bad if (index := first_bad([values])) is not None]
    if found:
        row = rows.take(np.array([min(found)]))
        layer = first_layer(vlm, partial(_observed, vlm, clean, row, (), answers))
        raise bad_row(vlm, clean, row, min(found), rows.count, in_layer(layer))


def _observed(
    vlm: VLM,
    clean: Recording,
    rows: Rows,
    reads: Sequence[Read],
    answers: Sequence[int] | None,
    max_memory: int | None = None,
) -> Observed:
    hidden = torch.empty(rows.count, clean.output.shape[-1], dtype=vlm.dtype, device=vlm.device)
    pending = [_pending(vlm, read, rows.count) for read in reads]
    touched = _touches(rows, pending, clean.blocks)
    with arithmetic(vlm), probing(vlm.model), fused(vlm):
        for part in chunks(touched, vlm.n_layers, clean.length, token_budget(vlm, max_memory)):
            _fill(vlm, clean, rows, pending, part, hidden)
        seen = tuple(shaped(filled.seen, read, rows.count) for filled, read in zip(pending, reads, strict=True))
        return Observed(answer_logits(vlm, hidden, answers), seen)


def _fill(
    vlm: VLM,
    clean: Recording,
    rows: Rows,
    pending: Sequence[_PendingRead],
    part: Int[np.ndarray, "part"],
    hidden: Float[Tensor, "row d_model"],
) -> None:
    """Computes some rows and fills in their hidden states and reads; in two halves if memory runs out."""
    place = np.full(rows.count, -1)
    place[part] = np.arange(len(part))
    here = [_PendingRead(read.site, read.cells.take(place), read.seen) for read in pending]
    try:
        hidden[to_device(part, vlm.device)] = _walk(vlm, clean, rows.take(part), here).to(vlm.device)
        return
    except torch.OutOfMemoryError:
        if len(part) == 1:
            raise
    # Outside of the handler: its exception would keep the walk's tensors alive.
    for module in (vlm.decoder, vlm.model):
        forget(module)
    torch.cuda.empty_cache()
    for half in np.array_split(part, 2):
        _fill(vlm, clean, rows, pending, half, hidden)


@dataclass(frozen=True, eq=False)
class _PendingRead:
    """A read during the walk: where it reads, and its result so far."""

    site: Site
    cells: ReadCells
    seen: Float[Tensor, "all_cells head width"]


def _pending(vlm: VLM, read: Read, count: int) -> _PendingRead:
    wanted = cells(read, count)
    size = (len(wanted.row), *heads_and_width(vlm, read.site))
    return _PendingRead(read.site, wanted, torch.empty(size, dtype=vlm.dtype, device=vlm.device))


def _touches(rows: Rows, pending: Sequence[_PendingRead], blocks: Blocks) -> Touches:
    touched = touches(rows, [(read.site, read.cells) for read in pending])
    return replace(touched, pos=reached(blocks, touched.pos))


@dataclass(frozen=True, eq=False)
class _Walk:
    """All that a walk needs apart from the model's weights."""

    inputs: tuple[Float[Tensor, "context pos d_model"], ...]
    """The input of every layer, and the output of the last."""
    additions: tuple[Float[Tensor, "context pos d_model"], ...]
    blocks: Blocks
    keys: tuple[Float[Tensor, "context kv_head pos d_head"], ...]
    values: tuple[Float[Tensor, "context kv_head pos d_head"], ...]
    layer_kwargs: tuple[Mapping[str, Any], ...]
    length: int
    bundles: tuple[tuple[Bundle, ...], ...]
    indices: Int[Tensor, "all_indices"]
    """Places and sources of every step and the rows' last tokens, in one tensor."""
    lengths: tuple[tuple[int, int | None], ...]
    """Number of places and of sources of each step; None where no row joins."""
    ops: Mapping[Site, SiteOps]
    parts: int
    """``VLM.parts``; part of the state because another value needs another graph."""


def _walk(vlm: VLM, clean: Recording, rows: Rows, pending: Sequence[_PendingRead]) -> Float[Tensor, "row d_model"]:
    """The hidden state of every row at the last token, after the last layer."""
    schedule = plan(_touches(rows, pending, clean.blocks), vlm.n_layers, clean.length)
    steps = schedule.steps
    arrays = [part for step in steps for part in (step.places, step.sources) if part is not None]
    walk = _Walk(
        (*clean.inputs, clean.output),
        clean.additions,
        clean.blocks,
        clean.keys,
        clean.values,
        clean.layer_kwargs,
        clean.length,
        tuple(step.bundles for step in steps),
        to_device(np.concatenate([*arrays, schedule.last]), vlm.device),
        tuple((len(step.places), None if step.sources is None else len(step.sources)) for step in steps),
        _ops(vlm, rows, pending, schedule),
        vlm.parts,
    )
    run = partial(_walked, vlm)
    tokens = len(steps[-1].places)
    if pending or tokens > REPLAYED_TOKENS:
        return run(walk)
    memory = walk_bytes(vlm, tokens) + recording_bytes(vlm, len(clean) * clean.length)
    return replayed(vlm.decoder, run, walk, memory)


def _walked(vlm: VLM, walk: _Walk) -> Float[Tensor, "row d_model"]:
    sizes = [size for step in walk.lengths for size in step if size is not None]
    *parts, last = walk.indices.split([*sizes, len(walk.indices) - sum(sizes)])
    indices = iter(parts)
    x = walk.inputs[0].new_empty(0, walk.inputs[0].shape[-1])
    for index, (_, joining) in enumerate(walk.lengths):
        joiners = walk.inputs[index].flatten(0, 1)
        x, places = x.to(joiners.device), next(indices).to(joiners.device)
        if joining is not None:
            x = torch.cat([x, joiners])[next(indices).to(x.device)]
        if len(x) and "resid" in walk.ops:
            walk.ops["resid"].at(index - 1, x)
        if 0 < index <= len(walk.additions):
            x = x + walk.additions[index - 1].to(x.device).flatten(0, 1)[places]
        if len(x) and index < vlm.n_layers:
            x = _layer(vlm, walk, index, places, x)
    return x[last.to(x.device)]


def _ops(vlm: VLM, rows: Rows, pending: Sequence[_PendingRead], schedule: Schedule) -> dict[Site, SiteOps]:
    """The edits and reads at each site that has any."""
    ops: dict[Site, SiteOps] = {}
    for site in SITES:
        seen = [(read.cells, read.seen) for read in pending if read.site == site]
        if seen or site in rows.blocks:
            shape = heads_and_width(vlm, site)
            ops[site] = site_ops(site, shape, rows.blocks.get(site), seen, schedule, vlm.device)
    return ops


def _layer(
    vlm: VLM, walk: _Walk, index: int, places: Int[Tensor, "token"], x: Float[Tensor, "token d_model"]
) -> Float[Tensor, "token d_model"]:
    """One of the model's own layers on all tokens of all rows that have joined."""
    edit_z = partial(walk.ops["z"].at, index) if "z" in walk.ops else None
    probe = SharedPrefix(walk.keys[index], walk.values[index], walk.bundles[index], walk.blocks, edit_z)
    kwargs = _layer_arguments(walk.layer_kwargs[index], places, walk.length)
    with ExitStack() as taps:
        for site, here in walk.ops.items():
            if site not in ("z", "resid") and index in here.layers:
                taps.enter_context(tapped(vlm, index, site, partial(here.at, index)))
        return output_of(vlm.layers[index](x[None], **kwargs, **{PROBE: probe}))[0]


def _layer_arguments(kwargs: Mapping[str, Any], places: Int[Tensor, "token"], length: int) -> dict[str, Any]:
    """The recorded layer arguments for the tokens at ``places``, without a mask: the probe applies its own."""
    replayed = dict(kwargs)
    for name in ("position_embeddings", "position_ids"):
        if replayed.get(name) is not None:
            replayed[name] = _at(replayed[name], places, length)
    return replayed | {"attention_mask": None}


def _at(argument: Any, places: Int[Tensor, "token"], length: int) -> Any:
    """Entries of [context, pos, ...], or of [1, pos, ...] that all contexts share, as [1, token, ...]."""
    if isinstance(argument, tuple):
        return tuple(_at(part, places, length) for part in argument)
    argument = argument.to(places.device)
    return argument[:, places % length] if len(argument) == 1 else argument.flatten(0, 1)[places][None]
