"""Decoding of edited copies: every token is the one that full forward passes with all edits give."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.engine import generate as generate_module
from finst.engine import hooks
from finst.engine.decode_steps import by_step, sustained
from finst.engine.edits import Edit, Row, Rows, rows_from, unedited
from finst.engine.generate import generate
from finst.engine.greedy import PADDING, Generated
from finst.engine.precision import arithmetic
from finst.engine.sites import SITES
from finst.errors import FinstError
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM
from tests.engine.conftest import Case, OpenCase
from tests.engine.rows import OPS, edit_at
from tests.engine.test_counterfactuals import counted_tokens, plain_logits, state
from tests.tiny import QWEN_GEOMETRY, Body, token_types

STEPS = 5
ENDLESS: dict[str, Any] = {"stop": ()}
"""Random models may generate an end token at any time; with these options rows continue."""


def ours(case: Case, rows: Rows, steps: int = STEPS, **options: Any) -> Generated:
    return generate(case.vlm, case.recording[0], rows, steps, **ENDLESS | options)


def plain(case: Case, rows: Rows, steps: int = STEPS, **options: Any) -> Generated:
    return hooks.generate(case.vlm, case.clean, rows, steps, **ENDLESS | options)


def assert_same(generated: Generated, other: Generated, atol: float = 1e-9) -> None:
    assert torch.equal(generated.tokens, other.tokens)
    torch.testing.assert_close(generated.logits, other.logits, atol=atol, rtol=0, equal_nan=True)


def transformers_own(vlm: VLM, context: Encoded, steps: int, **options: Any) -> list[int]:
    """The tokens of the model's own ``generate``."""
    ids = context.input_ids[None]
    with arithmetic(vlm), torch.inference_mode():
        whole = vlm.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **context.image_inputs,
            **token_types(vlm, ids),
            do_sample=False,
            max_new_tokens=steps,
            **options,
        )
    return whole[0, ids.shape[1] :].tolist()


def after(case: Case, steps: int = STEPS) -> tuple[int, ...]:
    """The positions of all generated tokens that are fed back."""
    return tuple(range(case.recording.length, case.recording.length + steps - 1))


def rows_everywhere(case: Case) -> Rows:
    """One row for each site, layer and op; kinds of position take turns: prompt, generated tokens, and both."""
    rng, length = np.random.default_rng(0), case.recording.length
    patches, described, (last,) = (case.positions[kind] for kind in ("patches", "described", "last"))
    kinds = (after(case), (last,), (length + 1,), (*described, length, length + 3), (*patches, last, *after(case)))
    rows: list[Row] = []
    for site in SITES:
        for layer in range(case.vlm.n_layers):
            for op in OPS:
                rows.append((edit_at(case.vlm, rng, site, op, layer, kinds[len(rows) % 5], 1 + len(rows) % 2),))
    return rows_from(rows)


def rows_that_end_apart(case: Case) -> tuple[Rows, list[int]]:
    """Rows, one of them unedited, and stop tokens with which they end at different steps."""
    rows = unedited() + rows_everywhere(case).take(np.arange(0, 63, 4))
    stop = ours(case, rows).tokens.unique().tolist()[::3]
    return rows, stop


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("body", [Body(), QWEN_GEOMETRY, Body(kv_heads=1, layers=2)], ids=["grouped", "qwen", "one_kv"])
def test_unedited_rows_generate_what_transformers_generates(open_case: OpenCase, body: Body, penalty: float) -> None:
    case = open_case(body, "float64")
    for index, context in enumerate(case.contexts):
        expected = transformers_own(case.vlm, context, 20, repetition_penalty=penalty)
        generated = generate(case.vlm, case.recording[index], unedited(2), 20, repetition_penalty=penalty)
        for row in range(2):
            assert generated.tokens[row, : generated.lengths[row]].tolist() == expected


def test_a_repetition_penalty_changes_what_is_generated(exact: Case) -> None:
    rows = unedited() + rows_everywhere(exact).take(np.arange(0, 63, 10))
    free, penalised = ours(exact, rows, 8), ours(exact, rows, 8, repetition_penalty=1.5)
    assert not torch.equal(free.tokens, penalised.tokens)
    assert_same(penalised, plain(exact, rows, 8, repetition_penalty=1.5))


