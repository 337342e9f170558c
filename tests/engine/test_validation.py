"""Edits, reads and decoders that the engine refuses, and its error messages."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from finst.engine import nnsight
from finst.engine.attention import matches_visibility
from finst.engine.counterfactuals import counterfactuals, observe
from finst.engine.edits import Edit, Rows, each_head, rows_from, unedited
from finst.engine.reads import Read, activations
from finst.engine.record import record
from finst.errors import FinstError
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid
from finst.vlm.encode import encode
from tests.engine.conftest import Case

ZERO = torch.zeros(1)


def test_edits_name_what_is_valid() -> None:
    # The type checker of the test run may raise first.
    with pytest.raises(
        (FinstError, TypeCheckError, BeartypeCallHintViolation),
        match=r"expected one of q, k, v, z, attn_out, mlp_out, resid|'resid'",
    ):
        Edit(0, (0,), (0,), ZERO, site="o")  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        (FinstError, TypeCheckError, BeartypeCallHintViolation),
        match=r"'replace', 'add', 'zero'|expected one of replace, add, zero",
    ):
        Edit(0, (0,), (0,), ZERO, op="scale")  # pyright: ignore[reportArgumentType]
    with pytest.raises(FinstError, match="op 'add' needs a value"):
        Edit(0, (0,), (0,), op="add")
    with pytest.raises(FinstError, match="op 'zero' takes no value"):
        Edit(0, (0,), (0,), ZERO, op="zero")
    with pytest.raises(FinstError, match="op 'replace' takes no coefficient"):
        Edit(0, (0,), (0,), ZERO, coefficient=2.0)
    with pytest.raises(FinstError, match="site 'q' needs heads"):
        Edit(0, (), (0,), ZERO, site="q")
    with pytest.raises(FinstError, match="site 'resid' takes no heads"):
        Edit(0, (0,), (0,), ZERO, site="resid")
    with pytest.raises(FinstError, match=r"shape \(3, 8\) does not broadcast"):
        rows_from([(Edit(0, (0, 1), (4, 5), torch.zeros(3, 8)),)])
    with pytest.raises(FinstError, match=r"does not broadcast to \[pos, d_model\] = \[2, d_model\]"):
        rows_from([(Edit(0, (), (4, 5), torch.zeros(3, 32), "mlp_out"),)])
    with pytest.raises(FinstError, match="have 7 and 8 entries"):
        rows_from([(Edit(0, (0,), (4,), torch.zeros(7)), Edit(0, (0,), (5,), torch.zeros(8)))])
    with pytest.raises(FinstError, match="twice"):
        rows_from([(Edit(0, (0,), (4,), ZERO), Edit(0, (0, 1), (3, 4), ZERO))])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit(3, (0,), (0,), ZERO), r"layer must be in 0\.\.2; got 3\.\.3"),
        (Edit(0, (4,), (0,), ZERO), r"head of an edit at site 'z' must be in 0\.\.3; got 4\.\.4"),
        (Edit(0, (2,), (0,), ZERO, "k"), r"head of an edit at site 'k' must be in 0\.\.1"),
        (Edit(0, (0,), (10_000,), ZERO), r"position must be in"),
        (Edit(0, (0,), (0,), torch.zeros(7)), r"7 entries a head at site 'z'; the model's d_head is 8"),
        (
            Edit(0, (), (0,), torch.zeros(8), "resid"),
            r"8 entries a position at site 'resid'; the model's d_model is 32",
        ),
    ],
)
def test_rows_must_fit_the_model_and_the_context(case: Case, edit: Edit, message: str) -> None:
    with pytest.raises(FinstError, match=message):
        counterfactuals(case.vlm, case.recording[0], rows_from([(edit,)]), case.answers)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (Read("q", (3,), (0,)), r"read's layer must be in 0\.\.2; got 3\.\.3"),
        (Read("q", (0,), (-1,)), r"read's position must be in 0\.\."),
        (Read("q", (0,), (0,), rows=(0, 2)), r"read's row must be in 0\.\.1; got 0\.\.2"),
    ],
)
def test_reads_must_fit_the_model_and_the_rows(case: Case, read: Read, message: str) -> None:
    with pytest.raises(FinstError, match=message):
        observe(case.vlm, case.recording[0], unedited(2), [read], case.answers)


def test_what_is_recorded_must_be_there(case: Case) -> None:
    for reader in (activations, record):
        with pytest.raises(FinstError, match="position to read must be in"):
            reader(case.vlm, [case.clean], sites=["q"], positions=[3, 10_000])
        with pytest.raises(
            (FinstError, TypeCheckError, BeartypeCallHintViolation), match=r"expected one of q, k, v|'resid'"
        ):
            reader(case.vlm, [case.clean], sites=["o"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        (FinstError, TypeCheckError, BeartypeCallHintViolation), match=r"expected one of q, k, v|'resid'"
    ):
        Read("o", (0,), (0,))  # pyright: ignore[reportArgumentType]


def test_negative_indices_are_refused() -> None:
    with pytest.raises(FinstError, match="without negative numbers"):
        rows_from([(Edit(0, (-1,), (0,), ZERO),)])
    with pytest.raises(FinstError, match="without negative numbers"):
        rows_from([(Edit(0, (0,), (-1,), ZERO, op="add"),)])


def test_clean_contexts_must_be_in_the_recording(case: Case) -> None:
    counterfactuals(case.vlm, case.recording, unedited().on(2), case.answers)
    with pytest.raises(FinstError, match=r"clean context must be in 0\.\.2; got 0\.\.3"):
        counterfactuals(case.vlm, case.recording, unedited() + unedited().on(3), case.answers)
    with pytest.raises(IndexError):
        case.recording[3]


def test_windows_that_no_mask_makes_are_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk uses the window that attention is given, so it must be the one that the mask has."""
    monkeypatch.setattr(case.vlm.layers[1].self_attn, "sliding_window", case.recording.length)
    record(case.vlm, [case.clean])
    monkeypatch.setattr(case.vlm.layers[1].self_attn, "sliding_window", 16)
    with pytest.raises(FinstError, match=r"or not all earlier ones: .*\(window: 16; tokens that see each other: None"):
        record(case.vlm, [case.clean])


