"""What must hold of edits in every architecture, whatever the weights: drawn rows on the families' tiny random models.

Rows mix all sites, ops, layers, heads and kinds of position. Everything is in float64: 1e-9 is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from finst.analysis.mediation import scores
from finst.engine import hooks, nnsight
from finst.engine.counterfactuals import counterfactuals, observe
from finst.engine.edits import Edit, Row, Rows, each_head, rows_from, unedited
from finst.engine.precision import arithmetic
from finst.engine.reads import Activations, Read, activations
from finst.engine.record import Recording, record
from finst.engine.sites import HEAD_SITES, SITES, Site, heads_and_width
from tests.engine.conftest import Case
from tests.engine.rows import OPS, edit_at, mixed_row
from tests.engine.test_counterfactuals import counted_tokens

SEEDS = st.integers(0, 2**32 - 1)


@dataclass(frozen=True, eq=False, repr=False)
class Known:
    """A case, all that happens inside its unedited contexts, and each context recorded without the others."""

    case: Case
    inside: Mapping[Site, Activations]
    alone: tuple[Recording, ...]


@pytest.fixture(scope="module")
def known(family_case: Case) -> Known:
    vlm, contexts = family_case.vlm, family_case.contexts
    return Known(family_case, activations(vlm, contexts, SITES), tuple(record(vlm, [context]) for context in contexts))


def run(case: Case, rows: Rows) -> torch.Tensor:
    return counterfactuals(case.vlm, case.recording[0], rows, case.answers)


def joined(parts: list[Rows]) -> Rows:
    return sum(parts[1:], parts[0])


def whole(case: Case, site: Site) -> tuple[int, ...]:
    """All heads of a site."""
    return tuple(range(heads_and_width(case.vlm, site)[0])) if site in HEAD_SITES else ()


def drawing(case: Case, seed: int) -> np.random.Generator:
    """Hypothesis gives every family the same seeds; the family's name makes the draws differ, so few are enough."""
    return np.random.default_rng([seed, *case.vlm.reader.config.model_type.encode()])


def some_positions(case: Case, rng: np.random.Generator) -> tuple[int, ...]:
    """One to six random positions in any order; sometimes the last token is among them."""
    return tuple(rng.choice(case.recording.length, rng.integers(1, 7), replace=False).tolist())


def drawn_reads(case: Case, rng: np.random.Generator, rows: int) -> list[Read]:
    """Up to two random reads, of all rows or of a single row."""
    return [
        Read(
            SITES[rng.integers(len(SITES))],
            tuple(rng.integers(0, case.vlm.n_layers, 2).tolist()),
            tuple(rng.integers(0, case.recording.length, rng.integers(1, 4)).tolist()),
            None if rng.integers(2) else (int(rng.integers(rows)),),
        )
        for _ in range(rng.integers(3))
    ]


@settings(max_examples=3)
@given(seed=SEEDS)
def test_any_rows_and_what_is_read_in_them_are_the_hook_loops(known: Known, seed: int) -> None:
    case, rng = known.case, drawing(known.case, seed)
    rows = rows_from([mixed_row(case, rng) for _ in range(rng.integers(1, 5))])
    reads = drawn_reads(case, rng, rows.count)
    ours = observe(case.vlm, case.recording[0], rows, reads, case.answers)
    theirs = hooks.observe(case.vlm, case.clean, rows, reads, case.answers)
    for mine, other in zip((ours.logits, *ours.reads), (theirs.logits, *theirs.reads), strict=True):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() < 1e-9


@settings(max_examples=1)
@given(seed=SEEDS)
def test_any_rows_are_nnsights(known: Known, seed: int) -> None:
    case, rng = known.case, drawing(known.case, seed)
    rows = rows_from([mixed_row(case, rng) for _ in range(5)])
    theirs = nnsight.counterfactuals(case.vlm, case.clean, rows, case.answers)
    assert (run(case, rows) - theirs).abs().max() < 1e-9


@pytest.mark.parametrize("reference", [hooks, nnsight], ids=["hooks", "nnsight"])
def test_every_layer_head_and_site(known: Known, reference: ModuleType) -> None:
    """One head a row, as the other context has it; positions take turns."""
    case, rows = known.case, list[Row]()
    for site in SITES:
        for layer in range(case.vlm.n_layers):
            for head in whole(case, site) or (None,):
                positions = list(case.positions.values())[len(rows) % 3]
                heads = () if head is None else (head,)
                value = known.inside[site][1, layer, list(positions)]
                edit = Edit(layer, heads, positions, value[:, list(heads)] if heads else value, site, "add")
                rows.append((edit,))
    ours = run(case, rows_from(rows))
    theirs = reference.counterfactuals(case.vlm, case.clean, rows_from(rows), case.answers)
    assert (ours - theirs).abs().max() < 1e-9
    assert ((ours - case.recording.logits[0, list(case.answers)]).abs().amax(-1) > 1e-6).sum() > len(rows) // 2


