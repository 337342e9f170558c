"""Which tokens see which, in every architecture: what a value or key affects in its own layer, and what rows skip."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from finst.engine import hooks
from finst.engine.counterfactuals import counterfactuals, observe
from finst.engine.edits import Edit, rows_from, unedited
from finst.engine.generate import generate
from finst.engine.reads import Read
from finst.engine.record import record
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid
from finst.vlm.encode import encode
from finst.vlm.families.base import Blocks
from finst.vlm.visibility import reached, visible
from tests.engine.conftest import Case, OpenCase
from tests.engine.rows import edit_at
from tests.engine.test_counterfactuals import counted_tokens
from tests.engine.test_generate import assert_same
from tests.engine.test_prefix import sees
from tests.tiny import FAMILIES
from tests.tiny.gemma import WINDOW


@pytest.mark.parametrize("window", [None, 1, 3, 20])
@pytest.mark.parametrize("blocks", [(), ((2, 5),), ((0, 3), (6, 9))])
def test_tokens_see_earlier_ones_and_their_block(blocks: Blocks, window: int | None) -> None:
    for queries, keys in product((range(9), range(4, 9), range(2, 3)), repeat=2):
        mine = visible(queries, keys, blocks, window, torch.device("cpu")).tolist()
        assert mine == [[sees(query, key, blocks, window) for key in keys] for query in queries]


def test_what_changes_reaches_its_block_from_the_first_token_on() -> None:
    assert reached(((2, 5), (7, 9)), np.arange(10)).tolist() == [0, 1, 2, 2, 2, 5, 6, 7, 7, 9]


def test_a_value_reaches_who_sees_it(family_case: Case) -> None:
    """In its own layer exactly these tokens, by the windows and blocks of the configuration."""
    vlm, tokens = family_case.vlm, family_case.clean.tokens
    image, everything = tokens.positions("image"), tuple(range(family_case.recording.length))
    gemma = vlm.reader.config.model_type == "gemma3"
    kinds = vlm.reader.config.get_text_config().layer_types if gemma else ["full_attention"] * vlm.n_layers
    blocks = ((image[0], image[-1] + 1),) if gemma else ()
    for layer, pos in product(range(vlm.n_layers), (0, image[0], image[7], image[-1], image[-1] + 1, tokens.last - 1)):
        value = torch.ones(vlm.d_head, dtype=torch.float64)
        row = (Edit(layer, tuple(range(vlm.n_kv_heads)), (pos,), value, "v", "add"),)
        z = observe(vlm, family_case.recording[0], rows_from([row]), [Read("z", (layer,), everything)], [0]).reads[0]
        changed = (z[0, 0] - family_case.recording.z[0, layer]).abs().amax((1, 2)) > 1e-12
        window = WINDOW if kinds[layer] == "sliding_attention" else None
        assert changed.tolist() == [sees(query, pos, blocks, window) for query in everything]


@pytest.fixture
def gemma(open_case: OpenCase) -> Case:
    return open_case(FAMILIES["gemma3"], "float64")


def test_windows_are_shorter_than_pictures_and_prompts(gemma: Case) -> None:
    ((start, stop),) = gemma.recording.blocks
    assert WINDOW < stop - start < gemma.recording.length
    masks = [kwargs["attention_mask"][0, 0] for kwargs in gemma.recording.layer_kwargs]
    assert [bool(mask[-1, 0]) for mask in masks] == [True, False, True]


def test_rows_carry_a_picture_from_its_first_token(gemma: Case) -> None:
    start, stop = gemma.recording.blocks[0]
    for pos in (start, start + 9, stop - 1, stop):
        row = (edit_at(gemma.vlm, np.random.default_rng(0), "z", "add", 0, [pos], 1),)
        with counted_tokens(gemma) as counts:
            counterfactuals(gemma.vlm, gemma.recording[0], rows_from([row]), gemma.answers)
        assert counts == [gemma.recording.length - (pos if pos == stop else start)] * gemma.vlm.n_layers


def test_ignored_blocks_would_be_noticed(gemma: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that began at the edited image token would leave the picture's earlier tokens unchanged."""
    row = (edit_at(gemma.vlm, np.random.default_rng(0), "resid", "add", 0, gemma.positions["patches"][-1:], 0),)
    theirs = hooks.counterfactuals(gemma.vlm, gemma.clean, rows_from([row]), gemma.answers)
    ours = counterfactuals(gemma.vlm, gemma.recording[0], rows_from([row]), gemma.answers)
    assert (ours - theirs).abs().max() < 1e-9
    monkeypatch.setattr("finst.engine.counterfactuals.reached", lambda blocks, pos: pos)
    wrong = counterfactuals(gemma.vlm, gemma.recording[0], rows_from([row]), gemma.answers)
    assert (wrong - theirs).abs().max() > 1e-4


def test_what_is_generated_moves_the_window_on(gemma: Case) -> None:
    """Until no prompt token is in it; with an edit of the prompt's first tokens and one of a generated token."""
    rng, last, new = np.random.default_rng(0), gemma.clean.tokens.last, WINDOW + 4
    edits = [edit_at(gemma.vlm, rng, "v", "add", layer, [0, last, last + 3], 2) for layer in range(3)]
    rows = unedited() + rows_from([tuple(edits)])
    ours = generate(gemma.vlm, gemma.recording[0], rows, new, stop=())
    assert_same(ours, hooks.generate(gemma.vlm, gemma.clean, rows, new, stop=()))


@pytest.mark.parametrize("cells", [2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_of_other_sizes(open_case: OpenCase, family: str, cells: int) -> None:
    vlm = open_case(FAMILIES[family], "float64").vlm
    scene = on_grid([("red", "square"), ("blue", "circle")], [(0, 0), (1, 1)], Grid(cells, cells))
    context = encode(vlm.reader, draw(scene), scene_description(scene, described=[0], target=1))
    rng, tokens = np.random.default_rng(0), context.tokens
    seen = tokens.positions("image") if tokens.unplaced else tokens.object_patches(1)
    places = (seen, tokens.described(0), (tokens.last,))
    rows = [
        (edit_at(vlm, rng, site, "add", layer, pos, 1),)
        for site in ("k", "resid")
        for layer in (0, 2)
        for pos in places
    ]
    ours = counterfactuals(vlm, record(vlm, [context])[0], unedited() + rows_from(rows), [0, 1])
    theirs = hooks.counterfactuals(vlm, context, unedited() + rows_from(rows), [0, 1])
    assert (ours - theirs).abs().max() < 1e-9
    assert ((theirs - theirs[0]).abs().amax(-1) > 1e-4).sum() > len(rows) // 2
