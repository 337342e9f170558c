"""Maps by finst's engine equal those of hooks; the loop's rows, and its time for all rows from a few."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from finst.bench import maps as maps_module
from finst.bench.maps import chosen_rows, looped, maps, needed, scaled_s, slow_engines
from finst.bench.spec import SubjectSpec
from finst.bench.subject import Subject, conditions_of, of_shape
from finst.engine import hooks
from finst.engine.edits import each_head, unedited
from tests.bench.tiny import TINY


@pytest.fixture(scope="module")
def subject() -> Subject:
    return of_shape(TINY, SubjectSpec(tokens=50, device="cpu", dtype="float64"))


@pytest.mark.parametrize(
    ("name", "source", "positions"), [("retrieval", 1, (40, 41)), ("selection", 1, (49,)), ("feature", 2, (49,))]
)
def test_a_map_equals_that_of_hooks(subject: Subject, name: str, source: int, positions: tuple[int, ...]) -> None:
    """Two pairs in one traversal, each with its own clean and source contexts."""
    pairs = [subject.pair(0), subject.pair(1)]
    both = maps(subject, pairs, conditions_of(name))
    for logits, pair in zip(both, pairs, strict=True):
        rows = unedited() + each_head(hooks.record_z(subject.vlm, pair[source]), positions)
        expected = hooks.counterfactuals(subject.vlm, pair[0], rows, subject.answers)
        assert logits.shape == (13, 3)
        assert (logits - expected).abs().max() < 1e-9
        assert (logits - logits[0]).abs().max() > 1e-3
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_only_needed_contexts_are_recorded(subject: Subject) -> None:
    pair = subject.pair(0)
    assert needed(pair, conditions_of("feature")) == {"clean": pair[0], "changed": pair[2]}


def test_all_rows_or_a_share_of_them() -> None:
    assert [rows.tolist() for rows in chosen_rows(5, 2, 0, seed=0)] == [list(range(5))] * 2
    shares = chosen_rows(785, 3, 40, seed=0)
    assert [len(rows) for rows in shares] == [14] * 3
    assert all(len(set(rows.tolist())) == 14 and rows.max() < 785 for rows in shares)
    assert shares[0].tolist() != shares[1].tolist()
    assert [rows.tolist() for rows in chosen_rows(785, 3, 40, seed=0)] == [rows.tolist() for rows in shares]
    assert chosen_rows(785, 3, 40, seed=1)[0].tolist() != shares[0].tolist()
    assert [len(rows) for rows in chosen_rows(785, 3, 1, seed=0)] == [2] * 3, "two rows are needed to extrapolate"
    assert [len(rows) for rows in chosen_rows(10, 2, 999, seed=0)] == [10] * 2


def test_fixed_costs_are_not_scaled() -> None:
    fixed, a_row = 7.0, 0.25
    assert scaled_s(fixed + a_row, fixed + 8 * a_row, 8, 785) == pytest.approx(fixed + 785 * a_row)


def test_scaled_time_of_an_engine_with_known_costs(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that runs only in the engine: 2 s a recorded context, 10 s a call and 3 s a row."""
    now = [0.0]

    def counterfactuals(vlm: Any, clean: Any, rows: Any, answers: Any) -> Any:
        now[0] += 10 + 3 * rows.count
        return hooks.counterfactuals(vlm, clean, rows, answers)

    def record_z(vlm: Any, context: Any) -> Any:
        now[0] += 2
        return hooks.record_z(vlm, context)

    engine: Any = ModuleType("clocked")
    engine.counterfactuals, engine.record_z = counterfactuals, record_z
    monkeypatch.setattr("finst.bench.clock.time.perf_counter", lambda: now[0])
    conditions, pair = conditions_of("all"), subject.pair(0)
    some, seconds = looped(engine, subject, pair, conditions, np.array([0, 4, 9]))
    everything, all_seconds = looped(engine, subject, pair, conditions, np.arange(37))
    assert all_seconds == 2 * 2 + 10 + 37 * 3
    assert seconds == pytest.approx(all_seconds)
    assert (some - everything[[0, 4, 9]]).abs().max() < 1e-12
    assert (some - maps(subject, [pair], conditions)[0][[0, 4, 9]]).abs().max() < 1e-9


def test_engines_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(slow_engines(("nnsight", "hooks"))) == ["hooks", "nnsight"]
    assert list(slow_engines(("nnsight",))) == ["nnsight"]
    assert slow_engines(()) == {}
    monkeypatch.setattr(maps_module, "find_spec", lambda name: None)
    assert list(slow_engines(("hooks", "nnsight"))) == ["hooks"]
