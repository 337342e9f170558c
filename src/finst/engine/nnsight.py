"""Counterfactuals by nnsight traces: an independent reference, and the baseline of the benchmark."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from finst.engine.edits import Rows
from finst.engine.hooks import apply_edits
from finst.engine.precision import arithmetic
from finst.engine.readout import answer_logits, decoder_call, decoder_inputs, output_of
from finst.engine.sites import SITES, heads_and_width
from finst.errors import FinstError
from finst.vlm.encode import Encoded
from finst.vlm.families.base import DecoderInputs
from finst.vlm.open import VLM


def traced(vlm: VLM) -> Any:
    """The decoder, wrapped by nnsight. Raises FinstError, naming the extra to install, when nnsight is not installed.

    nnsight replaces the ``forward`` of every module that it wraps. It gets a copy of the module tree that shares all
    weights, so that the model itself does not change.
    """
    try:
        import nnsight
    except ImportError as error:
        raise FinstError("the nnsight engine needs nnsight >= 0.8: pip install 'finst[nnsight]'") from error
    decoder = vlm.decoder
    shared = {id(tensor): tensor for tensor in (*decoder.parameters(), *decoder.buffers())}
    return nnsight.NNsight(copy.deepcopy(decoder, shared))


@torch.inference_mode()
def record_z(vlm: VLM, context: Encoded) -> Float[Tensor, "layer pos head d_head"]:
    """Every head's output in one context."""
    decoder = traced(vlm)
    with arithmetic(vlm):
        inputs = decoder_inputs(vlm, [context])
        saved = []
        with decoder.trace(**decoder_call(vlm, inputs)):
            for layer in decoder.layers:
                saved.append(layer.self_attn.o_proj.input.save())  # noqa: PERF401 (nnsight reads the loop's source)
    return torch.stack([z[0] for z in saved]).unflatten(-1, (vlm.n_heads, vlm.d_head))


@torch.inference_mode()
def counterfactuals(vlm: VLM, clean: Encoded, rows: Rows, answers: Sequence[int] | None) -> Float[Tensor, "row answer"]:
    """As ``finst.engine.counterfactuals.counterfactuals``, one trace a row. The vision tower runs once."""
    decoder = traced(vlm)
    with arithmetic(vlm):
        inputs = decoder_inputs(vlm, [clean])
        hidden = [_edited(decoder, vlm, inputs, rows.take(np.array([row]))) for row in range(rows.count)]
        return answer_logits(vlm, torch.stack(hidden), answers)


def _edited(decoder: Any, vlm: VLM, inputs: DecoderInputs, row: Rows) -> Float[Tensor, "d_model"]:
    """One trace with a row's edits; the last token's hidden state before the final norm."""
    paths = vlm.reader.family.site_modules
    edits = [
        (layer, site, block, heads_and_width(vlm, site)[1])
        for layer in range(vlm.n_layers)
        for site, block in sorted(row.blocks.items(), key=lambda item: SITES.index(item[0]))
        if layer in block.layer
    ]
    with decoder.trace(**decoder_call(vlm, inputs)):
        for index, site, block, width in edits:
            layer = decoder.layers[index]
            if site == "z":
                projection = layer.self_attn.o_proj
                projection.input = apply_edits(projection.input[0], block, index, width)[None]
            elif site == "resid":
                layer.output = apply_edits(layer.output[0], block, index, width)[None]
            else:
                module = attrgetter(paths[site])(layer)
                heads_first = site in vlm.reader.family.heads_first
                x = module.output.transpose(1, 2) if heads_first else module.output
                x = apply_edits(x[0].flatten(1), block, index, width).view(x.shape)
                module.output = x.transpose(1, 2) if heads_first else x
        output = decoder.layers[-1].output.save()
    return output_of(output)[0, -1]
