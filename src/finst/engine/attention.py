"""An attention function through which the engine replaces a decoder's attention without changing a module.

transformers looks attention functions up by name. This one calls transformers' ``sdpa`` function unless the call
carries a probe: an object that the caller passes to the decoder (or to one layer) as a keyword argument, and that
transformers forwards unchanged. All state of a call is in its probe, so calls may overlap and threads may share a
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
    """Replaces attention in one decoder call or one layer call."""

    def attend(
        self,
        module: nn.Module,
        query: Float[Tensor, "batch head pos d_head"],
        key: Float[Tensor, "batch kv_head pos d_head"],
        value: Float[Tensor, "batch kv_head pos d_head"],
        mask: Tensor | None,
        **kwargs: Any,
    ) -> Float[Tensor, "batch pos head d_head"]:
        """Attention for queries and keys after the rotary embedding. Returns z, which is the input of ``o_proj``."""
        ...


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    probe: Probe | None = kwargs.pop(PROBE, None)
    if probe is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return probe.attend(module, query, key, value, attention_mask, **kwargs), None


def matches_visibility(
    module: nn.Module,
    mask: Tensor | None,
    length: int,
    blocks: Blocks,
    *,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> bool:
    """Whether an attention call lets tokens see exactly what ``visible`` returns; reads arguments as ``sdpa`` does.

    ``mask`` has an entry for each query and key: a boolean, or a number that is added to the score (very negative
    where the key is masked). Without a mask, causality is the call's setting, or else the module's.
    """
    if mask is None:
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        return bool(causal) and not blocks and (sliding_window is None or length <= sliding_window)
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    expected = visible(range(length), range(length), blocks, sliding_window, mask.device)
    return bool((seen == expected).all())


def capturing() -> bool:
    """Whether a CUDA graph is being captured; during capture the CPU cannot wait for results of the GPU."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """transformers' mask; None during capture, since only calls without such a mask are captured."""
    return None if capturing() else sdpa_mask(*args, **kwargs)


AttentionInterface.register(NAME, _attention)
# Without a mask function of the same name transformers builds no mask, not even for padded or windowed calls.
AttentionMaskInterface.register(NAME, _mask)


@dataclass
class _Uses:
    """How many users have switched a model's attention, and what the last one restores."""

    count: int
    original: str | None


_uses: WeakKeyDictionary[PreTrainedModel, _Uses] = WeakKeyDictionary()
"""Users by model: a thread must not restore the setting while another thread still uses it."""
_lock = threading.Lock()


@contextmanager
def probing(model: PreTrainedModel) -> Iterator[None]:
    """Inside, ``model`` accepts probes; its attention implementation is restored at the end, also after an exception.

    Only the text model's configuration is switched, which the attention modules read in every call. transformers'
    ``set_attn_implementation`` would visit all modules of the model, which takes longer than a layer.
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
