"""The least time of a map of causal mediation on a device: what must be computed and moved, at peak rates.

Operations are those of matrix products with weights and of attention's two products. Bytes are every used weight once
a traversal, hidden states in and out of every layer, and recorded keys and values once. A layer takes the longer of its
two times. Not counted, so the floor is too low rather than too high: norms, rotary positions, softmax, activations,
embeddings, the final norm and the head, recorded head outputs, and rows without edits (the recording has their logits).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Peaks:
    """The rates that a device reaches when measured."""

    flops_per_s: float
    """Operations a second in matrix products; a multiplication and an addition are two operations."""
    bytes_per_s: float
    """Bytes read and written a second, together."""


@dataclass(frozen=True)
class DecoderSize:
    """The size of one layer of a decoder, and the number of layers."""

    layers: int
    d_model: int
    heads: int
    kv_heads: int
    d_head: int
    query: int
    """Weights of ``q_proj``."""
    key_value: int
    """Weights of ``k_proj`` and ``v_proj``."""
    mixing: int
    """Weights of ``o_proj`` and the MLP."""
    itemsize: int
    """Bytes a number."""


@dataclass(frozen=True, eq=False)
class Work:
    """The work of every layer in one traversal, in tokens."""

    keyed: Int[np.ndarray, "layer"]
    """Tokens whose keys and values are computed."""
    queried: Int[np.ndarray, "layer"]
    """Tokens whose queries are computed."""
    seen: Int[np.ndarray, "layer"]
    """Pairs of a query and a key that it attends to."""
    mixed: Int[np.ndarray, "layer"]
    """Tokens that pass through ``o_proj`` and the MLP."""
    stored: Int[np.ndarray, "layer"]
    """Recorded tokens whose keys and values are written or read."""


@dataclass(frozen=True, eq=False)
class Starts:
    """Where in the model edited rows begin to differ from their clean contexts."""

    context: Int[np.ndarray, "row"]
    """Index of the clean context."""
    layer: Int[np.ndarray, "row"]
    """Layer whose head outputs are edited."""
    first: Int[np.ndarray, "row"]
    """First edited position."""
    edited: Int[np.ndarray, "row"]
    """Number of edited positions."""
    at_last: Bool[np.ndarray, "row"]
    """Whether the last position is among them."""


def recording_work(contexts: int, length: int, layers: int) -> Work:
    """The work of whole contexts of ``length`` tokens through all layers, with causal attention."""
    tokens = np.full(layers, contexts * length)
    return Work(tokens, tokens, tokens * (length + 1) // 2, tokens, tokens)


def walk_work(starts: Starts, layers: int, length: int) -> Work:
    """The work of rows whose head outputs are edited in one layer each, as far as they differ from the recording.

    In the edited layer queries, keys and values are the recorded ones, and only the edited tokens change. In later
    layers all tokens from the first edited one on change. After the last layer only the last token is needed.
    """
    columns = [_layer_work(starts, layer, layer == layers - 1, length) for layer in range(layers)]
    return Work(*np.array(columns, dtype=np.int64).reshape(layers, 5).T)


def _layer_work(starts: Starts, layer: int, is_last: bool, length: int) -> tuple[int, int, int, int, int]:
    walking, starting = starts.layer < layer, starts.layer == layer
    first = starts.first[walking]
    prefix = np.zeros(starts.context.max(initial=-1) + 1, dtype=np.int64)
    np.maximum.at(prefix, starts.context[walking], first)
    keyed = int((length - first).sum())
    if is_last:
        rows = len(first)
        return keyed, rows, rows * length, rows + int(starts.at_last[starting].sum()), int(prefix.sum())
    seen = int((length * (length + 1) - first * (first + 1)).sum()) // 2
    return keyed, keyed, seen, keyed + int(starts.edited[starting].sum()), int(prefix.sum())


def layer_flops(size: DecoderSize, work: Work) -> Int[np.ndarray, "layer"]:
    """Floating-point operations of every layer."""
    products = size.key_value * work.keyed + size.query * work.queried + size.mixing * work.mixed
    return 2 * products + 4 * size.heads * size.d_head * work.seen


def layer_bytes(size: DecoderSize, work: Work) -> Int[np.ndarray, "layer"]:
    """Bytes that every layer must move."""
    used = ((size.key_value, work.keyed), (size.query, work.queried), (size.mixing, work.mixed))
    weights = sum(count * (tokens > 0) for count, tokens in used)
    hidden = size.d_model * (work.keyed + (work.mixed - work.queried).clip(min=0) + work.mixed)
    cached = 2 * size.kv_heads * size.d_head * work.stored
    return size.itemsize * (weights + hidden + cached)


def floor_s(flops: Float[np.ndarray, "part"], moved: Float[np.ndarray, "part"], peaks: Peaks) -> float:
    """Seconds of consecutive parts: each takes the longer of the time for its operations and that for its bytes."""
    return float(np.maximum(flops / peaks.flops_per_s, moved / peaks.bytes_per_s).sum())