def into_itself(known: Known, context: int, edit: Edit) -> Edit:
    """Replaces what stands at an edit's place by what stands there in the unedited context."""
    there = known.inside[edit.site][context, edit.layer, list(edit.positions)]
    value = there[:, list(edit.heads)] if edit.heads else there
    return replace(edit, value=value, op="replace", coefficient=1.0)


@settings(max_examples=3)
@given(seed=SEEDS)
def test_unedited_and_self_patched_rows_are_the_clean_run(known: Known, seed: int) -> None:
    """Among rows that do change something, in every context."""
    case, rng = known.case, drawing(known.case, seed)
    parts, clean = list[Rows](), list[bool]()
    for context in rng.integers(0, 3, 6).tolist():
        row = mixed_row(case, rng)
        patch = {edit.site: into_itself(known, context, edit) for edit in row}
        clean.append(bool(rng.integers(2)))
        parts.append(rows_from([tuple(patch.values()) if clean[-1] else row]).on(context))
        parts.append(unedited().on(context))
        clean.append(True)
    rows = joined(parts)
    logits = counterfactuals(case.vlm, case.recording, rows, None)
    same = (logits - case.recording.logits[torch.from_numpy(rows.context)]).abs().amax(-1)
    assert same[torch.tensor(clean)].max() < 1e-9


@settings(max_examples=4)
@given(seed=SEEDS)
def test_all_heads_of_a_layer_are_its_attn_out(known: Known, seed: int) -> None:
    """And what an MLP adds, normed where the architecture norms it, is added to the layer's output."""
    case, rng = known.case, drawing(known.case, seed)
    layer, positions, source = int(rng.integers(case.vlm.n_layers)), some_positions(case, rng), int(rng.integers(1, 3))
    z, attn_out = (known.inside[site][source, layer, list(positions)] for site in ("z", "attn_out"))
    value = torch.from_numpy(rng.standard_normal(attn_out.shape))
    normed = getattr(case.vlm.layers[layer], "post_feedforward_layernorm", nn.Identity())
    mlp_out = known.inside["mlp_out"][0, layer, list(positions)]
    with arithmetic(case.vlm):
        added = normed(mlp_out + value) - normed(mlp_out)
    rows = rows_from(
        [
            (Edit(layer, whole(case, "z"), positions, z),),
            (Edit(layer, (), positions, attn_out, "attn_out"),),
            (Edit(layer, (), positions, value, "mlp_out", "add"),),
            (Edit(layer, (), positions, added, "resid", "add"),),
        ]
    )
    last = case.clean.tokens.last
    seen = observe(
        case.vlm, case.recording[0], rows, [Read("resid", (layer, case.vlm.n_layers - 1), (last, *positions))], None
    )
    for values in (seen.logits, *seen.reads):
        assert (values[0] - values[1]).abs().max() < 1e-9
        assert (values[2] - values[3]).abs().max() < 1e-9
    edited = seen.reads[0][:, 0, 1:]
    assert (edited - known.inside["resid"][0, layer, list(positions)]).abs().amax((1, 2))[2:].min() > 0.01


def test_resid_carries_everything(known: Known) -> None:
    """The whole residual stream of a layer, or the last token's after the last layer, makes the run the source's.

    With what is still to be added to it, where image features come in between layers: those are the clean picture's.
    """
    case, layers = known.case, known.case.vlm.n_layers
    last, everywhere = (case.clean.tokens.last,), tuple(range(case.recording.length))
    for source in (1, 2):
        resid = known.inside["resid"][source]
        moved = [added[source] - added[0] for added in case.recording.additions]
        assert all(change.abs().max() > 0.01 for change in moved)
        later = [Edit(layer, (), everywhere, change, "resid", "add") for layer, change in enumerate(moved)]
        rows: list[Row] = [
            (Edit(layer, (), everywhere, resid[layer], "resid"), *later[layer:]) for layer in range(layers)
        ]
        rows.append((Edit(layers - 1, (), last, resid[-1, -1], "resid"),))
        logits = counterfactuals(case.vlm, case.recording[0], rows_from(rows), None)
        assert logits.shape == (layers + 1, case.recording.logits.shape[1])
        assert (logits - case.recording.logits[source]).abs().max() < 1e-9
        assert (case.recording.logits[source] - case.recording.logits[0]).abs().max() > 0.01


