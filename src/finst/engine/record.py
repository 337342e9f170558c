"""One pass through the unmodified model that keeps what is needed to replay any part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from finst.engine.attention import PROBE, as_called, capturing, probing
from finst.engine.graphs import replayed
from finst.engine.kernel_patching import fused
from finst.engine.memory import recording_bytes
from finst.engine.precision import arithmetic
from finst.engine.readout import decoder_call, hidden_of, logits, output_of, prepared
from finst.engine.reads import Activations, check_positions, reading, stacked
from finst.engine.sites import Site
from finst.errors import FinstError
from finst.vlm.encode import Encoded
from finst.vlm.families.base import Blocks, Prepared, decoder_inputs
from finst.vlm.open import VLM

REPLAYED_TOKENS = 1 << 11
"""Batches of at most as many tokens are replayed as graphs on GPUs; larger ones keep a GPU busy anyway."""


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """What happened inside the decoder in a batch of contexts of equal length."""

    z: Float[Tensor, "context layer pos head d_head"]
    """Every head's output (its slice of ``o_proj``'s input)."""
    logits: Float[Tensor, "context vocab"]
    """At the last token; final norm and head in float32 at least."""
    inputs: tuple[Float[Tensor, "context pos d_model"], ...]
    """What each layer gets from the one before: its input, but for ``additions``; on that layer's device, as its keys
    and values are."""
    keys: tuple[Float[Tensor, "context kv_head pos d_head"], ...]
    """Each layer's keys, rotary positions applied."""
    values: tuple[Float[Tensor, "context kv_head pos d_head"], ...]
    layer_kwargs: tuple[Mapping[str, Any], ...]
    """The keyword arguments that each layer was called with."""
    input_ids: Int[Tensor, "context pos"]
    position_ids: Int[Tensor, "*axis context pos"]
    """Of every token, as the decoder was given them; some models count along several axes."""
    output: Float[Tensor, "context pos d_model"]
    """The last layer's output, before the final norm."""
    additions: tuple[Float[Tensor, "context pos d_model"], ...]
    """What is added to the output of the first layers, layer by layer, before the next one gets it."""
    blocks: Blocks
    """Tokens that see each other, later ones included."""
    sites: Mapping[Site, Activations]
    """The sites that were asked for, at the positions that were asked for."""

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, context: int) -> Recording:
        """The recording of one context, still with a leading context axis of length 1."""
        if not -len(self) <= context < len(self):
            raise IndexError(f"context {context} of a recording of {len(self)}")
        one = slice(context % len(self), context % len(self) + 1)
        return replace(
            self,
            z=self.z[one],
            logits=self.logits[one],
            inputs=tuple(x[one] for x in self.inputs),
            keys=tuple(x[one] for x in self.keys),
            values=tuple(x[one] for x in self.values),
            input_ids=self.input_ids[one],
            position_ids=self.position_ids[..., one, :],
            output=self.output[one],
            additions=tuple(x[one] for x in self.additions),
            sites={site: x[one] for site, x in self.sites.items()},
            layer_kwargs=tuple({k: _of_context(v, one, len(self)) for k, v in kw.items()} for kw in self.layer_kwargs),
        )

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.z.shape[2]


def _of_context(argument: Any, one: slice, contexts: int) -> Any:
    """One context's part of a layer's argument: tensors with a leading context axis, alone or in tuples."""
    if isinstance(argument, tuple):
        return tuple(_of_context(part, one, contexts) for part in argument)
    if isinstance(argument, Tensor) and argument.dim() and len(argument) == contexts:
        return argument[one]
    return argument


