"""How the engine gets between a decoder's queries and its ``o_proj`` without touching a module.

transformers looks attention functions up by name. Ours passes every call on to its ``sdpa`` function unless the call
carries a probe, an object that the caller handed to the decoder (or to one layer) as a keyword argument and that
transformers forwards untouched. All state of a call lives in its probe, so calls may overlap and threads may share a
model.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from finst.vlm.families.base import Blocks
from finst.vlm.visibility import visible

NAME = "finst"
PROBE = "finst_probe"
"""The keyword argument that carries the probe."""


@runtime_checkable
class Probe(Protocol):
    """Takes the place of attention in one decoder call or one layer call."""

    def attend(
        self,
        module: nn.Module,
        query: Float[Tensor, "batch head pos d_head"],
        key: Float[Tensor, "batch kv_head pos d_head"],
        value: Float[Tensor, "batch kv_head pos d_head"],
        mask: Tensor | None,
        **kwargs: Any,
    ) -> Float[Tensor, "batch pos head d_head"]:
        """Queries and keys come with their rotary positions applied. Returns z, which goes straight into ``o_proj``."""
        ...


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    probe: Probe | None = kwargs.pop(PROBE, None)
    if probe is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return probe.attend(module, query, key, value, attention_mask, **kwargs), None


def as_called(
    module: nn.Module,
    mask: Tensor | None,
    length: int,
    blocks: Blocks,
    *,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> bool:
    """Whether a call of attention lets tokens see what ``visible`` says, read as transformers' ``sdpa`` function does.

    ``mask`` holds what each query may see of each key: booleans, or numbers to be added to scores, hugely negative
    where nothing is to be seen. Without a mask, causality is the call's or else the module's setting.
    """
    if mask is None:
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        return bool(causal) and not blocks and (sliding_window is None or length <= sliding_window)
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    expected = visible(range(length), range(length), blocks, sliding_window, mask.device)
    return bool((seen == expected).all())


def capturing() -> bool:
    """Whether a graph is being made, which cannot wait for what a GPU computes."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """None inside a graph: those are made only of calls that had no such mask before."""
    return None if capturing() else sdpa_mask(*args, **kwargs)


AttentionInterface.register(NAME, _attention)
# Without a mask function of the same name transformers builds no mask, and padded or windowed calls lose theirs.
AttentionMaskInterface.register(NAME, _mask)


@dataclass
class _Uses:
    """Who has switched a model's attention now, and what to restore when the last one leaves."""

    count: int
    original: str | None


_uses: WeakKeyDictionary[PreTrainedModel, _Uses] = WeakKeyDictionary()
"""By model, since the setting is the model's: threads that share one must not restore it under each other."""
_lock = threading.Lock()


@contextmanager
def probing(model: PreTrainedModel) -> Iterator[None]:
    """Probes work on ``model`` inside; its attention implementation is restored afterwards, also after an exception.

    Only the text model's configuration is switched, which its attention modules read in every call: transformers'
    ``set_attn_implementation`` would look through all modules of the model, which takes longer than a layer.
    """
    with _lock:
        config = model.config.get_text_config()
        uses = _uses.get(model)
        if uses is None:
            uses = _uses[model] = _Uses(0, config._attn_implementation)
            config._attn_implementation = NAME
        uses.count += 1
    try:
        yield
    finally:
        with _lock:
            uses.count -= 1
            if not uses.count:
                del _uses[model]
                config._attn_implementation = uses.original
