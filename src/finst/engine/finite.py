"""Finite or refused: whatever leaves the engine is checked. Context, layer and cause of what is not finite are named.

The check is one sum over all that a call hands out, read once, when the results are read anyway: any NaN or infinity
makes the sum NaN or infinite. Only then is there a second, slow look. It finds the first context (or edited run), runs
it again with a hook on every layer, and searches edits and weights for the cause. If it finds nothing, finite numbers
had overflown in the sum, and nothing is wrong.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from finst.errors import NotFiniteError
from finst.vlm.open import VLM

SHOWN = 24
"""Tokens from the end of a context that an error quotes."""


def total(*parts: Tensor) -> Float[Tensor, ""]:
    """The sum of all numbers in ``parts``, without waiting for the device; not finite if any number is not."""
    sums = [part.sum(dtype=torch.promote_types(part.dtype, torch.float32)) for part in parts if part.numel()]
    if not sums:
        return torch.zeros(())
    return torch.stack([each.to(sums[0].device, torch.float64) for each in sums]).sum()


def all_finite(*sums: Float[Tensor, ""] | None) -> bool:
    """Whether all of these totals are finite. Waits for the device, once."""
    known = [each for each in sums if each is not None]
    return math.isfinite(float(torch.stack([each.to(known[0].device, torch.float64) for each in known]).sum()))


def first_bad(values: Sequence[Float[Tensor, "row *_"]]) -> int | None:
    """The first row of several tensors with the same rows that holds a number that is not finite."""
    bad = [torch.nonzero(~part.isfinite().flatten(1).all(dim=1)) for part in values if part.numel()]
    rows = [int(found[0]) for found in bad if len(found)]
    return min(rows) if rows else None


def not_finite(vlm: VLM, what: str, where: str, cause: str = "") -> NotFiniteError:
    """The error for ``what`` (a context or an edited run): where its numbers are first not finite, and why."""
    return NotFiniteError(
        f"{vlm.reader.id}: {what} gives numbers that are not finite, first {where}. Likely cause: "
        f"{cause or cause_in(vlm)}. Expected finite numbers throughout; no result was made of these"
    )


def in_layer(layer: int | None) -> str:
    """Where numbers are first not finite: -1 is the input of the first layer, None is after the last one."""
    if layer is None:
        return "after the last layer, in the final norm or the unembedding"
    return f"in layer {layer}" if layer >= 0 else "before layer 0, in the embeddings of words and picture"


def first_layer(vlm: VLM, again: Callable[[], object]) -> int | None:
    """Repeats a computation, and returns the first layer whose output is not finite, in the terms of ``in_layer``."""
    bad: list[int] = []
    thread = threading.get_ident()

    def note(layer: int, x: Tensor) -> None:
        if threading.get_ident() == thread and not x.isfinite().all():
            bad.append(layer)

    def entering(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        note(-1, args[0] if args else kwargs["hidden_states"])

    def leaving(layer: int) -> Callable[..., None]:
        return lambda _, args, output: note(layer, output[0] if isinstance(output, tuple) else output)

    hooks = [layer.register_forward_hook(leaving(index)) for index, layer in enumerate(vlm.layers)]
    hooks.append(vlm.layers[0].register_forward_pre_hook(entering, with_kwargs=True))
    try:
        again()
    finally:
        for hook in hooks:
            hook.remove()
    return bad[0] if bad else None


def context_name(vlm: VLM, index: int, count: int, input_ids: Int[Tensor, "pos"]) -> str:
    """``context 2 of 8 (ends in '...')``, counted from 1."""
    text = vlm.reader.tokenizer.decode(input_ids[-SHOWN:].tolist(), skip_special_tokens=True)
    return f"context {index + 1} of {count} (ends in {' '.join(text.split())!r})"


def cause_in(vlm: VLM) -> str:
    """Weights that are not finite, or else the number format."""
    name = str(vlm.dtype).removeprefix("torch.")
    largest = f"{torch.finfo(vlm.dtype).max:.3g}"
    for parameter, values in vlm.model.named_parameters():
        count = int((~values.isfinite()).sum())
        if count:
            damaged = "the file is damaged: get the checkpoint again"
            if vlm.dtype == torch.float16 and not values.isnan().any():
                damaged = f"{name} ends at {largest}: use dtype bfloat16 or float32, or, if that fails too, {damaged}"
            return f"weights, {count} of the {values.numel()} of {parameter} are not finite ({damaged})"
    if vlm.dtype == torch.float16:
        return f"format, all weights are finite, but {name} ends at {largest}: use dtype bfloat16 or float32"
    return f"format, all weights are finite, but numbers grow beyond {largest}, where {name} ends"
