"""Steering: balanced splits, directions by role, what is written where, and models whose answer is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from finst.analysis.mediation import STAGES
from finst.engine import hooks
from finst.errors import FinstError
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.photoreal import experiment as photoreal
from finst.experiments.interventions.photoreal.design import ROLES, Question, Split, drawn, mirrored, sided_of, split_of
from finst.experiments.interventions.photoreal.experiment import (
    SITES,
    TOKENS,
    Photoreal,
    Steering,
    edits_of,
    estimated,
    rows_of,
)
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.scenes.designs import Features
from finst.scenes.draw import draw
from finst.scenes.object import Picture, Scene
from finst.scenes.side_by_side_pairs import DrawnSided, TwoThingPicture
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM, open_vlm
from finst.vlm.tokens import Role
from tests import tiny
from tests.experiments.interventions.test_interventions import STEER, maps_of


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("photoreal") / "tiny")), dtype="float64", device="cpu")


def steering_of(vlm: VLM) -> Steering:
    rng = torch.Generator().manual_seed(0)
    shape = (vlm.n_layers, vlm.n_heads, vlm.d_head)
    made = {s: torch.randn(len(TOKENS[s]), *shape, generator=rng, dtype=torch.float64) for s in STAGES}
    return Steering(made, 4, 1.0)


def two_colour_tokens(context: Encoded) -> Encoded:
    """As if the colour's word had two tokens: the one before it is one of the word, too."""
    (colour,) = context.tokens.positions("colour")
    roles = list(context.tokens.roles)
    roles[colour - 1] = Role("colour", roles[colour].object)
    return replace(context, tokens=replace(context.tokens, roles=tuple(roles)))


def scene_of(one: TwoThingPicture) -> frozenset[Any]:
    return frozenset(one.picture().scene.objects)


def test_estimation_is_mirrored_and_disjoint_from_the_test():
    spec = PhotorealSpec(trials=30, estimation=20)
    split = split_of(sided_of(spec), spec)
    assert (len(split.estimation), len(split.test), split.unmirrored) == (40, 30, 0)
    described = {side: Counter[Any]() for side in ("left", "right")}
    for one in split.estimation:
        described[one.side][(one.sided.things[one.described], one.sided.things[1 - one.described])] += 1
    assert described["left"] == described["right"]
    pictures = [{scene_of(one.sided) for one in part} for part in (split.estimation, split.test)]
    assert not pictures[0] & pictures[1]
    assert len(pictures[1]) == 30
    assert Counter(one.side for one in split.test) == {"left": 15, "right": 15}
    assert split_of(sided_of(spec), spec) == split


def test_drawings_are_all_different():
    """Among as many as this, some would be there twice."""
    every = drawn(400, seed=0)
    assert len({scene_of(one) for one in every}) == len(every) == 400
    assert len(mirrored(every)[0]) == 200


def test_pictures_pair_up_within_an_environment_alone():
    one, other = drawn(2, seed=0)
    assert isinstance(other, DrawnSided)
    assert one.things == other.things[::-1]
    beach = replace(other, environment="beach")
    assert mirrored([one, one, beach]) == ([], [one, one, beach])
    assert mirrored([one, one, other]) == ([(one, other)], [one])


def test_sets_that_cannot_be_balanced_are_refused():
    spec = PhotorealSpec(trials=4, estimation=4)
    pictures = drawn(12, seed=0)
    with pytest.raises(FinstError, match=r"holds 7 pictures, of which 1 pairs are mirrored .* needs 2 pairs"):
        split_of([*pictures[:2], *pictures[2::2]], spec)
    with pytest.raises(FinstError, match="holds 7 pictures, 4 to estimate from and 3 others"):
        split_of([*pictures[:6], pictures[6]], spec)
    uneven = split_of([*pictures[:6], *pictures[6::2]], spec)
    assert uneven.unmirrored == 2
    with pytest.raises(FinstError, match="estimation is 3: expected an even number"):
        split_of(pictures, replace(spec, estimation=3))


