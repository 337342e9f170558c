"""Numbers that are not finite are named by context, layer and cause; a sum that overflows accuses nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from finst.engine import record as recording_module
from finst.engine.activations import sampled
from finst.engine.attribution import attribution
from finst.engine.counterfactuals import counterfactuals, observe
from finst.engine.edits import Edit, check_coefficients, rows_from, unedited
from finst.engine.finite import all_finite, first_bad, total
from finst.engine.generate import generate
from finst.engine.head_sets import head_sets
from finst.engine.readout import decoded
from finst.engine.reads import Read, activations
from finst.engine.record import check_recording, record
from finst.errors import FinstError, NotFiniteError
from tests.engine.conftest import Case

LAST = ("layers.1.mlp.down_proj.weight", "in layer 1", r"weights, 1 of the \d+ of .*layers\.1\.mlp\.down_proj\.weight")


@contextmanager
def damaged(case: Case, name: str, change: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """Inside, one tensor of the model is changed."""
    found = next(value for key, value in case.vlm.model.named_parameters() if key.endswith(name))
    kept = found.detach().clone()
    with torch.no_grad():
        change(found)
    try:
        yield
    finally:
        with torch.no_grad():
            found.copy_(kept)


def one_nan(tensor: torch.Tensor) -> None:
    tensor.view(-1)[3] = torch.nan


ENTRIES: dict[str, Callable[[Case], Any]] = {
    "record": lambda case: record(case.vlm, case.contexts),
    "counterfactuals": lambda case: counterfactuals(case.vlm, case.recording, unedited(2), case.answers),
    "observe": lambda case: observe(case.vlm, case.recording, unedited(), [Read("z", (1, 2), (5, 6))], None),
    "generate": lambda case: generate(case.vlm, case.recording[0], unedited(), 3),
    "activations": lambda case: activations(case.vlm, case.contexts, ["resid"]),
    "sampled": lambda case: sampled(case.vlm, case.contexts, ("z",), np.array([[3], [4], [5]])),
    "sampled without tensors": lambda case: sampled(case.vlm, case.contexts, (), np.zeros((3, 0), dtype=np.int64)),
    "attribution": lambda case: attribution(
        case.vlm, case.contexts[0], case.contexts[1], case.positions["last"], case.answers[:2]
    ),
}
"""All that hands out results."""


@pytest.mark.parametrize("entry", ENTRIES)
def test_everything_that_hands_out_numbers_refuses_a_damaged_weight(case: Case, entry: str) -> None:
    name, where, cause = LAST
    with damaged(case, name, one_nan), pytest.raises(NotFiniteError, match=rf"first {where}.*\. Likely cause: {cause}"):
        ENTRIES[entry](case)


@pytest.mark.parametrize("entry", ENTRIES)
def test_sound_numbers_pass(case: Case, entry: str) -> None:
    ENTRIES[entry](case)


def test_the_first_of_several_contexts_is_named_by_what_it_ends_in(case: Case) -> None:
    z = case.recording.z.clone()
    z[1, 2, 0, 0, 0] = torch.inf
    spoilt = replace(case.recording, z=z)
    ending = case.vlm.reader.tokenizer.decode(case.clean.input_ids[-2:].tolist()).strip()
    with pytest.raises(NotFiniteError, match=rf"context 2 of 3 \(ends in '.*{ending}'\)"):
        check_recording(case.vlm, spoilt)
    check_recording(case.vlm, spoilt[0])


def test_a_recording_that_was_not_checked_is_checked_by_what_uses_it(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a recording waits for no result: what is computed from it reads its sum."""
    monkeypatch.setattr(recording_module, "all_finite", lambda *_: True)
    with damaged(case, "layers.2.mlp.down_proj.weight", one_nan):
        spoilt = record(case.vlm, case.contexts)
    assert not all_finite(spoilt.total)
    for use in (
        lambda: counterfactuals(case.vlm, spoilt, unedited(), case.answers),
        lambda: generate(case.vlm, spoilt[0], unedited(), 2),
    ):
        with pytest.raises(NotFiniteError, match=r"context 1 of \d .* first in layer 2"):
            use()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("site", ["z", "k", "resid"])
