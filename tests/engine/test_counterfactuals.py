"""The walk: no more work than needed, any order, any chunks, any thread, and the model is left unchanged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.engine import counterfactuals as walks
from finst.engine import hooks, nnsight
from finst.engine.attention import NAME, probing
from finst.engine.counterfactuals import counterfactuals, observe
from finst.engine.edits import Rows, each_head, unedited
from finst.engine.memory import CPU_MEMORY_BYTES, recording_bytes, token_budget, walk_bytes
from finst.engine.reads import Read, activations
from finst.engine.record import Recording, record
from finst.engine.schedule import chunks, first_layers, firsts, touches
from finst.engine.sites import SITES
from finst.vlm.open import VLM
from tests.engine.conftest import Case
from tests.engine.rows import rows_at_all_sites


def some_rows(case: Case) -> Rows:
    rows = unedited()
    for positions in case.positions.values():
        rows = rows + each_head(case.recording.z[1], positions)
    return rows


@contextmanager
def counted_tokens(case: Case) -> Iterator[list[int]]:
    """Number of tokens in each call of an MLP."""
    counts: list[int] = []

    def count(_: object, args: tuple[torch.Tensor]) -> None:
        counts.append(args[0].shape[:-1].numel())

    handles = [layer.mlp.register_forward_pre_hook(count) for layer in case.vlm.decoder.layers]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def test_no_rows_give_no_logits(case: Case) -> None:
    assert counterfactuals(case.vlm, case.recording[0], unedited(0), case.answers).shape == (0, 3)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), max_tokens=st.integers(1, 60))
def test_chunks_hold_every_row_once(case: Case, seed: int, max_tokens: int) -> None:
    rng = np.random.default_rng(seed)
    rows = some_rows(case)
    rows = rows.take(rng.permutation(rows.count)[: rng.integers(1, rows.count)])
    layers, length = case.vlm.n_layers, case.recording.length
    touched = touches(rows)
    parts = list(chunks(touched, layers, length, max_tokens))
    assert sorted(np.concatenate(parts)) == list(range(rows.count))
    for part in parts:
        carried = length - firsts(touched, length)[part]
        assert len(part) == 1 or carried.sum() <= max_tokens
    first_step = first_layers(touched, layers)[np.concatenate(parts)]
    assert (np.diff(first_step) >= 0).all()


def test_rows_are_split_in_halves_when_memory_runs_out(exact: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, reads = some_rows(exact), [Read("q", (0, 2), (7, exact.clean.tokens.last))]
    whole = observe(exact.vlm, exact.recording[0], rows, reads, exact.answers)
    sizes: list[int] = []
    original: Any = walks._walk

    def narrow(vlm: VLM, clean: Recording, part: Rows, *pending: Any) -> torch.Tensor:
        sizes.append(part.count)
        if part.count > most:
            raise torch.OutOfMemoryError
        return original(vlm, clean, part, *pending)

    monkeypatch.setattr(walks, "_walk", narrow)
    most = 5
    halved = observe(exact.vlm, exact.recording[0], rows, reads, exact.answers)
    assert sizes[0] == rows.count
    assert sum(size for size in sizes if size <= most) == rows.count
    assert (halved.logits - whole.logits).abs().max() < 1e-9
    assert (halved.reads[0] - whole.reads[0]).abs().max() < 1e-9
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        observe(exact.vlm, exact.recording[0], rows, reads, exact.answers)


def test_budgets_fit_the_estimated_memory_of_walks(case: Case) -> None:
    for tokens in (1, 7, 1000):
        assert token_budget(case.vlm, walk_bytes(case.vlm, tokens)) == tokens
    assert token_budget(case.vlm, 1) == 1
    assert token_budget(case.vlm, None) == token_budget(case.vlm, CPU_MEMORY_BYTES)
    recording = case.recording
    kept = (recording.z, *recording.inputs, *recording.keys, *recording.values)
    assert recording_bytes(case.vlm, 3 * recording.length) == sum(tensor.nbytes for tensor in kept)


def state(case: Case) -> list[object]:
    """What the engine must leave alone."""
    configs = [module.config._attn_implementation for module in case.vlm.model.modules() if hasattr(module, "config")]
    functions = [
        (name, module.__dict__.get("forward"), *map(len, (module._forward_hooks, module._forward_pre_hooks)))
        for name, module in case.vlm.model.named_modules()
    ]
    return [configs, functions]


def plain_logits(case: Case) -> torch.Tensor:
    return hooks.counterfactuals(case.vlm, case.clean, unedited(), range(50))


def test_the_model_is_left_as_it_was(case: Case) -> None:
    before, logits = state(case), plain_logits(case)
    rows = some_rows(case).take(np.arange(0, 36, 7)) + rows_at_all_sites(case, ["add"])
    record(case.vlm, case.contexts, sites=SITES)
    activations(case.vlm, case.contexts, SITES)
    counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    hooks.counterfactuals(case.vlm, case.clean, rows, case.answers)
    nnsight.counterfactuals(case.vlm, case.clean, rows, case.answers)
    assert state(case) == before
    assert torch.equal(plain_logits(case), logits)


def test_the_model_is_left_as_it_was_after_an_exception(case: Case) -> None:
    before, logits = state(case), plain_logits(case)

    def fail(*_: object) -> None:
        raise RuntimeError("in the middle of it")

    handle = case.vlm.decoder.layers[1].mlp.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="in the middle"):
            record(case.vlm, case.contexts, sites=SITES)
        for rows in (some_rows(case), rows_at_all_sites(case)):
            with pytest.raises(RuntimeError, match="in the middle"):
                counterfactuals(case.vlm, case.recording[0], rows, case.answers)
        with pytest.raises(RuntimeError, match="in the middle"):
            hooks.counterfactuals(case.vlm, case.clean, rows_at_all_sites(case), case.answers)
    finally:
        handle.remove()
    assert state(case) == before
    assert torch.equal(plain_logits(case), logits)


def test_the_switch_is_shared_and_the_last_user_restores_it(case: Case) -> None:
    config = case.vlm.model.config.get_text_config()
    original = config._attn_implementation
    vision = case.vlm.model.config.vision_config._attn_implementation
    with probing(case.vlm.model):
        with probing(case.vlm.model):
            assert config._attn_implementation == NAME
        assert config._attn_implementation == NAME
        assert case.vlm.model.config.vision_config._attn_implementation == vision
        assert torch.equal(plain_logits(case), plain_logits(case))
    assert config._attn_implementation == original


def test_threads_share_a_model(case: Case) -> None:
    """Two threads patch in different ways while a third runs the plain model; all start together every time."""
    sources = [each_head(case.recording.z[1], case.positions["described"]), rows_at_all_sites(case, ["replace"])]
    everything = record(case.vlm, case.contexts, sites=SITES).sites
    expected = [counterfactuals(case.vlm, case.recording[0], rows, case.answers) for rows in sources]
    plain = plain_logits(case)
    gate = threading.Barrier(3)

    def engine(index: int) -> bool:
        gate.wait()
        recording = record(case.vlm, case.contexts, sites=SITES)
        logits = counterfactuals(case.vlm, recording[0], sources[index], case.answers)
        same = all(torch.equal(recording.sites[site], everything[site]) for site in SITES)
        return torch.allclose(logits, expected[index], atol=1e-5) and same

    def onlooker() -> bool:
        gate.wait()
        return torch.allclose(plain_logits(case), plain, atol=1e-5)

    before = state(case)
    with ThreadPoolExecutor(3) as pool:
        for _ in range(20):
            outcomes = [pool.submit(engine, 0), pool.submit(engine, 1), pool.submit(onlooker)]
            assert all(outcome.result() for outcome in outcomes)
    assert state(case) == before
