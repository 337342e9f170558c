"""Attribution compared with finite differences of the exact engine, and with the limit of its path."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from jaxtyping import TypeCheckError

from finst.engine.attribution import HeadSite, attribution
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import Edit, Rows, each_head, rows_from, unedited
from finst.engine.reads import activations
from finst.engine.record import record
from finst.engine.sites import HEAD_SITES, heads_and_width
from finst.errors import FinstError
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid
from finst.vlm.encode import encode
from tests.engine.conftest import Case, OpenCase
from tests.tiny import FAMILIES, Body

SITES = cast(tuple[HeadSite, ...], HEAD_SITES)


def estimate(case: Case, positions: Sequence[int], **how: Any) -> torch.Tensor:
    return attribution(case.vlm, case.clean, case.contexts[1], positions, case.answers[:2], **how)


def preference(case: Case, rows: Rows) -> torch.Tensor:
    """logit(a1*) - logit(a1) of every row."""
    return counterfactuals(case.vlm, case.recording[0], rows, case.answers[:2]).diff(dim=1)[:, 0]


def differences(case: Case, site: HeadSite, positions: Sequence[int]) -> torch.Tensor:
    """Source minus clean context, for every layer: [layer, pos, head, d_head]."""
    clean, source = activations(case.vlm, case.contexts[:2], [site], positions)[site]
    return source - clean


def derivatives(case: Case, site: HeadSite, positions: tuple[int, ...], *, step: float = 1e-5) -> torch.Tensor:
    """Central differences of the exact engine along each head's change."""
    change = differences(case, site, positions)
    heads, _ = heads_and_width(case.vlm, site)
    rows = rows_from(
        [
            (Edit(layer, (head,), positions, change[layer][:, [head]], site, "add", sign * step),)
            for layer in range(case.vlm.n_layers)
            for head in range(heads)
            for sign in (-1, 1)
        ]
    )
    return (preference(case, rows).view(-1, 2).diff(dim=1) / (2 * step)).view(case.vlm.n_layers, heads)


@pytest.mark.parametrize("kind", ["described", "last", "patches"])
@pytest.mark.parametrize("site", SITES)
def test_one_step_is_the_derivative_of_the_exact_score(exact: Case, site: HeadSite, kind: str) -> None:
    positions = exact.positions[kind]
    expected = derivatives(exact, site, positions)
    largest = expected.abs().max()
    assert largest > 1e-6
    assert (estimate(exact, positions, site=site) - expected).abs().max() < 1e-4 * largest + 1e-9


@pytest.mark.parametrize("positions", [(0, 9), (3,), (30, 4, 21)])
def test_any_positions_in_any_order(exact: Case, positions: tuple[int, ...]) -> None:
    """Including the first token, before which no prefix is shared, and in an order that is not the prompt's."""
    assert (estimate(exact, positions) - derivatives(exact, "z", positions)).abs().max() < 1e-7


@pytest.mark.parametrize("kind", ["described", "last", "patches"])
@pytest.mark.parametrize("site", SITES)
def test_many_steps_add_up_to_all_heads_of_a_layer(exact: Case, site: HeadSite, kind: str) -> None:
    """The path moves a layer's heads together, so their estimates sum to the exact effect of doing that."""
    positions = exact.positions[kind]
    (source,) = activations(exact.vlm, [exact.contexts[1]], [site], positions)[site]
    heads = tuple(range(heads_and_width(exact.vlm, site)[0]))
    together = rows_from([(Edit(layer, heads, positions, value, site),) for layer, value in enumerate(source)])
    logits = preference(exact, unedited() + together)
    expected = logits[1:] - logits[0]
    error_1, error_4, error_20 = (
        (estimate(exact, positions, site=site, steps=n).sum(1) - expected).abs().max() for n in (1, 4, 20)
    )
    assert error_20 < 1e-12
    assert error_1 > 1e4 * error_20
    assert kind != "patches" or 0.01 < error_1 < 2 * expected.abs().max()
    assert error_4 < error_1 / 10


def test_with_one_head_a_layer_many_steps_are_the_exact_map(open_case: OpenCase) -> None:
    case = open_case(Body(heads=1, kv_heads=1, d_head=16), "float64")
    positions = case.positions["patches"]
    logits = preference(case, unedited() + each_head(case.recording.z[1], positions))
    expected = (logits[1:] - logits[0]).view(case.vlm.n_layers, 1)
    assert (estimate(case, positions, steps=20) - expected).abs().max() < 1e-12
    assert (estimate(case, positions) - expected).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_every_architecture(open_case: OpenCase, family: str) -> None:
    case = open_case(FAMILIES[family], "float64")
    for site in SITES:
        expected = derivatives(case, site, case.positions["patches"])
        assert (estimate(case, case.positions["patches"], site=site) - expected).abs().max() < 1e-7
        assert expected.abs().max() > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_a_context_patched_into_itself_scores_nothing(exact: Case, steps: int) -> None:
    for site in SITES:
        scores = attribution(
            exact.vlm, exact.clean, exact.clean, exact.positions["described"], exact.answers[:2], site=site, steps=steps
        )
        assert scores.abs().max() < 1e-9


@pytest.mark.parametrize("steps", [1, 3])
def test_the_other_order_of_answers_flips_the_sign(exact: Case, steps: int) -> None:
    first, second = exact.answers[:2]
    context = (exact.vlm, exact.clean, exact.contexts[1], exact.positions["last"])
    there, back = (attribution(*context, pair, steps=steps) for pair in ((first, second), (second, first)))
    assert there.abs().max() > 0.01
    assert (there + back).abs().max() < 1e-9