def test_values_of_edits_that_are_not_finite_are_refused_by_site_layer_head_and_position(
    case: Case, site: Any, bad: float
) -> None:
    heads = () if site == "resid" else (1,)
    width = case.vlm.reader.config.get_text_config().hidden_size if site == "resid" else case.vlm.d_head
    value = torch.zeros(width)
    value[2] = bad
    rows = rows_from([(), (Edit(1, heads, (4, 5), value, site, "add"),)])
    expected = rf"edit 1 of 2 at site '{site}' \(row 1, layer 1{', head 1' if heads else ''}, position 4\) has values"
    for use in (
        lambda: counterfactuals(case.vlm, case.recording, rows, case.answers),
        lambda: generate(case.vlm, case.recording[0], rows, 2),
    ):
        with pytest.raises(NotFiniteError, match=expected):
            use()


def test_an_edit_at_a_generated_token_is_checked_too(case: Case) -> None:
    length = case.recording.length
    rows = rows_from([(Edit(0, (0,), (length,), torch.full((case.vlm.d_head,), torch.nan)),)])
    with pytest.raises(NotFiniteError, match=f"position {length}\\) has values that are NaN or infinite"):
        generate(case.vlm, case.recording[0], rows, 3, stop=())


def test_edits_that_the_models_format_cannot_hold_are_refused_with_their_size(case: Case) -> None:
    rows = rows_from([(Edit(1, (), (4,), torch.full((1,), 1e300, dtype=torch.float64), "resid", "add"),)])
    with pytest.raises(NotFiniteError, match=r"up to 1e\+300, beyond torch.float32"):
        counterfactuals(case.vlm, case.recording, rows, case.answers)


def test_a_finite_edit_under_which_numbers_overflow_is_the_cause(case: Case) -> None:
    last = case.positions["last"]
    rows = rows_from([(), (Edit(1, (0,), last, torch.full((case.vlm.d_head,), 3e38)),)])
    with pytest.raises(NotFiniteError, match=r"edited run 2 of 2, of context 1 of 3 .*Likely cause: edit, .* 3e\+38"):
        counterfactuals(case.vlm, case.recording, rows, case.answers)


def test_reads_are_checked_where_logits_may_not_show_them(case: Case) -> None:
    """An infinite key has no weight where its score is minus infinity."""
    large = torch.full((case.vlm.d_head,), 3e38)
    row = (Edit(2, (0,), (3,), large, "k"), Edit(2, (0,), (3,), large, "k", "add"))
    with pytest.raises(NotFiniteError, match="edited run 1 of 1"):
        observe(case.vlm, case.recording, rows_from([row]), [Read("k", (2,), (3,))], case.answers)


def test_outputs_of_the_last_layer_are_checked_when_they_are_decoded(case: Case) -> None:
    output = case.recording.output[:, -2:].clone()
    output[1, 0, 3] = torch.nan
    with pytest.raises(NotFiniteError, match=r"output 3 of 6 of the last layer .* in its own values"):
        decoded(case.vlm, output, case.answers)


def test_sums_that_overflow_are_looked_at_again_and_pass() -> None:
    large = torch.full((2, 3), 3e38)
    assert not all_finite(total(large.double() * 1e270))
    assert first_bad([large]) is None
    assert not all_finite(total(large, torch.zeros(0, 4)), None)
    assert first_bad([torch.zeros(2, 0), torch.tensor([[1.0], [torch.inf]])]) == 1


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_no_such_number_is_lost_in_a_sum(kind: torch.dtype, bad: float) -> None:
    values = torch.ones(7, 5, dtype=kind)
    assert all_finite(total(values))
    values[3, 2], values[0, 0] = bad, -bad
    assert not all_finite(total(torch.ones(2), values))


@pytest.mark.parametrize("coefficient", [float("nan"), float("inf"), -float("inf")])
def test_doses_that_are_not_finite_are_refused(coefficient: float) -> None:
    with pytest.raises(FinstError, match=r"coefficient is .*; expected a finite number"):
        Edit(1, (0,), (4,), torch.ones(8), op="add", coefficient=coefficient)
    with pytest.raises(FinstError, match=r"coefficient is .*; expected a finite number"):
        head_sets(torch.zeros(3, 1, 4, 8), (4,), np.array([[0, 0]]), (1,), (1.0, coefficient))


@pytest.mark.parametrize("coefficient", ["much", None, torch.ones(2)])
def test_doses_that_are_no_number_are_refused(coefficient: object) -> None:
    with pytest.raises(FinstError, match=r"coefficient is .*; expected a finite number"):
        check_coefficients([1.0, coefficient])


def test_heads_outside_of_the_values_are_refused() -> None:
    with pytest.raises(FinstError, match=r"expected layers in 0\.\.2 and heads in 0\.\.3"):
        head_sets(torch.zeros(3, 1, 4, 8), (4,), np.array([[0, 4]]), (1,))
