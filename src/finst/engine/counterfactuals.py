"""Many edited copies of one context, exactly, in one walk through the layers (see README.md here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.engine.attention import PROBE, probing
from finst.engine.check import check
from finst.engine.edits import Rows
from finst.engine.precision import at_least_float32, full_precision
from finst.engine.prefix import SharedPrefix
from finst.engine.readout import answer_logits, output_of
from finst.engine.reads import Cells, Observed, Read, cells, shaped
from finst.engine.record import Recording
from finst.engine.schedule import Group, Schedule, Step, Touches, chunks, plan, touches
from finst.engine.sites import SITES, Site, heads_and_width, tapped
from finst.engine.visits import Visits, visits
from finst.vlm.open import VLM

CPU_MEMORY_BYTES = 1 << 30


def counterfactuals(
    vlm: VLM, clean: Recording, rows: Rows, answers: Sequence[int] | None, *, memory_bytes: int | None = None
) -> Float[Tensor, "row answer"]:
    """The answers' logits at the last token of ``clean``'s context, run once for each of ``rows`` with its edits.

    Equal to one full forward pass a row, up to rounding. ``answers`` None asks for the whole vocabulary.
    ``memory_bytes`` bounds the working memory (default: 1 GiB on the CPU, half of what is free on a GPU); rows that do
    not fit at once go in several walks.

    Raises FinstError when ``clean`` holds more than one context, or an edit or answer is outside the model or context.
    """
    return observe(vlm, clean, rows, (), answers, memory_bytes=memory_bytes).logits


@torch.inference_mode()
def observe(
    vlm: VLM,
    clean: Recording,
    rows: Rows,
    reads: Sequence[Read],
    answers: Sequence[int] | None,
    *,
    memory_bytes: int | None = None,
) -> Observed:
    """As ``counterfactuals``, with what ``reads`` ask for beside the logits.

    A row is computed from its first edited or read layer and token on, so reads before a row's edits cost work.
    """
    check(vlm, clean, rows, reads)
    hidden = torch.empty(rows.count, clean.output.shape[-1], dtype=vlm.dtype, device=vlm.device)
    max_tokens = _token_budget(vlm, clean.length, memory_bytes)
    looks = [_look(vlm, read, rows.count) for read in reads]
    touched = _touches(rows, looks)
    with full_precision(vlm.dtype), probing(vlm.model):
        for part in chunks(touched, vlm.n_layers, clean.length, max_tokens):
            place = np.full(rows.count, -1)
            place[part] = np.arange(len(part))
            here = [_Look(look.site, look.cells.take(place), look.seen) for look in looks]
            hidden[torch.from_numpy(part).to(vlm.device)] = _walk(vlm, clean, rows.take(part), here)
        seen = tuple(shaped(look.seen, read, rows.count) for look, read in zip(looks, reads, strict=True))
        return Observed(answer_logits(vlm, hidden, answers), seen)


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


def _token_budget(vlm: VLM, length: int, memory_bytes: int | None) -> int:
    """Tokens that may walk together: what the widest moment of a layer needs for each, with room to spare."""
    if memory_bytes is None:
        cuda = vlm.device.type == "cuda"
        memory_bytes = torch.cuda.mem_get_info(vlm.device)[0] // 2 if cuda else CPU_MEMORY_BYTES
    config = vlm.reader.config.get_text_config()
    hidden = (8 * config.hidden_size + 3 * config.intermediate_size) * vlm.dtype.itemsize
    scores = 3 * vlm.n_heads * length * at_least_float32(vlm.dtype).itemsize
    return max(1, memory_bytes // (hidden + scores))


def _walk(vlm: VLM, clean: Recording, rows: Rows, looks: Sequence[_Look]) -> Float[Tensor, "row d_model"]:
    """The hidden state of every row at the last token, after the last layer."""
    schedule = plan(_touches(rows, looks), vlm.n_layers, clean.length)
    visited = _visited(vlm, rows, looks, schedule)
    x = torch.empty(0, clean.output.shape[-1], dtype=vlm.dtype, device=vlm.device)
    for index, step in enumerate(schedule.steps):
        x = _joined(x, (*clean.inputs, clean.output)[index][0], step)
        if len(x) and "resid" in visited:
            visited["resid"].at(index - 1, x)
        if len(x) and index < vlm.n_layers:
            x = _layer(vlm, clean, index, step, x, visited)
    return _last(x, schedule.groups, rows.count)


def _touches(rows: Rows, looks: Sequence[_Look]) -> Touches:
    return touches(rows, [(look.site, look.cells) for look in looks])


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
    vlm: VLM,
    clean: Recording,
    index: int,
    step: Step,
    x: Float[Tensor, "token d_model"],
    visited: Mapping[Site, Visits],
) -> Float[Tensor, "token d_model"]:
    """One of the model's own layers on all tokens of all rows that have joined."""
    probe = SharedPrefix(
        clean.keys[index][0],
        clean.values[index][0],
        tuple(segment for segment in step.segments if segment.stop > segment.start),
        partial(visited["z"].at, index) if "z" in visited else None,
    )
    kwargs = _replayed(clean.layer_kwargs[index], torch.from_numpy(step.positions).to(vlm.device))
    with ExitStack() as taps:
        for site, here in visited.items():
            if site not in ("z", "resid") and index in here.layers:
                taps.enter_context(tapped(vlm, index, site, partial(here.at, index)))
        return output_of(vlm.layers[index](x[None], **kwargs, **{PROBE: probe}))[0]


def _joined(
    x: Float[Tensor, "token d_model"], clean: Float[Tensor, "pos d_model"], step: Step
) -> Float[Tensor, "more_tokens d_model"]:
    """Rows whose first step this is join, at the end of their group, as copies of the clean run."""
    if not any(step.joining):
        return x
    parts, start = [], 0
    for segment, count in zip(step.segments, step.joining, strict=True):
        old = segment.stop - segment.start - count * segment.width
        parts += [x[start : start + old], clean[segment.first :].repeat(count, 1)]
        start += old
    return torch.cat(parts)


def _replayed(kwargs: Mapping[str, Any], positions: Int[Tensor, "token"]) -> dict[str, Any]:
    """The recorded layer arguments for tokens at ``positions``; causality is the probe's business, so no mask."""
    replayed = dict(kwargs)
    for name in ("position_embeddings", "position_ids"):
        if replayed.get(name) is not None:
            replayed[name] = _at(replayed[name], positions)
    return replayed | {"attention_mask": None}


def _at(argument: Any, positions: Int[Tensor, "token"]) -> Any:
    if isinstance(argument, tuple):
        return tuple(_at(part, positions) for part in argument)
    return argument[:, positions]


def _last(x: Float[Tensor, "token d_model"], groups: tuple[Group, ...], count: int) -> Float[Tensor, "row d_model"]:
    """Each row's last token, in the rows' own order."""
    hidden = x.new_empty(count, x.shape[-1])
    start = 0
    for group in groups:
        stop = start + len(group.rows) * group.width
        hidden[torch.from_numpy(group.rows).to(x.device)] = x[start:stop].view(-1, group.width, x.shape[-1])[:, -1]
        start = stop
    return hidden