@pytest.mark.parametrize("body", [Body(), Body(kv_heads=1, layers=2), Body(kv_heads=4, layers=2)])
def test_float32_and_shapes(open_case: OpenCase, body: Body) -> None:
    case, double = open_case(body), open_case(body, "float64")
    for site in SITES:
        for steps in (1, 3):
            scores = estimate(case, case.positions["described"], site=site, steps=steps)
            assert scores.shape == (body.layers, body.kv_heads if site in ("k", "v") else body.heads)
            expected = estimate(double, double.positions["described"], site=site, steps=steps)
            assert (scores - expected).abs().max() < 1e-4


def test_bfloat16_stays_near(open_case: OpenCase) -> None:
    case, low = open_case(), open_case(Body(), "bfloat16")
    for steps in (1, 3):
        scores = estimate(low, low.positions["last"], steps=steps)
        assert scores.dtype == torch.float32
        expected = estimate(case, case.positions["last"], steps=steps)
        assert (scores - expected).abs().max() < 0.1 * expected.abs().max() + 0.02


def hooks_left(case: Case) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in case.vlm.model.modules())


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_model_is_as_it_was(exact: Case, mode: Any, steps: int) -> None:
    """No gradient stays on a weight and no hook on a module; the caller's grad mode changes no number."""
    implementation = exact.vlm.model.config.get_text_config()._attn_implementation
    expected = estimate(exact, exact.positions["last"], steps=steps)
    with mode():
        scores = estimate(exact, exact.positions["last"], steps=steps)
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)
        assert torch.is_grad_enabled() == (mode is nullcontext)
    assert torch.equal(scores, expected)
    assert not scores.requires_grad
    assert all(weight.grad is None and not weight.requires_grad for weight in exact.vlm.model.parameters())
    assert hooks_left(exact) == 0
    assert exact.vlm.model.config.get_text_config()._attn_implementation == implementation
    again = record(exact.vlm, [exact.clean])
    assert (again.z[0] - exact.recording.z[0]).abs().max() < 1e-9


def test_a_failure_on_the_way_leaves_nothing_behind(exact: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no gradient today")

    implementation = exact.vlm.model.config.get_text_config()._attn_implementation
    for steps in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(torch.autograd, "grad", fails)
            with pytest.raises(RuntimeError, match="no gradient today"):
                estimate(exact, exact.positions["last"], steps=steps)
        assert hooks_left(exact) == 0
        assert exact.vlm.model.config.get_text_config()._attn_implementation == implementation


def test_two_threads_share_a_model(exact: Case) -> None:
    kinds = ("described", "last")
    expected = {kind: estimate(exact, exact.positions[kind], steps=2) for kind in kinds}
    estimates: dict[str, list[torch.Tensor]] = {kind: [] for kind in kinds}

    def work(kind: str) -> None:
        for _ in range(4):
            estimates[kind].append(estimate(exact, exact.positions[kind], steps=2))

    threads = [threading.Thread(target=work, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for kind in kinds:
        assert len(estimates[kind]) == 4
        assert all((scores - expected[kind]).abs().max() < 1e-9 for scores in estimates[kind])


def test_tokens_before_the_first_patched_one_are_not_run_again(exact: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass over the whole contexts, then only the tokens that a patch can affect."""
    widths: list[tuple[int, ...]] = []
    projection = cast(Any, exact.vlm.layers[-1]).self_attn.q_proj
    hook = projection.register_forward_hook(lambda *call: widths.append(tuple(call[1][0].shape[:2])))
    try:
        estimate(exact, exact.positions["last"], steps=4)
    finally:
        hook.remove()
    layers = exact.vlm.n_layers
    assert widths == [(2, exact.recording.length), (1, 1), *[(3, 1)] * layers]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "at least 1 step.*got 0 steps"),
        ({"positions": ()}, r"at least one position.*got \[\]"),
        ({"answers": (1, 2, 3)}, "3 answers"),
        ({"answers": (1, 10**6)}, "answers are token ids in"),
        ({"positions": (10_000,)}, r"position to read must be in 0\.\."),
        ({"positions": (-1,)}, r"position to read must be in 0\.\."),
        ({"positions": (3, 3)}, r"without repeats; got \[3, 3\]"),
        ({"site": "resid"}, "unknown site with heads 'resid': expected one of q, k, v, z"),
    ],
)
def test_what_is_refused(exact: Case, changes: dict[str, Any], message: str) -> None:
    arguments = SimpleNamespace(positions=(3,), answers=exact.answers[:2], site="z", steps=1)
    vars(arguments).update(changes)
    with pytest.raises((FinstError, TypeCheckError), match=f"{message}|'resid'" if "site" in changes else message):
        attribution(
            exact.vlm,
            exact.clean,
            exact.contexts[1],
            arguments.positions,
            arguments.answers,
            site=arguments.site,
            steps=arguments.steps,
        )
    assert hooks_left(exact) == 0


def test_contexts_of_one_length(exact: Case) -> None:
    larger = on_grid([("red", "square"), ("blue", "circle")], [(0, 0), (0, 1)], Grid(2, 2))
    other = encode(exact.vlm.reader, draw(larger), scene_description(larger, [0], 1))
    with pytest.raises(FinstError, match="same number of tokens"):
        attribution(exact.vlm, exact.clean, other, (3,), exact.answers[:2])
