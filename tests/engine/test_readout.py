"""Logits from hidden states: the whole vocabulary, a few answers, and blocks of the vocabulary agree."""

from __future__ import annotations

import pytest
import torch

from finst.engine import readout
from finst.engine.precision import arithmetic
from finst.engine.readout import answer_logits, decoded, hidden_of, logits, output_of
from finst.errors import FinstError
from tests.engine.conftest import Case, OpenCase


def test_answers_are_entries_of_the_vocabularys_logits(exact: Case) -> None:
    hidden = exact.recording.output[:, -1]
    with arithmetic(exact.vlm):
        whole = logits(exact.vlm, hidden)
        answers = [7, 0, whole.shape[1] - 1]
        some = answer_logits(exact.vlm, hidden, answers)
        assert torch.equal(whole, answer_logits(exact.vlm, hidden, None))
    assert (whole - exact.recording.logits).abs().max() < 1e-12
    assert (some - whole[:, answers]).abs().max() < 1e-12


def test_blocks_of_the_vocabulary_change_nothing(exact: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = exact.recording.output[:, -1]
    whole = logits(exact.vlm, hidden)
    monkeypatch.setattr(readout, "_VOCAB_BLOCK", 7)
    assert (logits(exact.vlm, hidden) - whole).abs().max() < 1e-12


def test_any_tokens_can_be_decoded(exact: Case) -> None:
    hidden = exact.recording.output
    at_all = decoded(exact.vlm, hidden, [3, 5])
    assert at_all.shape == (*hidden.shape[:2], 2)
    assert (at_all[:, -1] - exact.recording.logits[:, [3, 5]]).abs().max() < 1e-12


def test_logits_of_half_precision_models_are_float32(open_case: OpenCase, case: Case) -> None:
    low = open_case(dtype="bfloat16")
    assert answer_logits(low.vlm, low.recording.output[:, -1], [1]).dtype == torch.float32
    assert logits(case.vlm, case.recording.output[:, -1]).dtype == torch.float32


def test_hidden_states_in_calls_and_results() -> None:
    x = torch.ones(1, 2, 3)
    assert hidden_of((x,), {}) is hidden_of((), {"hidden_states": x}) is x
    assert output_of((x, None)) is output_of(x) is x


@pytest.mark.parametrize("answers", [[], [-1], [10**6]])
def test_answers_outside_the_vocabulary_are_refused(case: Case, answers: list[int]) -> None:
    with pytest.raises(FinstError, match=f"got {answers or 'none'}".replace("[", r"\[").replace("]", r"\]")):
        answer_logits(case.vlm, case.recording.output[:, -1], answers)
