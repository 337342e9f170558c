"""Recording: part pass through the unmodified model that keeps all that is needed to replay any part of it."""

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

from finst.engine.attention import PROBE, capturing, matches_visibility, probing
from finst.engine.finite import all_finite, context_name, first_bad, in_layer, not_finite, total
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
"""Batches of at most this many tokens are replayed as CUDA graphs; larger ones keep the GPU busy without."""


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """Activations and arguments of the decoder in a batch of contexts of equal length."""

    z: Float[Tensor, "context layer pos head d_head"]
    """Every head's output (its slice of ``o_proj``'s input)."""
    logits: Float[Tensor, "context vocab"]
    """At the last token; final norm and head in float32 at least."""
    inputs: tuple[Float[Tensor, "context pos d_model"], ...]
    """Each layer's input, before ``additions`` are added to it; on the layer's device, as are its keys and values."""
    keys: tuple[Float[Tensor, "context kv_head pos d_head"], ...]
    """Each layer's keys, after the rotary embedding."""
    values: tuple[Float[Tensor, "context kv_head pos d_head"], ...]
    layer_kwargs: tuple[Mapping[str, Any], ...]
    """The keyword arguments that each layer was called with."""
    input_ids: Int[Tensor, "context pos"]
    position_ids: Int[Tensor, "*axis context pos"]
    """Every token's position as the decoder gets it; some models count along several axes."""
    output: Float[Tensor, "context pos d_model"]
    """The last layer's output, before the final norm."""
    additions: tuple[Float[Tensor, "context pos d_model"], ...]
    """Image features that some models add to the output of the first layers, part tensor a layer."""
    blocks: Blocks
    """Tokens that see each other, later ones included."""
    sites: Mapping[Site, Activations]
    """The requested sites, at the requested positions."""
    total: Float[Tensor, ""] | None = None
    """The sum of all of ``handed_out``: not finite if any number is not."""

    @property
    def handed_out(self) -> tuple[Float[Tensor, "context *_"], ...]:
        """What experiments take from a recording; the rest is for replaying, and shows in what a replay returns."""
        return (self.z, self.logits, *self.sites.values())

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, context: int) -> Recording:
        """The recording of one context, still with a leading context axis of length 1."""
        if not -len(self) <= context < len(self):
            raise IndexError(f"context {context} of a recording of {len(self)}")
        part = slice(context % len(self), context % len(self) + 1)
        return replace(
            self,
            z=self.z[part],
            logits=self.logits[part],
            inputs=tuple(x[part] for x in self.inputs),
            keys=tuple(x[part] for x in self.keys),
            values=tuple(x[part] for x in self.values),
            input_ids=self.input_ids[part],
            position_ids=self.position_ids[..., part, :],
            output=self.output[part],
            additions=tuple(x[part] for x in self.additions),
            sites={site: x[part] for site, x in self.sites.items()},
            layer_kwargs=tuple({k: _of_context(v, part, len(self)) for k, v in kw.items()} for kw in self.layer_kwargs),
        )

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.z.shape[2]


def _of_context(argument: Any, part: slice, contexts: int) -> Any:
    """One context's part of a layer's argument: tensors with a leading context axis, alone or in tuples."""
    if isinstance(argument, tuple):
        return tuple(_of_context(entry, part, contexts) for entry in argument)
    if isinstance(argument, Tensor) and argument.dim() and len(argument) == contexts:
        return argument[part]
    return argument


@dataclass(eq=False)
class _Recorder:
    """A probe that keeps all it sees; attention itself is transformers' own."""

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
        if not (capturing() or matches_visibility(module, mask, query.shape[2], self.blocks, **kwargs)):
            raise FinstError(
                f"{type(module).__name__} lets tokens see later ones, or not all earlier ones: expected a causal "
                "decoder, in which an edit does not change the tokens before it (window: "
                f"{kwargs.get('sliding_window')}; tokens that see each other: {self.blocks or None})"
            )
        z, _ = sdpa_attention_forward(module, query, key, value, mask, **kwargs)
        self.z[:, len(self.keys)] = z
        self.keys.append(key)
        self.values.append(value)
        return z

    # Hooks are on shared modules and run in other threads' calls too; they ignore calls that carry another recorder.
    # torch registers a hook before it notes that the hook wants keyword arguments: other threads may call it without.
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

    ``sites`` are kept beside ``z``, at ``positions`` (None: all). Raises FinstError for contexts of different lengths,
    an unknown site, a position outside the contexts, for a decoder whose attention mask is not the one that the engine
    assumes, and for numbers that are not finite (on a GPU with the first results of an edited run, which wait for it).
    """
    recording = _run(vlm, contexts, sites, positions)
    recording = replace(recording, total=total(*recording.handed_out))
    if recording.z.device.type != "cuda" and not all_finite(recording.total):
        check_recording(vlm, recording)
    return recording


def check_recording(vlm: VLM, recording: Recording) -> None:
    """Looks at every number. Raises NotFiniteError for the first context with one that is not finite."""
    index = first_bad(recording.handed_out)
    if index is None:
        return
    part = recording[index]
    states = (*part.inputs, part.output)
    layer = next((place - 1 for place, x in enumerate(states) if not x.isfinite().all()), None)
    raise not_finite(vlm, context_name(vlm, index, len(recording), part.input_ids[0]), in_layer(layer))


def _run(vlm: VLM, contexts: Sequence[Encoded], sites: Sequence[Site], positions: Sequence[int] | None) -> Recording:
    with arithmetic(vlm), probing(vlm.model), fused(vlm):
        batch = prepared(vlm, contexts)
        check_positions(positions, batch.input_ids.shape[1])
        run = partial(_recorded, vlm)
        if not sites and batch.input_ids.numel() <= REPLAYED_TOKENS:
            memory = 2 * recording_bytes(vlm, batch.input_ids.numel())
            return replayed(vlm.model, run, _RecordingInputs(batch, vlm.parts), memory, _captured_alike)
        with reading(vlm, sites, positions) as kept:
            recording = run(_RecordingInputs(batch, vlm.parts))
        return replace(recording, sites=stacked(kept))


@dataclass(frozen=True, eq=False)
class _RecordingInputs:
    """All that a recording depends on apart from the model's weights."""

    contexts: Prepared
    parts: int
    """``VLM.parts``; part of the state because another value needs another graph."""


def _captured_alike(recording: Recording) -> bool:
    """Whether a graph would use the same masks: none, or those that the family makes for blocks."""
    return bool(recording.blocks) or all(kwargs.get("attention_mask") is None for kwargs in recording.layer_kwargs)


def _recorded(vlm: VLM, state: _RecordingInputs) -> Recording:
    contexts, hooks = state.contexts, list[RemovableHandle]()
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
