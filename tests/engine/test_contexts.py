"""Rows of many clean contexts in one walk: the same as one walk for each context."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from finst.engine import prefix
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import each_head, unedited
from tests.engine.conftest import Case


@pytest.fixture
def attention_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of contexts of each attention call in a walk."""
    calls: list[int] = []
    original: Callable[..., torch.Tensor] = prefix.prefix_attention

    def counted(*args: torch.Tensor) -> torch.Tensor:
        calls.append(len(args[3]))
        return original(*args)

    monkeypatch.setattr(prefix, "prefix_attention", counted)
    return calls


def test_contexts_with_the_same_rows_share_attention(case: Case, attention_calls: list[int]) -> None:
    first = unedited() + each_head(case.recording.z[1], case.positions["described"])
    rows = sum((first.on(context) for context in range(1, 3)), first)
    counterfactuals(case.vlm, case.recording, rows, case.answers)
    assert attention_calls == [3] * case.vlm.n_layers
    attention_calls.clear()
    counterfactuals(case.vlm, case.recording, first + first.on(2), case.answers)
    assert attention_calls == [2] * case.vlm.n_layers
    attention_calls.clear()
    counterfactuals(case.vlm, case.recording, first + unedited().on(1), case.answers)
    assert set(attention_calls) == {1}
    assert len(attention_calls) == 2 * case.vlm.n_layers