@settings(max_examples=3)
@given(seed=SEEDS)
def test_nothing_changes_before_an_edit(known: Known, seed: int) -> None:
    """A value changes only if some edit is at its site or an earlier site, and at its token or an earlier token.

    Where tokens of a picture see each other, the edit may also be at a later token of the same picture.
    """
    case, rng = known.case, drawing(known.case, seed)
    row = mixed_row(case, rng)
    layers, length = case.vlm.n_layers, case.recording.length
    reads = [Read(site, tuple(range(layers)), tuple(range(length))) for site in SITES]
    seen = observe(case.vlm, case.recording[0], rows_from([row]), reads, [0]).reads
    reached = torch.zeros(layers * len(SITES), length, dtype=torch.bool)
    for edit in row:
        reached[edit.layer * len(SITES) + SITES.index(edit.site) :, case.first_reached(edit.positions) :] = True
    changes = {site: (there[0] - known.inside[site][0]).abs() for site, there in zip(SITES, seen, strict=True)}
    grid = torch.stack([change.flatten(2).amax(-1) for change in changes.values()], dim=1).flatten(0, 1)
    assert grid[~reached].max() < 1e-9
    for edit in row:
        there = changes[edit.site][edit.layer, list(edit.positions)]
        assert (there[:, list(edit.heads)] if edit.heads else there).amax(-1).min() > 1e-6


@pytest.mark.parametrize("site", SITES)
def test_in_the_last_layer_only_keys_and_values_of_earlier_tokens_are_read(known: Known, site: Site) -> None:
    case, rng = known.case, np.random.default_rng(1)
    end, last = case.vlm.n_layers - 1, case.clean.tokens.last
    places = (range(last), (last,))
    rows = [(edit_at(case.vlm, rng, site, op, end, positions, 4),) for positions in places for op in OPS]
    changes = (run(case, rows_from(rows)) - case.recording.logits[0, list(case.answers)]).abs().amax(-1)
    assert changes[3:].min() > 1e-6
    if site in ("k", "v"):
        assert changes[:3].min() > 1e-6
    else:
        assert changes[:3].max() < 1e-9


@pytest.mark.parametrize("site", ["k", "v"])
def test_a_kv_head_acts_on_its_query_heads_alone_and_through_them(known: Known, site: Site) -> None:
    case, rng = known.case, np.random.default_rng(2)
    group, start = case.vlm.n_heads // case.vlm.n_kv_heads, case.first_reached(case.positions["patches"])
    onwards = tuple(range(start, case.recording.length))
    for layer in range(case.vlm.n_layers):
        for kv_head in range(case.vlm.n_kv_heads):
            value = torch.from_numpy(rng.standard_normal((len(onwards), 1, case.vlm.d_head)))
            rows = rows_from([(Edit(layer, (kv_head,), onwards, value, site),)])
            edited = observe(case.vlm, case.recording[0], rows, [Read("z", (layer,), onwards)], case.answers)
            z = edited.reads[0][0, 0]
            mine = range(kv_head * group, (kv_head + 1) * group)
            changed = (z - case.recording.z[0, layer, start:]).abs().amax(dim=(0, 2))
            assert torch.nonzero(changed > 1e-9).flatten().tolist() == list(mine)
            same = rows_from([(Edit(layer, tuple(mine), onwards, z[:, list(mine)]),)])
            assert (run(case, same) - edited.logits).abs().max() < 1e-9


def test_a_query_acts_at_its_own_head_and_token_alone(known: Known) -> None:
    case, positions = known.case, tuple(range(known.case.recording.length))
    token, value = case.positions["described"][0], torch.ones(case.vlm.d_head, dtype=torch.float64)
    for layer in range(case.vlm.n_layers):
        for head in range(case.vlm.n_heads):
            rows = rows_from([(Edit(layer, (head,), (token,), value, "q"),)])
            z = observe(case.vlm, case.recording[0], rows, [Read("z", (layer,), positions)], [0]).reads[0][0, 0]
            changed = (z - case.recording.z[0, layer]).abs().amax(-1) > 1e-9
            assert torch.nonzero(changed).tolist() == [[token, head]]


