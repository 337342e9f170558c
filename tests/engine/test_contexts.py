"""Rows of many clean contexts in one walk: the same as one walk for each context."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.engine import prefix
from finst.engine.counterfactuals import counterfactuals, observe
from finst.engine.edits import Rows, each_head, rows_from, unedited
from finst.engine.reads import Read
from finst.engine.sites import SITES
from tests.engine.conftest import Case
from tests.engine.rows import mixed_row


def one_by_one(case: Case, rows: Rows) -> torch.Tensor:
    """Each row in a walk of its own, from a recording that holds its clean context alone."""
    logits = [
        counterfactuals(case.vlm, case.recording[int(context)], rows.take(np.array([row])).on(0), case.answers)
        for row, context in enumerate(rows.context)
    ]
    return torch.cat(logits)


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), max_memory=st.sampled_from([None, 1, 100_000]))
def test_any_rows_from_any_contexts(exact: Case, seed: int, max_memory: int | None) -> None:
    rng = np.random.default_rng(seed)
    parts = [rows_from([mixed_row(exact, rng)]).on(int(rng.integers(3))) for _ in range(rng.integers(1, 9))]
    rows = sum(parts[1:], parts[0])
    ours = counterfactuals(exact.vlm, exact.recording, rows, exact.answers, max_memory=max_memory)
    assert (ours - one_by_one(exact, rows)).abs().max() < 1e-9


def test_reads_in_many_contexts(exact: Case) -> None:
    rng = np.random.default_rng(3)
    drawn = [mixed_row(exact, rng) for _ in range(6)]
    rows = rows_from(drawn[:2]).on(2) + rows_from(drawn[2:4]) + rows_from(drawn[4:]).on(1)
    reads = [Read(site, (0, 2), (7, exact.clean.tokens.last)) for site in SITES]
    together = observe(exact.vlm, exact.recording, rows, reads, exact.answers)
    for row, context in enumerate(rows.context):
        alone = observe(
            exact.vlm, exact.recording[int(context)], rows.take(np.array([row])).on(0), reads, exact.answers
        )
        for mine, other in zip(together.reads, alone.reads, strict=True):
            assert (mine[row] - other[0]).abs().max() < 1e-9


@pytest.fixture
def attention_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Contexts of each call of attention in a walk."""
    calls: list[int] = []
    original: Callable[..., torch.Tensor] = prefix.prefix_attention

    def counted(*args: torch.Tensor) -> torch.Tensor:
        calls.append(len(args[3]))
        return original(*args)

    monkeypatch.setattr(prefix, "prefix_attention", counted)
    return calls


def test_contexts_with_the_same_rows_share_attention(case: Case, attention_calls: list[int]) -> None:
    one = unedited() + each_head(case.recording.z[1], case.positions["described"])
    rows = sum((one.on(context) for context in range(1, 3)), one)
    counterfactuals(case.vlm, case.recording, rows, case.answers)
    assert attention_calls == [3] * case.vlm.n_layers
    attention_calls.clear()
    counterfactuals(case.vlm, case.recording, one + one.on(2), case.answers)
    assert attention_calls == [2] * case.vlm.n_layers
    attention_calls.clear()
    counterfactuals(case.vlm, case.recording, one + unedited().on(1), case.answers)
    assert set(attention_calls) == {1}
    assert len(attention_calls) == 2 * case.vlm.n_layers