@pytest.mark.parametrize("body", [Body(), Body(kv_heads=1, layers=2)], ids=["grouped", "one_kv_head"])
def test_every_site_op_and_kind_of_position(open_case: OpenCase, body: Body) -> None:
    case = open_case(body, "float64")
    rows = unedited() + rows_everywhere(case)
    mine, other = ours(case, rows), plain(case, rows)
    assert_same(mine, other)
    changed = (other.logits[1:] - other.logits[0]).abs()
    assert changed.view(len(SITES), -1).amax(-1).min() > 0.01
    assert len(other.tokens.unique(dim=0)) > 3


def random_row(case: Case, rng: np.random.Generator) -> Row:
    """Up to four edits anywhere, including the first position and the last generated token."""
    last = case.recording.length - 1
    places = (0, 9, last - 3, last - 1, last, *after(case))
    row: list[Edit] = []
    for _ in range(rng.integers(5)):
        site = SITES[rng.integers(len(SITES))]
        op = OPS[rng.integers(3)] if all(edit.site != site for edit in row) else "add"
        chosen = rng.choice(places, rng.integers(1, 4), replace=False).tolist()
        layer, heads = int(rng.integers(case.vlm.n_layers)), int(rng.integers(1, 5))
        row.append(edit_at(case.vlm, rng, site, op, layer, chosen, heads))
    return tuple(row)


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1))
def test_rows_that_differ_in_everything(exact: Case, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_from([random_row(exact, rng) for _ in range(rng.integers(1, 5))])
    options = {
        "stop": np.unique(ours(exact, unedited()).tokens)[: rng.integers(3)].tolist(),
        "repetition_penalty": float(rng.choice([1.0, 1.2])),
    }
    assert_same(ours(exact, rows, **options), plain(exact, rows, **options))


def ablations(case: Case) -> Rows:
    """Four rows: no ablation; one in the first pass only; one in all later passes; one in every pass."""
    length, last = case.recording.length, case.clean.tokens.last
    cut = partial(Edit, 1, (0, 1), op="zero")
    prompted = rows_from([(cut((last,)),)])
    return unedited() + prompted + rows_from([(cut(after(case)),)]) + sustained(prompted, length, range(STEPS - 1))


def test_an_ablation_acts_on_every_decode_step(exact: Case) -> None:
    """Edits that reach only the first forward pass are a known failure of generation with hooks."""
    rows = ablations(exact)
    generated = ours(exact, rows)
    nothing, first_pass, later_passes, all_passes = generated.logits
    assert_same(generated, plain(exact, rows))
    assert (nothing[0] - later_passes[0]).abs() < 1e-9
    assert (nothing[1] - later_passes[1]).abs() > 1e-3
    assert (first_pass[0] - all_passes[0]).abs() < 1e-9
    assert (first_pass[1] - all_passes[1]).abs() > 1e-3


@pytest.mark.parametrize("step", range(STEPS - 1))
def test_an_edit_of_one_step_acts_from_the_next_token_on(exact: Case, step: int) -> None:
    row = (Edit(2, (0, 1, 2, 3), (exact.recording.length + step,), op="zero"),)
    nothing, edited = ours(exact, unedited() + rows_from([row])).logits
    assert (nothing[: step + 1] - edited[: step + 1]).abs().max() < 1e-9
    assert (nothing[step + 1] - edited[step + 1]).abs() > 1e-3


def test_ignored_edits_would_be_noticed(exact: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks above on an engine that edits the prompt alone, as the public reproduction does."""

    def only_the_prompt(rows: Rows, length: int, steps: int) -> tuple[dict[Any, Any], ...]:
        first, *others = by_step(rows, length, steps)
        return (first, *({} for _ in others))

    monkeypatch.setattr(generate_module, "by_step", only_the_prompt)
    for check in (
        test_an_ablation_acts_on_every_decode_step,
        partial(test_an_edit_of_one_step_acts_from_the_next_token_on, step=0),
    ):
        with pytest.raises(AssertionError):
            check(exact)


def test_sustained_rows_are_rows_written_out(exact: Case) -> None:
    rng, length = np.random.default_rng(0), exact.recording.length
    first = [edit_at(exact.vlm, rng, site, "replace", 1, (length - 1, 5), 2) for site in ("z", "mlp_out")]
    second = edit_at(exact.vlm, rng, "z", "add", 0, (5,), 3)
    rows = rows_from([tuple(first), (), (second,)])
    again = [
        Edit(e.layer, e.heads, (length, length + 2), e.value[:1], e.site, e.op) for e in first if e.value is not None
    ]
    written = rows_from([(*first, *again), (), (second,)])
    assert_same(ours(exact, sustained(rows, length, [0, 2])), ours(exact, written))
    moved = Edit(0, second.heads, (length + 1,), second.value, "z", "add", second.coefficient)
    fives = [Edit(e.layer, e.heads, (length + 1,), e.value[1:], e.site, e.op) for e in first if e.value is not None]
    written = rows_from([(*first, *fives), (), (second, moved)])
    assert_same(ours(exact, sustained(rows, length, [1], from_position=5)), ours(exact, written))
    assert_same(ours(exact, sustained(rows, length, [])), ours(exact, rows))
    assert len(sustained(unedited(3), length, [0])) == 3


def test_order_and_chunks_do_not_matter(exact: Case) -> None:
    rows, stop = rows_that_end_apart(exact)
    together = ours(exact, rows, stop=stop)
    assert len(together.lengths.unique()) > 2
    for max_memory in (1, 400_000):
        assert_same(ours(exact, rows, stop=stop, max_memory=max_memory), together)
    order = np.random.default_rng(1).permutation(rows.count)
    shuffled = ours(exact, rows.take(order), stop=stop)
    assert_same(shuffled, Generated(together.tokens[order], together.logits[order]))
    for row in (0, 5):
        assert_same(ours(exact, rows.take(np.array([row])), stop=stop), together[row : row + 1])


def test_stop_tokens_end_rows(exact: Case) -> None:
    rows, stop = rows_that_end_apart(exact)
    endless, ended = ours(exact, rows), ours(exact, rows, stop=stop)
    assert_same(ended, plain(exact, rows, stop=stop))
    for row, length in enumerate(ended.lengths.tolist()):
        tokens = endless.tokens[row].tolist()
        expected = next((step + 1 for step, token in enumerate(tokens) if token in stop), STEPS)
        assert length == expected
        assert ended.tokens[row].tolist() == tokens[:length] + [PADDING] * (STEPS - length)
        assert ended.logits[row].isnan().tolist() == [False] * length + [True] * (STEPS - length)
    assert endless.lengths.tolist() == [STEPS] * len(rows)


def test_the_checkpoint_names_its_stop_tokens(exact: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its generation_config, or else in its config, or else in its tokenizer."""
    first, second = ours(exact, unedited(), 2).tokens[0].tolist()
    assert first != second
    reader = replace(exact.vlm.reader, tokenizer=SimpleNamespace(eos_token_id=first))
    case = replace(exact, vlm=replace(exact.vlm, reader=reader))
    monkeypatch.setattr(reader.config.get_text_config(), "eos_token_id", second)
    for named, length in (([second, first], 1), (second, 2), (None, 2)):
        monkeypatch.setattr(case.vlm.model.generation_config, "eos_token_id", named)
        assert ours(case, unedited(), stop=None).lengths.tolist() == [length]
    monkeypatch.setattr(reader.config.get_text_config(), "eos_token_id", None)
    assert ours(case, unedited(), stop=None).lengths.tolist() == [1]
    reader.tokenizer.eos_token_id = None
    assert ours(case, unedited(), stop=None).lengths.tolist() == [STEPS]


def test_equals_are_broken_by_the_lowest_id(exact: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    head = exact.vlm.model.get_output_embeddings()
    weight = torch.zeros_like(head.weight)
    weight[[40, 301, 7], 0] = 1.0
    weight[[11, 200], 0] = -1.0
    monkeypatch.setitem(head._parameters, "weight", torch.nn.Parameter(weight, requires_grad=False))
    rows = unedited() + rows_everywhere(exact).take(np.arange(0, 63, 4))
    generated = ours(exact, rows)
    assert set(generated.tokens.unique().tolist()) == {7, 11}
    assert_same(generated, plain(exact, rows))


def test_work_is_shared_and_ends_with_its_rows(exact: Case) -> None:
    """The shared prefix is not computed again, and rows that have ended leave the batch."""
    rows, stop = rows_that_end_apart(exact)
    lengths = ours(exact, rows, stop=stop).lengths
    first = min(int(block.pos.min()) for block in rows.blocks.values())
    alive = [int((lengths > step).sum()) for step in range(int(lengths.max()))]
    with counted_tokens(exact) as counts:
        ours(exact, rows, stop=stop)
    expected = [len(rows) * (exact.recording.length - first), *alive[1:]]
    assert counts == [tokens for tokens in expected for _ in range(exact.vlm.n_layers)]
    assert alive[-1] < len(rows)
    with counted_tokens(exact) as counts:
        ours(exact, unedited(2))
    assert counts == [2] * STEPS * exact.vlm.n_layers


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_number_formats(open_case: OpenCase, dtype: str) -> None:
    case = open_case(Body(), dtype)
    generated, expected = (run(case, ablations(case)) for run in (ours, plain))
    assert generated.logits.dtype == torch.float32
    assert (generated.logits[:, 0] - expected.logits[:, 0]).abs().max() < (1e-4 if dtype == "float32" else 0.1)
    if dtype == "float32":
        assert_same(generated, expected, 1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(open_case: OpenCase) -> None:
    case = open_case(Body(), "float64", "cuda")
    rows, stop = rows_that_end_apart(case)
    assert_same(ours(case, rows, stop=stop), plain(case, rows, stop=stop))


def test_no_rows_generate_nothing(exact: Case) -> None:
    assert ours(exact, unedited(0)).tokens.shape == (0, STEPS)


def test_the_model_is_left_as_it_was(case: Case) -> None:
    before, logits = state(case), plain_logits(case)
    ours(case, rows_everywhere(case))
    plain(case, ablations(case))
    assert state(case) == before
    calls = 0

    def fail_later(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("in the middle of it")

    handle = case.vlm.decoder.layers[1].mlp.register_forward_pre_hook(fail_later)
    try:
        for run in (ours, plain):
            calls = 0
            with pytest.raises(RuntimeError, match="in the middle"):
                run(case, rows_everywhere(case))
    finally:
        handle.remove()
    assert state(case) == before
    assert torch.equal(plain_logits(case), logits)


def test_what_cannot_be_generated_is_refused(exact: Case) -> None:
    length = exact.recording.length
    for run in (ours, plain):
        with pytest.raises(FinstError, match="max_new_tokens must be at least 1; got 0"):
            run(exact, unedited(), 0)
        with pytest.raises(FinstError, match=r"end a row are ids in 0\.\.\d+; got -1"):
            run(exact, unedited(), stop=[3, -1])
        for penalty in (0.0, -1.0, float("nan")):
            with pytest.raises(FinstError, match="repetition_penalty must be a positive number"):
                run(exact, unedited(), repetition_penalty=penalty)
    last = length + STEPS - 2
    ours(exact, rows_from([(Edit(0, (0,), (last,), op="zero"),)]))
    beyond = rows_from([(Edit(0, (0,), (last + 1,), op="zero"),)])
    message = rf"position \(that of the first generated token is {length}\) must be in 0\.\.{last}; got {last + 1}"
    with pytest.raises(FinstError, match=message):
        ours(exact, beyond)
    with pytest.raises(FinstError, match=rf"an edit's position must be in 0\.\.{length - 1}; got {last + 1}"):
        ours(exact, beyond, 1)
    with pytest.raises(FinstError, match="layer must be in"):
        ours(exact, rows_from([(Edit(3, (0,), (last,), op="zero"),)]))
    with pytest.raises(FinstError, match="one clean context; this one holds 3"):
        generate(exact.vlm, exact.recording, unedited(), STEPS)
    with pytest.raises(FinstError, match="no row has an edit at position 3"):
        sustained(beyond, length, [0], from_position=3)
    with pytest.raises(FinstError, match="counted from 0; got step -1"):
        sustained(beyond, length, [-1])