@settings(max_examples=2)
@given(seed=SEEDS, max_memory=st.sampled_from([None, 1, 100_000, 300_000]))
def test_a_row_is_what_it_is_alone(known: Known, seed: int, max_memory: int | None) -> None:
    """A row's results do not depend on other rows, on order and chunks, or on other contexts of the recording."""
    case, rng = known.case, drawing(known.case, seed)
    rows = joined([rows_from([mixed_row(case, rng)]).on(int(rng.integers(3))) for _ in range(rng.integers(2, 7))])
    reads = [replace(read, rows=None) for read in drawn_reads(case, rng, rows.count)]
    together = observe(case.vlm, case.recording, rows, reads, case.answers, max_memory=max_memory)
    for row, context in enumerate(rows.context.tolist()):
        single = rows.take(np.array([row])).on(0)
        alone = observe(case.vlm, known.alone[context], single, reads, case.answers)
        for mine, other in zip((together.logits, *together.reads), (alone.logits, *alone.reads), strict=True):
            assert (mine[row] - other[0]).abs().max() < 1e-9


def test_contexts_recorded_together_or_alone(known: Known) -> None:
    for index, alone in enumerate(known.alone):
        together = known.case.recording[index]
        for name in ("z", "logits", "output"):
            assert (getattr(alone, name) - getattr(together, name)).abs().max() < 1e-9
        for name in ("inputs", "keys", "values"):
            for single, batched in zip(getattr(alone, name), getattr(together, name), strict=True):
                assert (single - batched).abs().max() < 1e-9


def test_order_does_not_matter_and_reads_follow_their_rows(known: Known) -> None:
    case, rng = known.case, np.random.default_rng(3)
    rows = joined([rows_from([mixed_row(case, rng) for _ in range(2)]).on(context) for context in range(3)])
    order = rng.permutation(rows.count)
    reads = [Read(site, (0, 2), (5, case.clean.tokens.last), rows=(4, 0)) for site in SITES]
    moved = [replace(read, rows=tuple(order.tolist().index(row) for row in (4, 0))) for read in reads]
    straight = observe(case.vlm, case.recording, rows, reads, case.answers)
    for max_memory in (None, 1):
        with counted_tokens(case) as counts:
            shuffled = observe(case.vlm, case.recording, rows.take(order), moved, case.answers, max_memory=max_memory)
        assert (len(counts) > case.vlm.n_layers) == (max_memory == 1)
        assert (straight.logits[torch.from_numpy(order)] - shuffled.logits).abs().max() < 1e-9
        for expected, read in zip(straight.reads, shuffled.reads, strict=True):
            assert (expected - read).abs().max() < 1e-9


@settings(max_examples=1)
@given(seed=SEEDS)
def test_swapped_answers_flip_the_score(known: Known, seed: int) -> None:
    case, rng = known.case, drawing(known.case, seed)
    rows = unedited() + rows_from([mixed_row(case, rng) for _ in range(4)])
    first, second = case.answers[:2]
    there, back = (
        counterfactuals(case.vlm, case.recording[0], rows, pair).numpy() for pair in ((first, second), (second, first))
    )
    np.testing.assert_array_equal(scores(there[1:], there[:1]), -scores(back[1:], back[:1]))


@settings(max_examples=3)
@given(seed=SEEDS)
def test_no_more_work_than_the_edits_can_reach(known: Known, seed: int) -> None:
    """A row is computed from its first edited layer and its first edited token on."""
    case, rng = known.case, drawing(known.case, seed)
    drawn = [row for row in (mixed_row(case, rng) for _ in range(6)) if row]
    with counted_tokens(case) as counts:
        run(case, rows_from(drawn))
    expected = [0] * case.vlm.n_layers
    for row in drawn:
        tokens = case.recording.length - min(case.first_reached(edit.positions) for edit in row)
        for layer in range(min(edit.layer + (edit.site == "resid") for edit in row), case.vlm.n_layers):
            expected[layer] += tokens
    assert counts == [tokens for tokens in expected if tokens]


def test_a_map_of_heads_runs_once_for_all_rows(known: Known) -> None:
    """The map's rows and an unedited row pass every MLP in one call, with less than half the tokens of full passes."""
    case, positions = known.case, known.case.positions["described"]
    rows = unedited() + each_head(case.recording.z[1], positions)
    with counted_tokens(case) as counts:
        run(case, rows)
    width, layers = case.recording.length - positions[0], case.vlm.n_layers
    assert counts == [width * (1 + case.vlm.n_heads * (layer + 1)) for layer in range(layers)]
    assert 2 * sum(counts) < rows.count * layers * case.recording.length
