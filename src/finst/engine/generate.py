"""Greedy decoding of edited copies of one context, with edits in every forward pass (see README.md here)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.engine.attention import PROBE, probing
from finst.engine.continuation import Cache, Continuation
from finst.engine.decode_steps import by_step, picked
from finst.engine.edits import Block, Rows
from finst.engine.finite import all_finite, first_layer, in_layer, total
from finst.engine.greedy import PADDING, Generated, Greedy, empty_generation, greedy
from finst.engine.kernel_patching import fused
from finst.engine.memory import allowed, walk_bytes
from finst.engine.precision import arithmetic, at_least_float32
from finst.engine.readout import decoder_call, logits
from finst.engine.record import Recording, check_recording
from finst.engine.site_ops import SiteOps, writes
from finst.engine.sites import Site, heads_and_width, tapped
from finst.engine.validation import bad_row, check, check_values, written
from finst.errors import FinstError
from finst.vlm.families.base import DecoderInputs
from finst.vlm.open import VLM
from finst.vlm.visibility import reached


@torch.inference_mode()
def generate(
    vlm: VLM,
    clean: Recording,
    rows: Rows,
    max_new_tokens: int,
    *,
    stop: Sequence[int] | None = None,
    repetition_penalty: float = 1.0,
    max_memory: int | None = None,
) -> Generated:
    """Decodes each of ``rows`` greedily after ``clean``'s context, with the row's edits in every forward pass.

    Positions of edits continue after the context: ``clean.length + s`` is generated token s (from 0) as it is fed back.
    The last token is never fed back, so ``clean.length + max_new_tokens - 2`` is the last position.

    A row ends with a token of ``stop`` (ids; default: the checkpoint's) or after ``max_new_tokens``.
    ``repetition_penalty`` applies to prompt and generated tokens, as in transformers. ``max_memory`` bounds the working
    memory in bytes (default: 1 GiB on the CPU, half of a GPU's free memory); rows that do not fit take turns.

    Raises FinstError when ``clean`` holds more than one context, for an edit outside the model or beyond the last
    position, ``max_new_tokens`` below 1, an impossible ``stop`` or ``repetition_penalty``, and for logits or edits that
    are not finite.
    """
    if len(clean) != 1:
        raise FinstError(f"generation needs a recording of one clean context; this one holds {len(clean)}")
    choice = greedy(vlm, max_new_tokens, stop, repetition_penalty)
    check(vlm, clean, rows, (), generated=max_new_tokens - 1)
    edited = [clean.length - 1, *(int(block.pos.min(initial=clean.length)) for block in rows.blocks.values())]
    first = int(reached(clean.blocks, np.array(edited)).min())
    at_once = _rows_at_once(vlm, clean.length, clean.length - first, max_new_tokens, max_memory)
    generated = empty_generation(vlm, rows.count, max_new_tokens)
    with arithmetic(vlm), probing(vlm.model), fused(vlm):
        for start in range(0, rows.count, at_once):
            part = slice(start, start + at_once)
            _decode(vlm, clean, rows.take(np.arange(rows.count)[part]), first, choice, generated[part])
        # The likeliest of logits that are NaN is the first of these, so the chosen ones tell.
        chosen = generated.logits.masked_fill(generated.tokens == PADDING, 0)
        if not all_finite(clean.total, total(chosen, *written(vlm, rows))):
            _look_again(vlm, clean, rows, chosen, partial(_decode, first=first, choice=choice))
    return generated


def _look_again(
    vlm: VLM, clean: Recording, rows: Rows, chosen: Float[Tensor, "row step"], decode: Callable[..., None]
) -> None:
    """Raises NotFiniteError for the context, edit or row that is not finite, if there is one."""
    check_recording(vlm, clean)
    check_values(vlm, rows)
    bad = torch.nonzero(~chosen.isfinite())
    if len(bad):
        index, step = bad[0].tolist()
        row, again = rows.take(np.array([index])), empty_generation(vlm, 1, step + 1)
        row = Rows(
            row.context,
            {
                site: picked(block, np.flatnonzero(block.pos < clean.length + step))
                for site, block in row.blocks.items()
            },
        )
        layer = first_layer(vlm, partial(decode, vlm, clean, row, generated=again))
        raise bad_row(vlm, clean, row, index, rows.count, f"{in_layer(layer)}, at generated token {step}")


def _rows_at_once(vlm: VLM, length: int, width: int, new: int, max_memory: int | None) -> int:
    """Number of rows that fit together: by what a row needs in the first pass, of ``width`` tokens, and keeps after."""
    wide, once = at_least_float32(vlm.dtype).itemsize, walk_bytes(vlm, 0)
    hidden = walk_bytes(vlm, 1) - once
    scores = 3 * vlm.n_heads * (length + new) * wide
    kept = 2 * vlm.n_layers * vlm.n_kv_heads * vlm.d_head * vlm.dtype.itemsize
    vocabulary = 3 * len(vlm.model.get_output_embeddings().weight) * wide
    return max(1, (allowed(vlm, max_memory) - once) // (width * (hidden + scores) + (width + new) * kept + vocabulary))


def _decode(vlm: VLM, clean: Recording, rows: Rows, first: int, choice: Greedy, generated: Generated) -> None:
    """Fills ``generated`` with the rows' tokens; the rows share all tokens before ``first`` with the clean run."""
    prefix = [(key[0, :, :first], value[0, :, :first]) for key, value in zip(clean.keys, clean.values, strict=True)]
    cache = Cache()
    live = np.arange(rows.count)
    embeds, *additions = (x[:, first:].expand(rows.count, -1, -1) for x in (clean.inputs[0], *clean.additions))
    inputs = DecoderInputs(embeds, _of_rows(clean.position_ids[..., first:], rows.count), tuple(additions))
    for step, blocks in enumerate(by_step(rows, clean.length, generated.tokens.shape[1])):
        start = first if step == 0 else clean.length + step - 1
        ops = _ops(vlm, blocks, live, rows.count, start, inputs.embeds.shape[1])
        hidden = _pass(vlm, inputs, ops, Continuation(prefix, cache, clean.blocks, _edit_z(ops)))
        here = torch.from_numpy(live).to(vlm.device)
        previous = torch.cat([clean.input_ids.expand(len(live), -1), generated.tokens[here, :step]], dim=1)
        chosen, generated.logits[here, step] = choice.choose(logits(vlm, hidden), previous)
        generated.tokens[here, step] = chosen
        unfinished = ~choice.ends(chosen)
        live = live[unfinished.cpu().numpy()]
        if not len(live):
            return
        if len(live) < len(unfinished):
            cache.keep(unfinished)
        embeds = vlm.model.get_input_embeddings()(chosen[unfinished])[:, None]
        inputs = DecoderInputs(embeds, _of_rows(clean.position_ids[..., -1:] + step + 1, len(live)))


def _of_rows(positions: Int[Tensor, "*axis 1 new"], count: int) -> Int[Tensor, "*axis row new"]:
    return positions.expand(*positions.shape[:-2], count, -1)


def _edit_z(ops: Mapping[Site, SiteOps]) -> Callable[[int, Tensor], None] | None:
    return ops["z"].at if "z" in ops else None


def _ops(
    vlm: VLM, blocks: Mapping[Site, Block], live: Int[np.ndarray, "live"], count: int, start: int, width: int
) -> dict[Site, SiteOps]:
    """The edits of the ``live`` rows in a pass over ``width`` tokens from position ``start`` on."""
    place = np.full(count, -1)
    place[live] = np.arange(len(live))
    ops: dict[Site, SiteOps] = {}
    for site, block in blocks.items():
        here = block.take(place)
        tokens = here.row * width + here.pos - start
        edits = writes(here, tokens, vlm.n_layers, vlm.device)
        ops[site] = SiteOps(heads_and_width(vlm, site), frozenset(here.layer.tolist()), (edits,))
    return ops


def _pass(
    vlm: VLM, inputs: DecoderInputs, ops: Mapping[Site, SiteOps], probe: Continuation
) -> Float[Tensor, "row d_model"]:
    """One pass through the decoder; each row's last hidden state before the final norm."""
    last: list[Tensor] = []
    with ExitStack() as taps:
        for site, here in ops.items():
            for layer in here.layers if site != "z" else ():
                taps.enter_context(tapped(vlm, layer, site, partial(here.at, layer)))
        taps.enter_context(tapped(vlm, vlm.n_layers - 1, "resid", lambda x: last.append(x[:, -1])))
        vlm.decoder(**decoder_call(vlm, inputs), **{PROBE: probe})
    return last[0]
