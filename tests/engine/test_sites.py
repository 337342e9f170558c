"""Edits at every site: the same numbers as plain hooks and nnsight, and what follows from how a decoder is built."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.engine import hooks, nnsight
from finst.engine.counterfactuals import counterfactuals, observe
from finst.engine.edits import Edit, Rows, each_head, rows_from, unedited
from finst.engine.reads import Activations, Read, activations
from finst.engine.sites import HEAD_SITES, SITES, Site
from tests.engine.conftest import Case, OpenCase
from tests.engine.rows import edit_at, mixed_row, rows_at_all_sites
from tests.engine.test_walk import counted_tokens
from tests.tiny import Body

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
BODIES = {"grouped": Body(), "one_kv_head": Body(kv_heads=1, layers=2)}


def run(case: Case, rows: Rows) -> torch.Tensor:
    return counterfactuals(case.vlm, case.recording[0], rows, case.answers)


def whole(case: Case, site: Site) -> tuple[int, ...]:
    """All heads of a site."""
    if site not in HEAD_SITES:
        return ()
    return tuple(range(case.vlm.n_kv_heads if site in ("k", "v") else case.vlm.n_heads))


@pytest.fixture(scope="module")
def source(exact: Case) -> dict[Site, Activations]:
    """Everything inside the swapped context."""
    return activations(exact.vlm, [exact.contexts[1]], SITES)


@pytest.mark.parametrize("reference", [hooks, nnsight], ids=["hooks", "nnsight"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("body", BODIES)
def test_every_site_layer_and_op(open_case: OpenCase, body: str, dtype: str, reference: ModuleType) -> None:
    case = open_case(BODIES[body], dtype)
    rows = unedited() + rows_at_all_sites(case)
    ours = run(case, rows)
    theirs = reference.counterfactuals(case.vlm, case.clean, rows, case.answers)
    assert (ours - theirs).abs().max() < TOLERANCE[dtype]
    per_site = (theirs[1:] - theirs[0]).abs().amax(-1).view(len(SITES), -1).amax(-1)
    assert per_site.min() > 0.01


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_rows_that_differ_in_everything(exact: Case, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_from([mixed_row(exact, rng) for _ in range(rng.integers(1, 5))])
    reads = [
        Read(
            SITES[rng.integers(len(SITES))],
            tuple(rng.integers(0, exact.vlm.n_layers, 2).tolist()),
            tuple(rng.integers(0, exact.recording.length, rng.integers(1, 4)).tolist()),
            None if rng.integers(2) else (int(rng.integers(rows.count)),),
        )
        for _ in range(rng.integers(3))
    ]
    ours = observe(exact.vlm, exact.recording[0], rows, reads, exact.answers)
    theirs = hooks.observe(exact.vlm, exact.clean, rows, reads, exact.answers)
    assert (ours.logits - theirs.logits).abs().max() < 1e-9
    assert len(ours.reads) == len(theirs.reads) == len(reads)
    for mine, other in zip(ours.reads, theirs.reads, strict=True):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() < 1e-9


def test_mixed_rows_equal_nnsight(exact: Case) -> None:
    rng = np.random.default_rng(5)
    rows = rows_from([mixed_row(exact, rng) for _ in range(8)])
    assert len(rows.blocks) >= 5
    theirs = nnsight.counterfactuals(exact.vlm, exact.clean, rows, exact.answers)
    assert (run(exact, rows) - theirs).abs().max() < 1e-9


def test_patching_a_run_into_itself_changes_nothing(exact: Case) -> None:
    clean = activations(exact.vlm, [exact.clean], SITES)
    rows = rows_from(
        [
            (Edit(layer, whole(exact, site), positions, clean[site][0, layer, list(positions)], site),)
            for site in SITES
            for layer in range(exact.vlm.n_layers)
            for positions in exact.positions.values()
        ]
    )
    assert (run(exact, rows) - exact.recording.logits[0, list(exact.answers)]).abs().max() < 1e-9


def test_all_heads_of_a_layer_are_its_attn_out(exact: Case, source: dict[Site, Activations]) -> None:
    for positions in exact.positions.values():
        for layer in range(exact.vlm.n_layers):
            values = {site: source[site][0, layer, list(positions)] for site in ("z", "attn_out")}
            rows = rows_from(
                [
                    (Edit(layer, whole(exact, "z"), positions, values["z"]),),
                    (Edit(layer, (), positions, values["attn_out"], "attn_out"),),
                ]
            )
            first, second = run(exact, rows)
            assert (first - second).abs().max() < 1e-9


def test_resid_carries_everything(exact: Case, source: dict[Site, Activations]) -> None:
    """The whole residual stream of a layer, or the last token's after the last layer, makes the run the source's."""
    last, layers = (exact.clean.tokens.last,), exact.vlm.n_layers
    everywhere = tuple(range(exact.recording.length))
    rows = [(Edit(layer, (), everywhere, source["resid"][0, layer], "resid"),) for layer in range(layers)]
    rows.append((Edit(layers - 1, (), last, source["resid"][0, -1, -1], "resid"),))
    logits = counterfactuals(exact.vlm, exact.recording[0], rows_from(rows), None)
    assert logits.shape == (layers + 1, exact.recording.logits.shape[1])
    assert (logits - exact.recording.logits[1]).abs().max() < 1e-9
    assert (exact.recording.logits[1] - exact.recording.logits[0]).abs().max() > 0.01


def test_adding_to_mlp_out_adds_to_resid(exact: Case) -> None:
    value, last = torch.from_numpy(np.random.default_rng(0).standard_normal(32)), (exact.clean.tokens.last,)
    end = exact.vlm.n_layers - 1
    rows = rows_from([(Edit(end, (), last, value, site, "add"),) for site in ("mlp_out", "resid")])
    first, second = run(exact, rows)
    assert (first - second).abs().max() < 1e-9


@pytest.mark.parametrize("site", SITES)
def test_no_effect_before_the_edited_token(exact: Case, site: Site) -> None:
    rng = np.random.default_rng(1)
    first = exact.positions["described"][0]
    row = (edit_at(exact.vlm, rng, site, "add", 1, exact.positions["described"], 4),)
    layers, positions = tuple(range(exact.vlm.n_layers)), tuple(range(first + 1))
    edited = observe(exact.vlm, exact.recording[0], rows_from([row]), [Read("resid", layers, positions)], [0])
    clean = activations(exact.vlm, [exact.clean], ["resid"], positions)["resid"][0]
    differences = (edited.reads[0][0] - clean).abs().amax(-1)
    assert differences[:, :first].max() < 1e-9
    assert differences[0].max() < 1e-9
    assert differences[1:, first].min() > 1e-6


@pytest.mark.parametrize("site", ["k", "v"])
def test_a_kv_head_acts_on_its_query_heads_alone_and_through_them(exact: Case, site: Site) -> None:
    rng, group = np.random.default_rng(2), exact.vlm.n_heads // exact.vlm.n_kv_heads
    start = exact.positions["patches"][0]
    onwards, layer = tuple(range(start, exact.recording.length)), 1
    for kv_head in range(exact.vlm.n_kv_heads):
        value = torch.from_numpy(rng.standard_normal(8))
        rows = rows_from([(Edit(layer, (kv_head,), (start,), value, site),)])
        edited = observe(exact.vlm, exact.recording[0], rows, [Read("z", (layer,), onwards)], exact.answers)
        z = edited.reads[0][0, 0]
        mine = range(kv_head * group, (kv_head + 1) * group)
        changed = (z - exact.recording.z[0, layer, start:]).abs().amax(dim=(0, 2))
        assert set(torch.nonzero(changed > 1e-9).flatten().tolist()) == set(mine)
        same = rows_from([(Edit(layer, tuple(mine), onwards, z[:, list(mine)]),)])
        assert (run(exact, same) - edited.logits).abs().max() < 1e-9


def test_a_query_acts_at_its_own_head_and_token_alone(exact: Case) -> None:
    positions, layer = tuple(range(exact.recording.length)), 1
    token = exact.positions["described"][0]
    rows = rows_from([(Edit(layer, (2,), (token,), torch.ones(8, dtype=torch.float64), "q"),)])
    z = observe(exact.vlm, exact.recording[0], rows, [Read("z", (layer,), positions)], [0]).reads[0][0, 0]
    changed = (z - exact.recording.z[0, layer]).abs().amax(-1) > 1e-9
    assert torch.nonzero(changed).tolist() == [[token, 2]]


@pytest.mark.parametrize("site", SITES)
def test_zero_is_replacement_by_zeros_and_add_has_a_coefficient(
    exact: Case, source: dict[Site, Activations], site: Site
) -> None:
    clean = activations(exact.vlm, [exact.clean], [site])[site]
    positions, heads = exact.positions["described"], whole(exact, site)
    there, here = (x[0, 1, list(positions)] for x in (source[site], clean))
    alike = [
        [Edit(1, heads, positions, None, site, "zero"), Edit(1, heads, positions, torch.zeros(1), site)],
        [Edit(1, heads, positions, there, site), Edit(1, heads, positions, there - here, site, "add")],
        [
            Edit(1, heads, positions, there, site, "add", coefficient=-2.5),
            Edit(1, heads, positions, -2.5 * there, site, "add"),
        ],
    ]
    logits = run(exact, rows_from([(edit,) for pair in alike for edit in pair])).view(3, 2, -1)
    assert (logits[:, 0] - logits[:, 1]).abs().max() < 1e-9
    assert (logits - exact.recording.logits[0, list(exact.answers)]).abs().amax((1, 2)).min() > 1e-6


def test_kv_heads_one_row_each(exact: Case, source: dict[Site, Activations]) -> None:
    positions = exact.positions["patches"]
    for site in ("k", "v"):
        listed = rows_from(
            [
                (Edit(layer, (head,), positions, source[site][0, layer, list(positions)][:, [head]], site),)
                for layer in range(exact.vlm.n_layers)
                for head in range(exact.vlm.n_kv_heads)
            ]
        )
        assert (run(exact, each_head(source[site][0], positions, site)) - run(exact, listed)).abs().max() < 1e-9


def test_swapped_answers_flip_the_sign(exact: Case) -> None:
    rows = unedited() + rows_at_all_sites(exact, ["add"])
    there, back = (
        counterfactuals(exact.vlm, exact.recording[0], rows, answers).diff(dim=1)
        for answers in (exact.answers[:2], exact.answers[1::-1])
    )
    assert torch.equal(there, -back)


def test_order_and_chunks_do_not_matter(exact: Case) -> None:
    rng = np.random.default_rng(3)
    rows = unedited() + rows_from([mixed_row(exact, rng) for _ in range(20)]) + rows_at_all_sites(exact, ["zero"])
    reads = [Read("k", (0, 2), (5, exact.clean.tokens.last)), Read("resid", (2,), (9,), rows=(4, 0))]
    straight = observe(exact.vlm, exact.recording[0], rows, reads, exact.answers)
    for max_memory in (1, 300_000):
        parts = observe(exact.vlm, exact.recording[0], rows, reads, exact.answers, max_memory=max_memory)
        for one, other in zip((straight.logits, *straight.reads), (parts.logits, *parts.reads), strict=True):
            assert (one - other).abs().max() < 1e-9
    order = rng.permutation(rows.count)
    shuffled = observe(exact.vlm, exact.recording[0], rows.take(order), reads[:1], exact.answers)
    assert (straight.logits[torch.from_numpy(order)] - shuffled.logits).abs().max() < 1e-9
    assert (straight.reads[0][torch.from_numpy(order)] - shuffled.reads[0]).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("site", "layer", "expected"),
    [
        *[(site, 1, [3, 3]) for site in SITES if site != "resid"],
        ("resid", 0, [3, 3]),
        ("resid", 1, [3]),
        ("resid", 2, []),
    ],
)
def test_no_work_before_the_first_edit(case: Case, site: Site, layer: int, expected: list[int]) -> None:
    row = (edit_at(case.vlm, np.random.default_rng(0), site, "add", layer, [case.clean.tokens.last - 2], 1),)
    with counted_tokens(case) as counts:
        run(case, rows_from([row]))
    assert counts == expected


def test_a_read_makes_its_rows_alone_begin_earlier(case: Case) -> None:
    last = case.clean.tokens.last
    rows = rows_from([(Edit(2, (0,), (last,), torch.zeros(1)),)] * 3)
    with counted_tokens(case) as counts:
        observe(case.vlm, case.recording[0], rows, [Read("mlp_out", (1,), (last - 4,), rows=(1,))], [0])
    assert counts == [5, 5 + 1 + 1]
