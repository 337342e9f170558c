"""Many edited copies of recorded contexts, exactly, in one walk through the layers (see README.md here)."""

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
from finst.engine.memory import token_budget
from finst.engine.precision import arithmetic
from finst.engine.prefix import SharedPrefix
from finst.engine.readout import answer_logits, output_of
from finst.engine.reads import Cells, Observed, Read, cells, shaped
from finst.engine.record import Recording
from finst.engine.schedule import Schedule, Step, Touches, chunks, plan, touches
from finst.engine.sites import SITES, Site, heads_and_width, tapped
from finst.engine.visits import Visits, visits
from finst.vlm.open import VLM


def counterfactuals(
    vlm: VLM, clean: Recording, rows: Rows, answers: Sequence[int] | None, *, max_memory: int | None = None
) -> Float[Tensor, "row answer"]:
    """The answers' logits at the last token of each row's clean context, run once with the row's edits.

    Equal to one full forward pass a row, up to rounding. ``clean`` may hold many contexts (of equal length);
    ``rows.context`` says which of them each row starts from, and all of them share one walk. ``answers`` None asks for the
    whole vocabulary. ``max_memory`` bounds the working memory in bytes (default: 1 GiB on the CPU, half of what is free
    on a GPU); rows that do not fit at once go in several walks.

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
    touched = _touches(rows, looks)
    with arithmetic(vlm), probing(vlm.model):
        for part in chunks(touched, vlm.n_layers, clean.length, token_budget(vlm, clean.length, max_memory)):
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


def _touches(rows: Rows, looks: Sequence[_Look]) -> Touches:
    return touches(rows, [(look.site, look.cells) for look in looks])


def _walk(vlm: VLM, clean: Recording, rows: Rows, looks: Sequence[_Look]) -> Float[Tensor, "row d_model"]:
    """The hidden state of every row at the last token, after the last layer."""
    schedule = plan(_touches(rows, looks), vlm.n_layers, clean.length)
    visited = _visited(vlm, rows, looks, schedule)
    places, sources, last = _on_device(schedule, vlm.device)
    x = clean.output.new_empty(0, clean.output.shape[-1])
    for index, step in enumerate(schedule.steps):
        if sources[index] is not None:
            x = torch.cat([x, (*clean.inputs, clean.output)[index].flatten(0, 1)])[sources[index]]
        if len(x) and "resid" in visited:
            visited["resid"].at(index - 1, x)
        if len(x) and index < vlm.n_layers:
            x = _layer(vlm, clean, index, step, places[index], x, visited)
    return x[last]


def _on_device(
    schedule: Schedule, device: torch.device
) -> tuple[list[Int[Tensor, "token"]], list[Int[Tensor, "token"] | None], Int[Tensor, "row"]]:
    """The places and sources of all steps and the last tokens of all rows, in one transfer."""
    steps = schedule.steps
    arrays = [*(step.places for step in steps), *(step.sources for step in steps if step.sources is not None)]
    packed = torch.from_numpy(np.concatenate([*arrays, schedule.last]))
    *parts, last = packed.to(device).split([*map(len, arrays), len(schedule.last)])
    sources = iter(parts[len(steps) :])
    return parts[: len(steps)], [None if step.sources is None else next(sources) for step in steps], last


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
    places: Int[Tensor, "token"],
    x: Float[Tensor, "token d_model"],
    visited: Mapping[Site, Visits],
) -> Float[Tensor, "token d_model"]:
    """One of the model's own layers on all tokens of all rows that have joined."""
    z_visit = partial(visited["z"].at, index) if "z" in visited else None
    probe = SharedPrefix(clean.keys[index], clean.values[index], step.bundles, z_visit)
    kwargs = _replayed(clean.layer_kwargs[index], places, clean.length)
    with ExitStack() as taps:
        for site, here in visited.items():
            if site not in ("z", "resid") and index in here.layers:
                taps.enter_context(tapped(vlm, index, site, partial(here.at, index)))
        return output_of(vlm.layers[index](x[None], **kwargs, **{PROBE: probe}))[0]


def _replayed(kwargs: Mapping[str, Any], places: Int[Tensor, "token"], length: int) -> dict[str, Any]:
    """The recorded layer arguments for the tokens at ``places``; causality is the probe's business, so no mask."""
    replayed = dict(kwargs)
    for name in ("position_embeddings", "position_ids"):
        if replayed.get(name) is not None:
            replayed[name] = _at(replayed[name], places, length)
    return replayed | {"attention_mask": None}


def _at(argument: Any, places: Int[Tensor, "token"], length: int) -> Any:
    """Entries of [context, pos, ...], or of [1, pos, ...] that all contexts share, as [1, token, ...]."""
    if isinstance(argument, tuple):
        return tuple(_at(part, places, length) for part in argument)
    return argument[:, places % length] if len(argument) == 1 else argument.flatten(0, 1)[places][None]