@dataclass(eq=False)
class _Recorder:
    """Keeps what passes by; attention itself is transformers' own."""

    blocks: Blocks

    z: Tensor
    """[context, layer, pos, head, d_head], filled layer by layer."""
    stream: list[Tensor] = field(default_factory=list)
    """The first layer's input and every layer's output."""
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    layer_kwargs: list[dict[str, Any]] = field(default_factory=list)

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        if not (capturing() or as_called(module, mask, query.shape[2], self.blocks, **kwargs)):
            raise FinstError(
                f"{type(module).__name__} lets tokens see later ones, or not all earlier ones: expected a causal "
                "decoder, in which tokens before an edit stay as they were (window: "
                f"{kwargs.get('sliding_window')}; tokens that see each other: {self.blocks or None})"
            )
        z, _ = sdpa_attention_forward(module, query, key, value, mask, **kwargs)
        self.z[:, len(self.keys)] = z
        self.keys.append(key)
        self.values.append(value)
        return z

    # Hooks sit on shared modules and fire for other threads' calls too: each heeds only calls that carry its recorder.
    # torch notes that a hook wants keyword arguments after it has put it there, so another thread may call it without.
    def before_layer(self, _: nn.Module, args: tuple, kwargs: dict[str, Any] | None = None) -> None:
        if kwargs is not None and kwargs.get(PROBE) is self:
            self.stream += [] if self.stream else [hidden_of(args, kwargs)]
            self.layer_kwargs.append({k: v for k, v in kwargs.items() if k not in (PROBE, "hidden_states")})

    def after_layer(self, _: nn.Module, args: tuple, *kwargs_and_output: Any) -> None:
        kwargs, output = kwargs_and_output if len(kwargs_and_output) == 2 else ({}, None)
        if kwargs.get(PROBE) is self:
            self.stream.append(output_of(output))


@torch.inference_mode()
def record(
    vlm: VLM, contexts: Sequence[Encoded], *, sites: Sequence[Site] = (), positions: Sequence[int] | None = None
) -> Recording:
    """Runs the contexts (of equal length) through the model in one batch.

    ``sites`` names what is to be kept beside ``z``, at ``positions`` (None: all). Raises FinstError for contexts of
    different lengths, an unknown site, a position outside the contexts, and for a decoder whose tokens see other ones
    than the engine reckons with.
    """
    with arithmetic(vlm), probing(vlm.model), fused(vlm):
        given = prepared(vlm, contexts)
        check_positions(positions, given.input_ids.shape[1])
        run = partial(_recorded, vlm)
        if not sites and given.input_ids.numel() <= REPLAYED_TOKENS:
            memory = 2 * recording_bytes(vlm, given.input_ids.numel())
            return replayed(vlm.model, run, _Given(given, vlm.parts), memory, _captured_alike)
        with reading(vlm, sites, positions) as kept:
            recording = run(_Given(given, vlm.parts))
        return replace(recording, sites=stacked(kept))


@dataclass(frozen=True, eq=False)
class _Given:
    """All that a recording depends on beside the model."""

    contexts: Prepared
    parts: int
    """As the model says; here because it makes another graph."""


def _captured_alike(recording: Recording) -> bool:
    """Whether a graph would have the same masks: none, or those that the family makes for blocks."""
    return bool(recording.blocks) or all(kwargs.get("attention_mask") is None for kwargs in recording.layer_kwargs)


def _recorded(vlm: VLM, given: _Given) -> Recording:
    contexts, hooks = given.contexts, list[RemovableHandle]()
    inputs = decoder_inputs(vlm.reader.family, vlm.model, contexts)
    batch, length, _ = inputs.embeds.shape
    recorder = _Recorder(contexts.blocks, inputs.embeds.new_empty(batch, vlm.n_layers, length, vlm.n_heads, vlm.d_head))
    try:
        hooks += [layer.register_forward_pre_hook(recorder.before_layer, with_kwargs=True) for layer in vlm.layers]
        hooks += [layer.register_forward_hook(recorder.after_layer, with_kwargs=True) for layer in vlm.layers]
        vlm.decoder(**decoder_call(vlm, inputs), **{PROBE: recorder})
    finally:
        for hook in hooks:
            hook.remove()
    *before, last = recorder.stream
    return Recording(
        recorder.z,
        logits(vlm, last[:, -1]),
        tuple(x.to(key.device) for x, key in zip(before, recorder.keys, strict=True)),
        tuple(recorder.keys),
        tuple(recorder.values),
        tuple(recorder.layer_kwargs),
        contexts.input_ids,
        inputs.position_ids,
        last,
        inputs.additions,
        contexts.blocks,
        {},
    )
