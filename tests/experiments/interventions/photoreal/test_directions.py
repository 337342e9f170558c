"""Directions by token role, and the rows that add them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from finst.analysis.mediation import STAGES
from finst.engine.activations import sampled
from finst.experiments.interventions.heads import SITES
from finst.experiments.interventions.photoreal import directions
from finst.experiments.interventions.photoreal.design import pictures_of, split_of
from finst.experiments.interventions.photoreal.directions import TOKENS, Directions, edit_rows, steered_heads
from finst.experiments.interventions.photoreal.experiment import Photoreal
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM, open_vlm
from finst.vlm.tokens import Role
from tests import tiny
from tests.experiments.interventions.small import STEER, assert_first_tokens, maps_of


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("directions") / "tiny")), dtype="float64", device="cpu")


def random_directions(vlm: VLM) -> Directions:
    rng = torch.Generator().manual_seed(0)
    shape = (vlm.n_layers, vlm.n_heads, vlm.d_head)
    made = {s: torch.randn(len(TOKENS[s]), *shape, generator=rng, dtype=torch.float64) for s in STAGES}
    return Directions(made, 4, 1.0)


def two_colour_tokens(context: Encoded) -> Encoded:
    """As if the colour's word had two tokens: the one before it is one of the word, too. It may have more by itself."""
    colour, *others = context.tokens.positions("colour")
    if others:
        return context
    roles = list(context.tokens.roles)
    roles[colour - 1] = Role("colour", roles[colour].object)
    return replace(context, tokens=replace(context.tokens, roles=tuple(roles)))


def test_directions_are_means_by_role_over_all_tokens_of_a_word_in_each_row(vlm: VLM, monkeypatch: pytest.MonkeyPatch):
    """Every third context has two tokens in its colour; against one whole pass a context, role by role."""
    plain = directions.answered
    described: list[tuple[str, int, Encoded]] = []

    def uneven(*arguments: Any) -> Encoded:
        context = plain(*arguments)
        context = two_colour_tokens(context) if len(described) % 3 == 0 else context
        described.append((arguments[2].two_things.place, arguments[2].described, context))
        return context

    monkeypatch.setattr(directions, "answered", uneven)
    by_place = Photoreal().estimate(vlm, replace(STEER, batch=3))
    assert [*by_place] == ["lower row", "upper row"]
    for row, stage in product(by_place, STAGES):
        assert by_place[row].contexts == STEER.estimation / 2
        expected = []
        for kind in TOKENS[stage]:
            by_side: dict[int, list[torch.Tensor]] = {0: [], 1: []}
            for place, side, context in described:
                if place == row:
                    where = np.array([context.tokens.positions(kind)])
                    values = sampled(vlm, [context], (SITES[stage],), where).values[SITES[stage]]
                    by_side[side].append(values[0].mean(1))
            expected.append(torch.stack(by_side[1]).mean(0) - torch.stack(by_side[0]).mean(0))
        torch.testing.assert_close(by_place[row].to_right[stage], torch.stack(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_written_is_what_slow_hooks_write(vlm: VLM, stage: str, place: int):
    """Away from the described thing's side, each role's vector on all of its tokens; the first token as slow hooks."""
    trial = split_of(pictures_of(STEER), STEER).test[place]
    context = two_colour_tokens(trial.encoded(vlm.reader, STEER)[2])
    estimate, maps = random_directions(vlm), maps_of(vlm)
    steered = steered_heads(maps, STEER, stage, estimate)
    assert [each.heads.name for each in steered] == ["top", "random 0", "layer-matched 0", "random direction 0"]
    assert steered[3].heads.sets == steered[0].heads.sets
    torch.testing.assert_close(steered[3].to_right.norm(dim=-1), estimate.to_right[stage].norm(dim=-1))
    rows = edit_rows(STEER, stage, steered, trial, context)
    assert rows.count == len(steered) * len(STEER.ks) * len(STEER.doses)
    assert list(rows.blocks) == [SITES[stage]]
    block = rows.blocks[SITES[stage]]
    assert block.adds.all()
    inside = np.flatnonzero(block.row == 3)  # the strongest heads, K = 3, dose 4
    assert set(zip(block.layer[inside].tolist(), block.head[inside].tolist(), strict=True)) == set(
        maps.top(stage, 3, 0).heads
    )
    away = {"left": 1, "right": -1}[trial.side]
    for at in inside:
        token = TOKENS[stage].index(context.tokens.roles[block.pos[at]].kind)
        expected = 4 * away * estimate.to_right[stage][token, block.layer[at], block.head[at]]
        torch.testing.assert_close(block.value[at], expected)
    assert len(set(block.pos[inside].tolist())) == (3 if stage == "id_retrieval" else 1)
    assert_first_tokens(vlm, context, rows.take(np.array([1, 3, 15])))
