"""The floor of a map of causal mediation, for a given model and given pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from finst.bench.clock import measured_peaks
from finst.bench.limits.floor import (
    DecoderSize,
    Peaks,
    Starts,
    Work,
    floor_s,
    layer_bytes,
    layer_flops,
    recording_work,
    walk_work,
)
from finst.bench.subject import Pair, contexts_needed, patched
from finst.engine.precision import arithmetic
from finst.engine.readout import decoder_inputs
from finst.experiments.cma.design import Condition
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM


@dataclass(frozen=True)
class Tower:
    """The cost of one context before the decoder."""

    flops: int
    """Operations of vision tower and projector for one picture."""
    moved: int
    """Bytes of their weights, read once for all pictures of a batch."""


@dataclass(frozen=True)
class Costs:
    """The costs of one model on one device."""

    size: DecoderSize
    vision: Tower
    peaks: Peaks


@dataclass(frozen=True)
class Floor:
    """The least time of a map, in parts."""

    vision_s: float
    """Seconds of the vision tower."""
    decoder_s: float
    """Seconds of recording after the vision tower."""
    walk_s: float
    """Seconds of the edited rows."""
    flops: float
    """Operations of all parts together."""

    @property
    def record_s(self) -> float:
        """Seconds of recording, the vision tower included."""
        return self.vision_s + self.decoder_s

    @property
    def seconds(self) -> float:
        """Seconds of all parts."""
        return self.record_s + self.walk_s

    def __add__(self, other: Floor) -> Floor:
        """The floor of two maps, one after the other."""
        return Floor(
            self.vision_s + other.vision_s,
            self.decoder_s + other.decoder_s,
            self.walk_s + other.walk_s,
            self.flops + other.flops,
        )


def measured_costs(vlm: VLM, context: Encoded) -> Costs:
    """The decoder's size, the vision tower's work on the picture of ``context``, and the device's present rates."""
    with arithmetic(vlm):
        peaks = measured_peaks(vlm.device, vlm.dtype)
    return Costs(decoder_size(vlm), tower(vlm, context), peaks)


def decoder_size(vlm: VLM) -> DecoderSize:
    """The size of the first layer, which all layers share, and the number of layers."""
    layer: Any = vlm.layers[0]
    attention = layer.self_attn
    return DecoderSize(
        layers=vlm.n_layers,
        d_model=vlm.reader.config.get_text_config().hidden_size,
        heads=vlm.n_heads,
        kv_heads=vlm.n_kv_heads,
        d_head=vlm.d_head,
        query=_weights(attention.q_proj),
        key_value=_weights(attention.k_proj) + _weights(attention.v_proj),
        mixing=_weights(attention.o_proj) + _weights(layer.mlp),
        itemsize=vlm.dtype.itemsize,
    )


def tower(vlm: VLM, context: Encoded) -> Tower:
    """The cost of the vision tower, counted while it runs over one picture; windowed attention counts as computed."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        decoder_inputs(vlm, [context])
    weights = {id(parameter): parameter for parameter in vlm.model.parameters()}
    for module in (vlm.decoder, vlm.model.get_output_embeddings()):
        for parameter in module.parameters():
            weights.pop(id(parameter), None)
    return Tower(counter.get_total_flops(), sum(parameter.nbytes for parameter in weights.values()))


def starts_of(positions: Sequence[Sequence[Sequence[int]]], layers: int, heads: int, length: int) -> Starts:
    """The starts of rows that patch every head of every layer in turn.

    ``positions`` has the edited positions of each pair in each condition; ``length`` is that of a context in tokens.
    """
    maps = [(pair, edited) for pair, conditions in enumerate(positions) for edited in conditions]
    rows = layers * heads
    return Starts(
        context=np.repeat(np.array([pair for pair, _ in maps], dtype=np.int64), rows),
        layer=np.tile(np.repeat(np.arange(layers), heads), len(maps)),
        first=np.repeat(np.array([min(edited) for _, edited in maps], dtype=np.int64), rows),
        edited=np.repeat(np.array([len(edited) for _, edited in maps], dtype=np.int64), rows),
        at_last=np.repeat(np.array([length - 1 in edited for _, edited in maps], dtype=bool), rows),
    )


def map_floor(costs: Costs, *, contexts: int, length: int, positions: Sequence[Sequence[Sequence[int]]]) -> Floor:
    """The floor for ``contexts`` recorded contexts of ``length`` tokens and the rows of ``starts_of``."""
    size, peaks = costs.size, costs.peaks
    recording = recording_work(contexts, length, size.layers)
    walk = walk_work(starts_of(positions, size.layers, size.heads, length), size.layers, length)
    pictures = np.array([contexts * costs.vision.flops], dtype=np.float64)
    return Floor(
        vision_s=floor_s(pictures, np.array([costs.vision.moved], dtype=np.float64), peaks),
        decoder_s=_seconds(size, recording, peaks),
        walk_s=_seconds(size, walk, peaks),
        flops=float(pictures.sum()) + float(layer_flops(size, recording).sum() + layer_flops(size, walk).sum()),
    )


def floor_of(costs: Costs, pairs: Sequence[Pair], conditions: Sequence[Condition]) -> Floor:
    """The floor for these pairs, recorded and patched together."""
    return map_floor(
        costs,
        contexts=len(pairs) * len(contexts_needed(conditions)),
        length=len(pairs[0][0].tokens),
        positions=[patched(pair, conditions) for pair in pairs],
    )


def floor_report(floor: Floor, costs: Costs, seconds: float) -> dict[str, Any]:
    """The entries of a result about the floor of a measurement that took ``seconds``."""
    return {
        "floor_s": floor.seconds,
        "floor_share": floor.seconds / seconds,
        "floor": {
            "record_s": floor.record_s,
            "vision_s": floor.vision_s,
            "walk_s": floor.walk_s,
            "flops": floor.flops,
            **asdict(costs.peaks),
        },
    }


def _seconds(size: DecoderSize, work: Work, peaks: Peaks) -> float:
    flops, moved = layer_flops(size, work), layer_bytes(size, work)
    return floor_s(flops.astype(np.float64), moved.astype(np.float64), peaks)


def _weights(module: nn.Module) -> int:
    """The number of weights in a module's matrices."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.dim() > 1)
