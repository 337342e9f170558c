"""The floor against sums done by hand, and its operations against those that torch counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from finst.bench.contexts import synthetic_contexts
from finst.bench.costs import Costs, Tower, decoder_size, map_floor, starts_of, tower
from finst.bench.floor import (
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
from finst.bench.random_vlm import random_vlm
from finst.engine.readout import decoder_inputs
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM
from finst.vlm.published import SHAPES
from tests.bench.tiny import TINY

SIZE = DecoderSize(layers=4, d_model=6, heads=3, kv_heads=1, d_head=2, query=36, key_value=24, mixing=100, itemsize=2)


def as_lists(work: Work) -> list[list[int]]:
    return [column.tolist() for column in (work.keyed, work.queried, work.seen, work.mixed, work.stored)]


def test_recording_by_hand() -> None:
    """Two contexts of three tokens: each token sees itself and those before it, 1 + 2 + 3 pairs a context."""
    assert as_lists(recording_work(2, 3, 4)) == [[6] * 4, [6] * 4, [12] * 4, [6] * 4, [6] * 4]


def test_one_row_by_hand() -> None:
    """Five tokens, 2 and 3 edited in layer 1 of 4: nothing, the two, all from 2 on, and in the end the last one."""
    row = Starts(np.array([0]), np.array([1]), np.array([2]), np.array([2]), np.array([False]))
    assert as_lists(walk_work(row, 4, 5)) == [
        [0, 0, 3, 3],
        [0, 0, 3, 1],
        [0, 0, 3 + 4 + 5, 5],
        [0, 2, 3, 1],
        [0, 0, 2, 2],
    ]


def test_a_map_by_hand() -> None:
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


def test_operations_and_bytes_by_hand() -> None:
    one = np.array([1])
    work = Work(keyed=5 * one, queried=3 * one, seen=7 * one, mixed=4 * one, stored=11 * one)
    assert layer_flops(SIZE, work).tolist() == [2 * (24 * 5 + 36 * 3 + 100 * 4) + 2 * 2 * 3 * 2 * 7]
    weights, hidden, cached = 24 + 36 + 100, 6 * (5 + 1 + 4), 2 * 1 * 2 * 11
    assert layer_bytes(SIZE, work).tolist() == [2 * (weights + hidden + cached)]
    start = Work(keyed=0 * one, queried=0 * one, seen=0 * one, mixed=4 * one, stored=0 * one)
    assert layer_bytes(SIZE, start).tolist() == [2 * (100 + 6 * (4 + 4))]
    nothing = Work(*[0 * one] * 5)
    assert (layer_flops(SIZE, nothing).tolist(), layer_bytes(SIZE, nothing).tolist()) == ([0], [0])


def test_each_part_takes_the_longer_of_its_times() -> None:
    peaks = Peaks(flops_per_s=10, bytes_per_s=2)
    assert floor_s(np.array([100.0, 10.0]), np.array([2.0, 8.0]), peaks) == 10 + 4


def test_a_floor_is_the_sum_of_its_parts() -> None:
    costs = Costs(SIZE, Tower(flops=1000, moved=64), Peaks(flops_per_s=100, bytes_per_s=1e9))
    found = map_floor(costs, contexts=2, length=5, positions=[[[2, 3], [4]]])
    recording, walk = recording_work(2, 5, 4), walk_work(starts_of([[[2, 3], [4]]], 4, 3, 5), 4, 5)
    operations = [int(layer_flops(SIZE, work).sum()) for work in (recording, walk)]
    assert found.vision_s == 2 * 1000 / 100
    assert found.decoder_s == pytest.approx(operations[0] / 100)
    assert found.walk_s == pytest.approx(operations[1] / 100)
    assert found.flops == 2000 + sum(operations)
    assert found.seconds == pytest.approx(found.flops / 100)
    twice = found + found
    assert (twice.seconds, twice.record_s) == pytest.approx((2 * found.seconds, 2 * found.record_s))
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
    """But for what the floor leaves out: torch counts the scores that a causal mask hides, and rotary tables."""
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


def test_the_tower_by_hand(vlm: VLM, contexts: tuple[Encoded, ...]) -> None:
    """Qwen2-VL's build: patches, two layers that see the whole picture, a merger of four patches into a token."""
    patches, width, mlp, out = 4 * 36, 16, 32, 32
    embedding = 3 * 2 * 14 * 14 * width
    layer = 4 * width**2 + 2 * width * mlp
    merger = (4 * width) ** 2 + 4 * width * out
    products = patches * (embedding + 2 * layer) + patches // 4 * merger
    found = tower(vlm, contexts[0])
    assert found.flops == 2 * products + 2 * 4 * width * patches**2
    biases = 2 * (3 * width + width + mlp + width) + 4 * width + out
    norms = 2 * 2 * 2 * width + 2 * width
    assert found.moved == 4 * (embedding + 2 * layer + merger + biases + norms)


def test_the_floor_of_a_published_shape() -> None:
    """Qwen2-VL-7B's last-token map, 16 bits, 0.7 PFLOP/s and 3 TB/s: recording is arithmetic, few rows are weights."""
    text = SHAPES["qwen2-vl-7b"].text
    d, kv, mlp = text["hidden_size"], 2 * 4 * 128, text["intermediate_size"]
    size = DecoderSize(28, d, 28, 4, 128, d * d, d * kv, d * d + 3 * d * mlp, 2)
    costs = Costs(size, Tower(0, 0), Peaks(7e14, 3e12))
    found = map_floor(costs, contexts=2, length=230, positions=[[[229]]])
    weights = 28 * (2 * d * d + d * kv + 3 * d * mlp)
    attention = 28 * 4 * d * 2 * 230 * 231 / 2
    assert found.decoder_s == pytest.approx((2 * 460 * weights + attention) / 7e14)
    assert 2 * weights / 3e12 < found.walk_s < 2 * 756 * weights / 7e14
