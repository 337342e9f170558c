"""Greedy decoding: the choice of tokens, the ends of rows, and generated rows as texts."""

from __future__ import annotations

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from finst.engine.greedy import PADDING, Generated, Greedy, cut_short, empty_generation, greedy
from finst.errors import FinstError
from tests.engine.conftest import Case

LOGITS = torch.tensor([[0.0, 3.0, 3.0, -1.0], [2.0, -1.0, 1.0, 0.5]])
PREVIOUS = torch.tensor([[1, 1], [3, 0]])


def choice(penalty: float) -> Greedy:
    return Greedy(torch.tensor([2]), penalty)


def test_the_likeliest_token_with_the_lowest_id() -> None:
    chosen, logits = choice(1.0).choose(LOGITS, PREVIOUS)
    assert chosen.tolist() == [1, 0]
    assert logits.tolist() == [3.0, 2.0]


def test_a_penalty_divides_positive_logits_of_previous_tokens_and_multiplies_negative_ones() -> None:
    chosen, logits = choice(4.0).choose(LOGITS, PREVIOUS)
    penalised = torch.tensor([[0.0, 0.75, 3.0, -1.0], [0.5, -1.0, 1.0, 0.125]])
    theirs = RepetitionPenaltyLogitsProcessor(4.0)(PREVIOUS, LOGITS)  # pyright: ignore[reportArgumentType]
    assert torch.equal(theirs, penalised)
    assert chosen.tolist() == penalised.argmax(dim=1).tolist() == [2, 2]
    assert logits.tolist() == [3.0, 1.0], "logits are those before the penalty"


def test_rows_end_with_stop_tokens() -> None:
    assert choice(1.0).ends(torch.tensor([0, 2, 3])).tolist() == [False, True, False]
    assert Greedy(torch.tensor([], dtype=torch.long), 1.0).ends(torch.tensor([0, 2])).tolist() == [False, False]


def test_lengths_leave_out_padding_and_slices_share_memory() -> None:
    generated = Generated(torch.tensor([[5, 6, 7], [8, PADDING, PADDING], [PADDING] * 3]), torch.zeros(3, 3))
    assert generated.lengths.tolist() == [3, 1, 0]
    generated[1:].tokens[0, 1] = 9
    assert generated.lengths.tolist() == [3, 2, 0]


def test_an_empty_generation_is_padding(case: Case) -> None:
    empty = empty_generation(case.vlm, 2, 3)
    assert (empty.tokens == PADDING).all()
    assert empty.logits.isnan().all()
    assert (empty.tokens.shape, empty.logits.dtype) == ((2, 3), torch.float32)
    assert empty.texts(case.vlm.reader) == ["", ""]


def test_rows_are_cut_short_without_the_checkpoints_end_token(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case.vlm.model.generation_config, "eos_token_id", [4, 5])
    tokens = torch.tensor([[1, 2], [1, 4], [5, PADDING], [4, 1]])
    assert cut_short(case.vlm, Generated(tokens, torch.zeros(4, 2))).tolist() == [True, False, False, True]


def test_stop_tokens_are_the_checkpoints_by_default(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case.vlm.model.generation_config, "eos_token_id", 7)
    assert greedy(case.vlm, 1, None, 1.0).stop.tolist() == [7]
    assert greedy(case.vlm, 1, (3, 4), 1.0).stop.tolist() == [3, 4]
    assert greedy(case.vlm, 1, (), 1.3).penalty == 1.3


@pytest.mark.parametrize(
    ("new_tokens", "stop", "penalty", "message"),
    [
        (0, None, 1.0, "got 0"),
        (1, [10**6], 1.0, "got 1000000"),
        (1, [-1], 1.0, "got -1"),
        (1, None, 0.0, "got 0.0"),
        (1, None, float("inf"), "got inf"),
    ],
)
def test_refusals(case: Case, new_tokens: int, stop: list[int] | None, penalty: float, message: str) -> None:
    with pytest.raises(FinstError, match=message):
        greedy(case.vlm, new_tokens, stop, penalty)