def test_decoders_that_look_ahead_are_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = case.vlm.layers[1].self_attn
    with monkeypatch.context() as patch:
        patch.setattr(attention, "is_causal", False)
        with pytest.raises(FinstError, match=r"Qwen2VLAttention lets tokens see later ones, .*: expected a causal"):
            record(case.vlm, [case.clean])
    again = record(case.vlm, [case.clean])
    assert (again.z[0] - case.recording.z[0]).abs().max() < 1e-5, "hooks and attention are restored after the refusal"


def test_masks_are_read_as_attention_reads_them() -> None:
    causal = torch.ones(1, 1, 5, 5, dtype=torch.bool).tril()
    picture = causal.clone()
    picture[..., 1:4, 1:4] = True
    windowed = picture.triu(-1)
    module = torch.nn.Identity()
    assert matches_visibility(module, None, 5, ())
    assert matches_visibility(module, None, 5, (), sliding_window=5)
    assert not matches_visibility(module, None, 5, (), is_causal=False)
    assert not matches_visibility(module, None, 5, (), sliding_window=4)
    assert not matches_visibility(module, None, 5, ((1, 4),))
    cases = [((), None), (((1, 4),), None), (((1, 4),), 2), ((), 2)]
    for mask, right in zip((causal, picture, windowed), cases, strict=False):
        for dtype in (torch.bool, torch.float32, torch.bfloat16):
            least = (False,) if dtype == torch.bool else (torch.finfo(dtype).min, float("-inf"))
            for value in least:
                given = mask if dtype == torch.bool else torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, value)
                for blocks, window in cases:
                    matches = matches_visibility(module, given, 5, blocks, sliding_window=window)
                    assert matches == ((blocks, window) == right)


def test_answers_are_tokens(case: Case) -> None:
    with pytest.raises(FinstError, match="token ids in"):
        counterfactuals(case.vlm, case.recording[0], unedited(), [10**6])
    with pytest.raises(FinstError, match="got none"):
        counterfactuals(case.vlm, case.recording[0], unedited(), [])


def test_contexts_of_a_batch_have_one_length(case: Case) -> None:
    larger = on_grid([("red", "square"), ("blue", "circle")], [(0, 0), (0, 1)], Grid(2, 2))
    other = encode(case.vlm.reader, draw(larger), scene_description(larger, [0], 1))
    with pytest.raises(FinstError, match="same number of tokens; got"):
        record(case.vlm, [case.clean, other])
    with pytest.raises(FinstError, match="no context"):
        record(case.vlm, [])


def test_nnsight_is_an_extra(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nnsight", None)
    with pytest.raises(FinstError, match=r"pip install 'finst\[nnsight\]'"):
        nnsight.counterfactuals(case.vlm, case.clean, unedited(), case.answers)


def test_rows_as_arrays_and_edit_by_edit_are_the_same(case: Case) -> None:
    source, positions = case.recording.z[1], case.positions["described"]
    layers, heads = case.vlm.n_layers, case.vlm.n_heads
    flat = unedited() + each_head(source, positions)
    listed = rows_from(
        [()]
        + [
            (Edit(layer, (head,), positions, source[layer, list(positions)][:, [head]]),)
            for layer in range(layers)
            for head in range(heads)
        ]
    )
    assert list(flat.blocks) == list(listed.blocks) == ["z"]
    for name in ("row", "layer", "pos", "head", "adds"):
        assert np.array_equal(getattr(flat.blocks["z"], name), getattr(listed.blocks["z"], name)), name
    assert torch.equal(flat.blocks["z"].value, listed.blocks["z"].value)
    assert len(flat) == len(listed) == 1 + layers * heads


def test_adding_rows_widens_values_that_are_the_same_along_d_head(case: Case) -> None:
    zero = rows_from([(Edit(0, (0,), (3,), op="zero"),)])
    both: Rows = zero + each_head(case.recording.z[1], [3])
    assert both.blocks["z"].value.shape == (1 + 12, 8)
    assert not both.blocks["z"].value[0].any()
