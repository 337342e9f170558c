"""Maps by finst's engine equal those of hooks, pair by pair."""

from __future__ import annotations

import pytest

from finst.bench.maps import maps, needed
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
