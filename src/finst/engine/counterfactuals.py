"""Many edited copies of one context, exactly, in one walk through the layers (see README.md here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.engine.attention import PROBE, probing
from finst.engine.edits import Rows
from finst.engine.precision import at_least_float32, full_precision
from finst.engine.prefix import PlacedEdits, SharedPrefix
from finst.engine.readout import answer_logits, output_of
from finst.engine.record import Recording
from finst.engine.schedule import Group, Step, Targets, chunks, plan
from finst.errors import FinstError
from finst.vlm.open import VLM

CPU_MEMORY_BYTES = 1 << 30


@torch.inference_mode()
def counterfactuals(
    vlm: VLM, clean: Recording, rows: Rows, answers: Sequence[int], *, memory_bytes: int | None = None
) -> Float[Tensor, "row answer"]:
    """The answers' logits at the last token of ``clean``'s context, run once for each of ``rows`` with its edits.

    Equal to one full forward pass a row, up to rounding. ``memory_bytes`` bounds the working memory (default: 1 GiB on
    the CPU, half of what is free on a GPU); rows that do not fit at once go in several walks.

    Raises FinstError when ``clean`` holds more than one context, or an edit or answer is outside the model or context.
    """
    check(vlm, clean, rows)
    hidden = torch.empty(rows.count, clean.inputs[0].shape[-1], dtype=vlm.dtype, device=vlm.device)
    max_tokens = _token_budget(vlm, clean.length, memory_bytes)
    with full_precision(vlm.dtype), probing(vlm.model):
        for part in chunks(rows, vlm.n_layers, clean.length, max_tokens):
            hidden[torch.from_numpy(part).to(vlm.device)] = _walk(vlm, clean, rows.take(part))
        return answer_logits(vlm, hidden, answers)


def check(vlm: VLM, clean: Recording, rows: Rows) -> None:
    """Raises FinstError for rows that do not fit the model and the context."""
    if len(clean) != 1:
        raise FinstError(f"counterfactuals start from one clean context; the recording holds {len(clean)}")
    config = vlm.model.config.get_text_config()
    if "sliding_attention" in config.layer_types and config.sliding_window < clean.length:
        raise FinstError(
            f"{vlm.reader.id} attends through a window of {config.sliding_window} tokens, shorter than the context's "
            f"{clean.length}; the engine shares whole prefixes"
        )
    limits = (
        ("layer", rows.layer, vlm.n_layers),
        ("head", rows.head, vlm.n_heads),
        ("position", rows.pos, clean.length),
    )
    for name, indices, limit in limits:
        if indices.size and not 0 <= indices.min() <= indices.max() < limit:
            raise FinstError(f"an edit's {name} must be in 0..{limit - 1}; got {indices.min()}..{indices.max()}")
    if rows.value.shape[1] not in (1, vlm.d_head):
        raise FinstError(
            f"an edit's value has {rows.value.shape[1]} entries a head; the model's d_head is {vlm.d_head}"
        )


def _token_budget(vlm: VLM, length: int, memory_bytes: int | None) -> int:
    """Tokens that may walk together: what the widest moment of a layer needs for each, with room to spare."""
    if memory_bytes is None:
        cuda = vlm.device.type == "cuda"
        memory_bytes = torch.cuda.mem_get_info(vlm.device)[0] // 2 if cuda else CPU_MEMORY_BYTES
    config = vlm.reader.config.get_text_config()
    hidden = (8 * config.hidden_size + 3 * config.intermediate_size) * vlm.dtype.itemsize
    scores = 3 * vlm.n_heads * length * at_least_float32(vlm.dtype).itemsize
    return max(1, memory_bytes // (hidden + scores))


def _walk(vlm: VLM, clean: Recording, rows: Rows) -> Float[Tensor, "row d_model"]:
    """The hidden state of every row at the last token, after the last layer."""
    schedule = plan(rows, vlm.n_layers, clean.length)
    values, heads = rows.value.to(vlm.device), torch.from_numpy(rows.head).to(vlm.device)
    x = torch.empty(0, clean.inputs[0].shape[-1], dtype=vlm.dtype, device=vlm.device)
    for index, (layer, step) in enumerate(zip(vlm.layers, schedule.steps, strict=True)):
        x = _joined(x, clean.inputs[index][0], step)
        if not len(x):
            continue
        probe = SharedPrefix(
            clean.keys[index][0],
            clean.values[index][0],
            tuple(segment for segment in step.segments if segment.stop > segment.start),
            _edits(step.replaced, heads, values),
            _edits(step.added, heads, values),
        )
        kwargs = _replayed(clean.layer_kwargs[index], torch.from_numpy(step.positions).to(vlm.device))
        x = output_of(layer(x[None], **kwargs, **{PROBE: probe}))[0]
    return _last(x, schedule.groups, rows.count)


def _edits(targets: Targets, heads: Int[Tensor, "all_edits"], values: Float[Tensor, "all_edits width"]) -> PlacedEdits:
    index = torch.from_numpy(targets.edits).to(heads.device)
    return PlacedEdits(torch.from_numpy(targets.tokens).to(heads.device), heads[index], values[index])


def _joined(
    x: Float[Tensor, "token d_model"], clean: Float[Tensor, "pos d_model"], step: Step
) -> Float[Tensor, "more_tokens d_model"]:
    """Rows whose first edit is in this layer join, at the end of their group, as copies of the clean run."""
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
