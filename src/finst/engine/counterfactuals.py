"""Many edited copies of recorded contexts, exactly, in one walk through the layers (see README.md here)."""

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
from finst.engine.graphs import forget, replayed
from finst.engine.kernel_patching import fused
from finst.engine.memory import recording_bytes, token_budget, walk_bytes
from finst.engine.precision import arithmetic
from finst.engine.prefix import SharedPrefix
from finst.engine.readout import answer_logits, output_of
from finst.engine.reads import Cells, Observed, Read, cells, shaped
from finst.engine.record import Recording
from finst.engine.schedule import Bundle, Schedule, Touches, chunks, plan, touches
from finst.engine.site_ops import Visits, visits
from finst.engine.sites import SITES, Site, heads_and_width, tapped
from finst.engine.validation import check
from finst.vlm.families.base import Blocks
from finst.vlm.open import VLM
from finst.vlm.to_device import to_device
from finst.vlm.visibility import reached

REPLAYED_TOKENS = 1 << 13
"""Walks of at most as many tokens are replayed as graphs on GPUs; larger ones keep a GPU busy anyway."""


def counterfactuals(
    vlm: VLM, clean: Recording, rows: Rows, answers: Sequence[int] | None, *, max_memory: int | None = None
) -> Float[Tensor, "row answer"]:
    """The answers' logits at the last token of each row's clean context, run once with the row's edits.

    Equal to one full forward pass a row, up to rounding. ``clean`` may hold many contexts (of equal length);
    ``rows.context`` says which of them each row starts from, and all of them share one walk. ``answers`` None asks for
    the whole vocabulary. ``max_memory`` bounds the working memory in bytes (default: 1 GiB on the CPU, half of what is
    free on a GPU); rows that do not fit at once go in several walks.

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
    """As ``counterfactuals``, with what ``reads`` ask for beside the logits.

    A row is computed from its first edited or read layer and token on, so reads before a row's edits cost work.
    """
    check(vlm, clean, rows, reads)
    hidden = torch.empty(rows.count, clean.output.shape[-1], dtype=vlm.dtype, device=vlm.device)
    looks = [_look(vlm, read, rows.count) for read in reads]
    touched = _touches(rows, looks, clean.blocks)
    with arithmetic(vlm), probing(vlm.model), fused(vlm):
        for part in chunks(touched, vlm.n_layers, clean.length, token_budget(vlm, max_memory)):
            _fill(vlm, clean, rows, looks, part, hidden)
        seen = tuple(shaped(look.seen, read, rows.count) for look, read in zip(looks, reads, strict=True))
        return Observed(answer_logits(vlm, hidden, answers), seen)


def _fill(
    vlm: VLM,
    clean: Recording,
    rows: Rows,
    looks: Sequence[_Look],
    part: Int[np.ndarray, "part"],
    hidden: Float[Tensor, "row d_model"],
) -> None:
    """Puts some rows' hidden states, and what is read in them, in their places; in halves if memory runs out."""
    place = np.full(rows.count, -1)
    place[part] = np.arange(len(part))
    here = [_Look(look.site, look.cells.take(place), look.seen) for look in looks]
    try:
        hidden[to_device(part, vlm.device)] = _walk(vlm, clean, rows.take(part), here).to(vlm.device)
        return
    except torch.OutOfMemoryError:
        if len(part) == 1:
            raise
    # Outside of the handler, whose exception would hold on to the walk's tensors.
    for module in (vlm.decoder, vlm.model):
        forget(module)
    torch.cuda.empty_cache()
    for half in np.array_split(part, 2):
        _fill(vlm, clean, rows, looks, half, hidden)


@dataclass(frozen=True, eq=False)
class _Look:
    """A read on its way: where it looks, and what it returns."""

    site: Site
    cells: Cells
    seen: Float[Tensor, "all_cells head width"]


def _look(vlm: VLM, read: Read, count: int) -> _Look:
    wanted = cells(read, count)
    size = (len(wanted.row), *heads_and_width(vlm, read.site))
    return _Look(read.site, wanted, torch.empty(size, dtype=vlm.dtype, device=vlm.device))


def _touches(rows: Rows, looks: Sequence[_Look], blocks: Blocks) -> Touches:
    touched = touches(rows, [(look.site, look.cells) for look in looks])
    return replace(touched, pos=reached(blocks, touched.pos))


@dataclass(frozen=True, eq=False)
class _Walk:
    """All that a walk needs beside the model."""

    inputs: tuple[Float[Tensor, "context pos d_model"], ...]
    """Of every layer, and the last one's output."""
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
    """Of each step's places and sources; None where no row joins."""
    visited: Mapping[Site, Visits]
    parts: int
    """As the model says; here because it makes another graph."""


def _walk(vlm: VLM, clean: Recording, rows: Rows, looks: Sequence[_Look]) -> Float[Tensor, "row d_model"]:
    """The hidden state of every row at the last token, after the last layer."""
    schedule = plan(_touches(rows, looks, clean.blocks), vlm.n_layers, clean.length)
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
        _visited(vlm, rows, looks, schedule),
        vlm.parts,
    )
    run = partial(_walked, vlm)
    tokens = len(steps[-1].places)
    if looks or tokens > REPLAYED_TOKENS:
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
        if len(x) and "resid" in walk.visited:
            walk.visited["resid"].at(index - 1, x)
        if 0 < index <= len(walk.additions):
            x = x + walk.additions[index - 1].to(x.device).flatten(0, 1)[places]
        if len(x) and index < vlm.n_layers:
            x = _layer(vlm, walk, index, places, x)
    return x[last.to(x.device)]


def _visited(vlm: VLM, rows: Rows, looks: Sequence[_Look], schedule: Schedule) -> dict[Site, Visits]:
    """What is to be done at each site that is edited or read."""
    visited: dict[Site, Visits] = {}
    for site in SITES:
        seen = [(look.cells, look.seen) for look in looks if look.site == site]
        if seen or site in rows.blocks:
            shape = heads_and_width(vlm, site)
            visited[site] = visits(site, shape, rows.blocks.get(site), seen, schedule, vlm.device)
    return visited


def _layer(
    vlm: VLM, walk: _Walk, index: int, places: Int[Tensor, "token"], x: Float[Tensor, "token d_model"]
) -> Float[Tensor, "token d_model"]:
    """One of the model's own layers on all tokens of all rows that have joined."""
    z_visit = partial(walk.visited["z"].at, index) if "z" in walk.visited else None
    probe = SharedPrefix(walk.keys[index], walk.values[index], walk.bundles[index], walk.blocks, z_visit)
    kwargs = _layer_arguments(walk.layer_kwargs[index], places, walk.length)
    with ExitStack() as taps:
        for site, here in walk.visited.items():
            if site not in ("z", "resid") and index in here.layers:
                taps.enter_context(tapped(vlm, index, site, partial(here.at, index)))
        return output_of(vlm.layers[index](x[None], **kwargs, **{PROBE: probe}))[0]


def _layer_arguments(kwargs: Mapping[str, Any], places: Int[Tensor, "token"], length: int) -> dict[str, Any]:
    """The recorded layer arguments for the tokens at ``places``; what they see is the probe's business, so no mask."""
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
