"""Floors of maps: operations as torch counts them, and sums of parts as computed from sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from finst.bench.contexts import synthetic_contexts
from finst.bench.limits.costs import Costs, Tower, decoder_size, map_floor, starts_of, tower
from finst.bench.limits.floor import DecoderSize, Peaks, layer_flops, recording_work, walk_work
from finst.bench.random_vlm import random_vlm
from finst.engine.readout import decoder_inputs
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM
from finst.vlm.published import SHAPES
from tests.bench.limits.test_floor import SIZE, as_lists
from tests.bench.tiny import TINY


def test_the_starts_and_the_work_of_a_map() -> None:
    """Three layers, two heads, four tokens; one pair patched at tokens 1 and 2, and at the last token 3."""
    starts = starts_of([[[1, 2], [3]]], layers=3, heads=2, length=4)
    assert starts.layer.tolist() == [0, 0, 1, 1, 2, 2] * 2
    assert starts.first.tolist() == [1] * 6 + [3] * 6
    assert starts.edited.tolist() == [2] * 6 + [1] * 6
    assert starts.at_last.tolist() == [False] * 6 + [True] * 6
    assert as_lists(walk_work(starts, 3, 4)) == [
        [0, 2 * 3 + 2 * 1, 4 * 3 + 4 * 1],
        [0, 8, 8],
        [0, 2 * (2 + 3 + 4) + 2 * 4, 8 * 4],
        [2 * 2 + 2 * 1, 8 + 2 * 2 + 2 * 1, 8 + 2],  # what is patched at tokens 1 and 2 last reaches no answer
        [0, 3, 3],  # keys of tokens 0-2 are read once for all rows
    ]


def test_pairs_add_up_and_read_their_own_keys() -> None:
    one = walk_work(starts_of([[[1, 2], [3]]], 3, 2, 4), 3, 4)
    two = walk_work(starts_of([[[1, 2], [3]]] * 2, 3, 2, 4), 3, 4)
    assert as_lists(two) == [[2 * value for value in column] for column in as_lists(one)]


def test_a_floor_is_the_sum_of_its_parts() -> None:
    costs = Costs(SIZE, Tower(flops=1000, moved=64), Peaks(flops_per_s=100, bytes_per_s=1e9))
    floor = map_floor(costs, contexts=2, length=5, positions=[[[2, 3], [4]]])
    recording, walk = recording_work(2, 5, 4), walk_work(starts_of([[[2, 3], [4]]], 4, 3, 5), 4, 5)
    operations = [int(layer_flops(SIZE, work).sum()) for work in (recording, walk)]
    assert floor.vision_s == 2 * 1000 / 100
    assert floor.decoder_s == pytest.approx(operations[0] / 100)
    assert floor.walk_s == pytest.approx(operations[1] / 100)
    assert floor.flops == 2000 + sum(operations)
    assert floor.seconds == pytest.approx(floor.flops / 100)
    twice = floor + floor
    assert (twice.seconds, twice.record_s) == pytest.approx((2 * floor.seconds, 2 * floor.record_s))
    starved = map_floor(Costs(SIZE, Tower(1000, 64), Peaks(1e12, 1.0)), contexts=2, length=5, positions=[[[2, 3]]])
    assert starved.vision_s == 64


@pytest.fixture(scope="module")
def vlm() -> VLM:
    return random_vlm(TINY, torch.float32, torch.device("cpu"))


@pytest.fixture(scope="module")
def contexts() -> tuple[Encoded, ...]:
    return synthetic_contexts(TINY.reader(), tokens=50, suffix=10, count=2, rng=np.random.default_rng(0))


def counted(work: Callable[[], object]) -> int:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_a_forward_pass_has_as_many_operations_as_torch_counts(vlm: VLM, contexts: tuple[Encoded, ...]) -> None:
    """torch also counts the scores that a causal mask hides, and rotary tables."""
    size, count, length = decoder_size(vlm), len(contexts), 50
    inputs = decoder_inputs(vlm, contexts)
    given = {"inputs_embeds": inputs.embeds, "position_ids": inputs.position_ids}
    whole = counted(lambda: vlm.decoder(**given, use_cache=False))
    rotary = counted(lambda: vlm.decoder.rotary_emb(inputs.embeds, inputs.position_ids))
    masked = size.layers * 4 * size.heads * size.d_head * count * length * (length - 1) // 2
    assert whole - rotary - masked == layer_flops(size, recording_work(count, length, size.layers)).sum()


def test_sizes_are_those_of_the_modules(vlm: VLM) -> None:
    size = decoder_size(vlm)
    assert (size.query, size.key_value, size.mixing) == (32 * 32, 2 * 32 * 16, 32 * 32 + 3 * 32 * 48)
    assert (size.layers, size.d_model, size.heads, size.kv_heads, size.d_head, size.itemsize) == (3, 32, 4, 2, 8, 4)


def test_the_tower_of_a_small_model(vlm: VLM, contexts: tuple[Encoded, ...]) -> None:
    """Qwen2-VL: patches, two layers that see the whole picture, a merger of four patches into a token."""
    patches, width, mlp, out = 4 * 36, 16, 32, 32
    embedding = 3 * 2 * 14 * 14 * width
    layer = 4 * width**2 + 2 * width * mlp
    merger = (4 * width) ** 2 + 4 * width * out
    products = patches * (embedding + 2 * layer) + patches // 4 * merger
    floor = tower(vlm, contexts[0])
    assert floor.flops == 2 * products + 2 * 4 * width * patches**2
    biases = 2 * (3 * width + width + mlp + width) + 4 * width + out
    norms = 2 * 2 * 2 * width + 2 * width
    assert floor.moved == 4 * (embedding + 2 * layer + merger + biases + norms)


def test_the_floor_of_a_published_shape() -> None:
    """Qwen2-VL-7B's last-token map, 16 bits, 0.7 PFLOP/s and 3 TB/s: operations limit recording, weights limit rows."""
    text = SHAPES["qwen2-vl-7b"].text
    d, kv, mlp = text["hidden_size"], 2 * 4 * 128, text["intermediate_size"]
    size = DecoderSize(28, d, 28, 4, 128, d * d, d * kv, d * d + 3 * d * mlp, 2)
    costs = Costs(size, Tower(0, 0), Peaks(7e14, 3e12))
    floor = map_floor(costs, contexts=2, length=230, positions=[[[229]]])
    weights = 28 * (2 * d * d + d * kv + 3 * d * mlp)
    attention = 28 * 4 * d * 2 * 230 * 231 / 2
    assert floor.decoder_s == pytest.approx((2 * 460 * weights + attention) / 7e14)
    assert 2 * weights / 3e12 < floor.walk_s < 2 * 756 * weights / 7e14
