"""Mean keys by side, and the edits that move keys towards the other side, with the control of other layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finst.engine.record import record
from finst.experiments.interventions.key_swap.design import estimation_questions, questions
from finst.experiments.interventions.key_swap.experiment import KeySwap
from finst.experiments.interventions.key_swap.keys import MeanKeys, edit_rows, key_edits, size_of
from finst.experiments.interventions.key_swap.report import PAPER
from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments.interventions.key_swap.layers import DRAWS, LAYERS, edits_in
from tests.experiments.interventions.small import SWAP, assert_first_tokens, maps_of


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("keys") / "tiny")), dtype="float64", device="cpu")


def test_keys_are_means_over_all_patches_of_a_side(vlm: VLM):
    found = KeySwap().estimate(vlm, SWAP).values
    patches: dict[int, list[torch.Tensor]] = {0: [], 1: []}
    for question in estimation_questions(SWAP):
        context = question.encoded(vlm.reader)
        keys = record(vlm, [context], sites=["k"]).sites["k"][0]
        for index, obj in enumerate(question.scene.objects):
            assert obj.cell is not None
            patches[obj.cell[1]] += [keys[:, pos] for pos in context.tokens.object_patches(index)]
    for side, each in patches.items():
        torch.testing.assert_close(found[side], torch.stack(each).mean(0), rtol=0, atol=1e-9)


def test_keys_of_both_objects_move_towards_the_other_side(vlm: VLM):
    maps, keys = maps_of(vlm), MeanKeys(torch.randn(2, vlm.n_layers, vlm.n_kv_heads, vlm.d_head).double())
    edits = key_edits(maps, SWAP, keys)
    assert [edit.name for edit in edits][:6:5] == ["one KV head, queried", "layers, both"]
    top = maps.top("feature_retrieval", 3, 0).heads
    group = vlm.n_heads // vlm.n_kv_heads
    assert {(layer, kv) for layer, heads in edits[2].heads.items() for kv in heads} == {(a, b // group) for a, b in top}
    assert edits[5].heads == dict.fromkeys(sorted({a for a, _ in top}), tuple(range(vlm.n_kv_heads)))
    noise = next(edit for edit in edits if edit.name == "random direction 0").direction
    torch.testing.assert_close(noise.norm(dim=-1), keys.to_right.norm(dim=-1))
    question = questions(SWAP)[0]
    context = question.encoded(vlm.reader)
    rows = edit_rows(edits, (2.0,), question, context)
    block = rows.blocks["k"]
    for row, objects in ((1 + 4, [question.queried]), (1 + 5, [0, 1])):
        inside = block.row == row
        where = {pos for index in objects for pos in context.tokens.object_patches(index)}
        assert set(block.pos[inside].tolist()) == where
        for index in objects:
            cell = question.scene.objects[index].cell
            assert cell is not None
            pos = context.tokens.object_patches(index)[0]
            (at,) = np.flatnonzero(inside & (block.pos == pos) & (block.layer == top[0][0]) & (block.head == 0))
            moved = keys.values[1 - cell[1]] - keys.values[cell[1]]
            torch.testing.assert_close(block.value[at], 2 * moved[top[0][0], 0])
    assert_first_tokens(vlm, context, rows.take(np.array([0, 6])))


@pytest.mark.parametrize("holding", [(0, 2), (1, 2, 5), (0, 2, 3, 4), (0, 1, 2, 3, 4)])
def test_other_layers_hold_none_of_the_strongest_heads(holding: tuple[int, ...]):
    """As many as are edited; all of them, once, where there are no more."""
    others = [set(edit.heads) for edit in edits_in(holding) if edit.name.startswith("random layers")]
    free = LAYERS - len(holding)
    assert len(others) == (DRAWS if free > len(holding) else 1)
    for other in others:
        assert len(other) == min(len(holding), free)
        assert not other & set(holding)


@pytest.mark.parametrize(("heads", "k"), [(80, 20), (40, 20), (30, 15)])
def test_the_default_k_is_at_most_half_of_all_heads(heads: int, k: int):
    assert size_of(KeySwapSpec(), heads) == k
    assert size_of(KeySwapSpec(k=19), heads) == 19


def test_without_other_layers_there_is_no_such_control():
    names = [edit.name for edit in edits_in(range(LAYERS))]
    assert names[5:] == [PAPER, *(f"random direction {draw}" for draw in range(DRAWS))]


def test_an_edit_lists_its_kv_heads():
    edits = {edit.name: edit for edit in edits_in((0, 2))}
    assert edits[PAPER].text == "L0K* L2K*"
    assert edits["one KV head, both"].text in ("L0K0", "L2K0")
