"""Balanced splits of pictures of two things."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from finst.errors import FinstError
from finst.experiments.interventions.photoreal.design import SideTrial, drawn, mirrored, pictures_of, split_of
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.scenes.side_by_side_pairs import DrawnSided, TwoThingPicture


def scene_of(picture: TwoThingPicture) -> frozenset[Any]:
    return frozenset(picture.picture().scene.objects)


def test_estimation_is_mirrored_and_disjoint_from_the_test():
    spec = PhotorealSpec(trials=30, estimation=20)
    split = split_of(pictures_of(spec), spec)
    assert (len(split.estimation), len(split.test), split.unmirrored) == (40, 30, 0)
    described = {side: Counter[Any]() for side in ("left", "right")}
    for trial in split.estimation:
        things = trial.two_things.things
        described[trial.side][(things[trial.described], things[1 - trial.described])] += 1
    assert described["left"] == described["right"]
    pictures = [{scene_of(trial.two_things) for trial in part} for part in (split.estimation, split.test)]
    assert not pictures[0] & pictures[1]
    assert len(pictures[1]) == 30
    assert Counter(trial.side for trial in split.test) == {"left": 15, "right": 15}
    assert split_of(pictures_of(spec), spec) == split


def test_the_described_thing_is_a_hit_and_the_other_one_the_target():
    left, _ = drawn(2, seed=0)
    (first, _), (second, _) = left.things
    assert SideTrial(left, 0).roles == {first: "described", second: "target"}
    assert SideTrial(left, 1).roles == {first: "target", second: "described"}


def test_drawings_are_all_different():
    """Among as many as this, some would be there twice."""
    every = drawn(400, seed=0)
    assert len({scene_of(picture) for picture in every}) == len(every) == 400
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
