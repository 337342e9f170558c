"""Work, operations, bytes and seconds of the floor, computed for small cases."""

from __future__ import annotations

import numpy as np

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

SIZE = DecoderSize(layers=4, d_model=6, heads=3, kv_heads=1, d_head=2, query=36, key_value=24, mixing=100, itemsize=2)


def as_lists(work: Work) -> list[list[int]]:
    return [column.tolist() for column in (work.keyed, work.queried, work.seen, work.mixed, work.stored)]


def test_the_work_of_recording() -> None:
    """Two contexts of three tokens: each token sees itself and those before it, 1 + 2 + 3 pairs a context."""
    assert as_lists(recording_work(2, 3, 4)) == [[6] * 4, [6] * 4, [12] * 4, [6] * 4, [6] * 4]


def test_the_work_of_one_row() -> None:
    """Five tokens, 2 and 3 edited in layer 1 of 4: nothing, the two, all from 2 on, and in the end the last one."""
    row = Starts(np.array([0]), np.array([1]), np.array([2]), np.array([2]), np.array([False]))
    assert as_lists(walk_work(row, 4, 5)) == [
        [0, 0, 3, 3],
        [0, 0, 3, 1],
        [0, 0, 3 + 4 + 5, 5],
        [0, 2, 3, 1],
        [0, 0, 2, 2],
    ]


def test_operations_and_bytes_of_a_layer() -> None:
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