def test_directions_are_means_by_role_over_all_tokens_of_a_word(vlm: VLM, monkeypatch: pytest.MonkeyPatch):
    """Every other context has two tokens in its colour; against one whole pass a context, role by role."""
    plain = photoreal._answered
    described: list[tuple[int, Encoded]] = []

    def uneven(*asked: Any) -> Encoded:
        context = plain(*asked)
        context = two_colour_tokens(context) if len(described) % 3 == 0 else context
        described.append((asked[2].described, context))
        return context

    monkeypatch.setattr(photoreal, "_answered", uneven)
    found = estimated(vlm, replace(STEER, batch=3))
    assert found.contexts == len(described) / 2 == STEER.estimation
    for stage in STAGES:
        expected = []
        for kind in TOKENS[stage]:
            of: dict[int, list[torch.Tensor]] = {0: [], 1: []}
            for side, context in described:
                values = photoreal.sampled(vlm, [context], (SITES[stage],), np.array([context.tokens.positions(kind)]))  # pyright: ignore
                of[side].append(values.values[SITES[stage]][0].mean(1))  # pyright: ignore
            expected.append(torch.stack(of[1]).mean(0) - torch.stack(of[0]).mean(0))
        torch.testing.assert_close(found.to_right[stage], torch.stack(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_written_is_what_slow_hooks_write(vlm: VLM, stage: str, place: int):
    """Away from the described thing's side, each role's vector on all of its tokens; the first token as slow hooks."""
    question = split_of(sided_of(STEER), STEER).test[place]
    context = two_colour_tokens(question.seen(vlm.reader, STEER)[2])
    steering, maps = steering_of(vlm), maps_of(vlm)
    edits = edits_of(maps, STEER, stage, steering)
    assert [one.heads.name for one in edits] == ["top", "random 0", "layer-matched 0", "random direction 0"]
    assert edits[3].heads.sets == edits[0].heads.sets
    torch.testing.assert_close(edits[3].to_right.norm(dim=-1), steering.to_right[stage].norm(dim=-1))
    rows = rows_of(STEER, stage, edits, question, context)
    assert rows.count == len(edits) * len(STEER.ks) * len(STEER.doses)
    assert list(rows.blocks) == [SITES[stage]]
    block = rows.blocks[SITES[stage]]
    assert block.adds.all()
    inside = np.flatnonzero(block.row == 3)  # the strongest heads, K = 3, dose 4
    assert set(zip(block.layer[inside].tolist(), block.head[inside].tolist(), strict=True)) == set(
        maps.top(stage, 3, 0).heads
    )
    away = {"left": 1, "right": -1}[question.side]
    for at in inside:
        token = TOKENS[stage].index(context.tokens.roles[block.pos[at]].kind)
        expected = 4 * away * steering.to_right[stage][token, block.layer[at], block.head[at]]
        torch.testing.assert_close(block.value[at], expected)
    assert len(set(block.pos[inside].tolist())) == (3 if stage == "id_retrieval" else 1)
    some = rows.take(np.array([1, 3, 15]))
    slow = hooks.counterfactuals(vlm, context, some, None).argmax(-1)
    (texts,) = decode_with_edits(vlm, [context], [some], batch=1, new_tokens=1)
    assert texts == [vlm.reader.tokenizer.decode([int(token)], skip_special_tokens=True) for token in slow]


def test_cells_are_chosen_on_one_half_for_both_sides_together_and_for_controls_too():
    spec = replace(STEER, trials=32)
    sets = ["top", "random 0", "layer-matched 0", "random direction 0"]
    coords: dict[str, Any] = {"stage": list(STAGES), "set": sets, "k": list(spec.ks), "dose": list(spec.doses)}
    answers = xr.DataArray(
        np.full((32, *map(len, coords.values())), ROLES.index("target")), dims=("trial", *coords), coords=coords
    )
    left = np.arange(32) % 2 == 0
    answers.loc[{"set": "top", "k": 3, "dose": 4.0}] = 0
    answers.loc[{"set": "top", "k": 1, "dose": 1.0, "trial": left}] = 0  # one side alone
    answers.loc[{"set": "random direction 0", "k": 1, "dose": 4.0, "stage": "id_selection"}] = 0
    per_stage = {
        "heads": (("stage", "set", "k"), np.full((3, 4, 2), "L0H0")),
        "warning": (("stage", "k"), [["", "w"]] * 3),
    }
    rest: dict[str, Any] = {"said_before": ("trial", np.full(32, 1)), "estimated_from": ((), 4)}
    rest |= {"estimated_right": ((), 0.5), "unmirrored": ((), 3), **per_stage}
    labels = {"trial": np.arange(32), "side": ("trial", np.where(left, "left", "right"))}
    found = Photoreal().summarise(spec, [xr.Dataset({"said": answers, **rest}, coords=labels)])
    assert found["chosen_k"].sel(set="top").values.tolist() == [3, 3, 3]
    assert found["chosen_dose"].sel(set="top").values.tolist() == [4, 4, 4]
    assert found["n"].isel(stage=0, set=0, k=0, dose=0).values.tolist() == [16, 8, 8]
    one_sided = found.sel(stage="id_retrieval", set="top", k=1, dose=1)["after"]
    assert {group: float(one_sided.sel(group=group)) for group in ("all", "left", "right")} == {
        "all": 0.5,
        "left": 1,
        "right": 0,
    }
    account = Photoreal().account(found)
    assert "ID retrieval 100.0%, ID selection 100.0%, feature retrieval 100.0% (at most 0.0%" in account.headline
    assert "0.0% (100.0%) with random directions" in account.findings[1]
    assert "0.0% (0.0%) with random directions" in account.findings[2]
    assert "of the heads of ID selection: top 3: w" in account.findings
    assert "3 tested pictures have no mirror image" in account.findings[-1]
    assert len(Photoreal().draw(found)) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 3}, "trials is 3"),
        ({"estimation": 0}, "estimation is 0"),
        ({"ks": (1, 10_000)}, "ks holds 10000: .* has .* heads"),
        ({"doses": ()}, "doses is .*: expected one or more"),
    ],
)
def test_bad_input_is_told_before_weights_load(vlm: VLM, changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        Photoreal().check(replace(STEER, **changes), vlm.reader)


class Crowded(DrawnSided):
    """Shows a third thing, of which its words say nothing."""

    def picture(self) -> Picture:
        left, right = self.scene.objects
        third = replace(left, box=(0, 0, 56, 56))
        return draw(Scene(self.scene.width, self.scene.height, (left, right, third)))


def test_pictures_without_two_things_are_refused(vlm: VLM, monkeypatch: pytest.MonkeyPatch):
    crowded = [Crowded(one.name, one.scene) for one in drawn(8, seed=0) if isinstance(one, DrawnSided)]
    monkeypatch.setattr(photoreal, "sided_of", lambda spec: crowded)
    with pytest.raises(FinstError, match=r"picture 'drawn .*' shows 3 things: expected one on the left and one on the"):
        Photoreal().check(STEER, vlm.reader)


@dataclass(frozen=True)
class Reddish(DrawnSided):
    """A drawing whose colours are called red and red red."""

    @property
    def things(self) -> tuple[Features, Features]:
        left, right = self.scene.objects
        return ("red", left.shape), ("red red", right.shape)

    def picture(self) -> Picture:
        objects = zip(self.scene.objects, self.things, strict=True)
        named = tuple(replace(obj, colour=colour, shape=shape) for obj, (colour, shape) in objects)
        return replace(draw(self.scene), scene=replace(self.scene, objects=named))


def test_colours_that_begin_with_the_same_token_are_refused(vlm: VLM, monkeypatch: pytest.MonkeyPatch):
    """The edit acts at the first token, and could not choose between them."""
    one = drawn(2, seed=0)[0]
    assert isinstance(one, DrawnSided)
    split = Split((), (Question(Reddish(one.name, one.scene), 0),), 0)
    monkeypatch.setattr(photoreal, "split_of", lambda pictures, spec: split)
    with pytest.raises(FinstError, match="'red' and 'red red' begin with the same token"):
        Photoreal().check(STEER, vlm.reader)
