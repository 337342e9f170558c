"""Balanced splits of pictures of two things."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_every_row_has_its_share_of_estimates_and_tests():
    spec = PhotorealSpec(trials=30, estimation=20)
    split = split_of(pictures_of(spec), spec)
    for part, each in ((split.estimation, 20), (split.test, 15)):
        assert Counter(trial.two_things.place for trial in part) == {"upper row": each, "lower row": each}
    sides = Counter((trial.two_things.place, trial.side) for trial in split.test)
    assert max(sides.values()) - min(sides.values()) <= 1
    for trial in split.test:
        rows = {obj.cell[0] for obj in trial.two_things.picture().scene.objects if obj.cell}
        assert rows == {["upper row", "lower row"].index(trial.two_things.place)}


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12).map(lambda n: 4 * n), st.integers(8, 30), st.integers(0, 99))
def test_drawings_suffice_for_every_number(estimation: int, trials: int, seed: int):
    spec = PhotorealSpec(trials=trials, estimation=estimation, seed=seed)
    split = split_of(pictures_of(spec), spec)
    assert (len(split.estimation), len(split.test)) == (2 * estimation, trials)
    assert len({trial.two_things.name for trial in (*split.estimation, *split.test)}) == estimation + trials


def test_sets_that_cannot_be_balanced_are_refused():
    spec = PhotorealSpec(trials=4, estimation=4)
    pictures = [picture for picture in drawn(24, seed=0) if picture.place == "upper row"]
    with pytest.raises(FinstError, match=r"holds 7 pictures, of which 1 pairs are mirrored .* needs 2 pairs"):
        split_of([*pictures[:2], *pictures[2::2]], spec)
    with pytest.raises(FinstError, match="holds 7 pictures, 4 to estimate from and 3 others"):
        split_of([*pictures[:6], pictures[6]], spec)
    uneven = split_of([*pictures[:6], *pictures[6::2]], spec)
    assert uneven.unmirrored == 2
    with pytest.raises(FinstError, match="estimation is 3: expected a multiple of 2"):
        split_of(pictures, replace(spec, estimation=3))


def test_numbers_that_do_not_divide_among_rows_are_refused():
    both = drawn(24, seed=0)
    spec = PhotorealSpec(trials=8, estimation=4)
    with pytest.raises(FinstError, match=r"estimation is 6: expected a multiple of 4, .* \(lower row, upper row\)"):
        split_of(both, replace(spec, estimation=6))
    with pytest.raises(FinstError, match="trials is 7: expected at least 8, so that both halves have either side"):
        split_of(both, replace(spec, trials=7))
    with pytest.raises(FinstError, match=r"\(lower row\) holds 12 pictures, 2 to estimate from and 10 others"):
        split_of(both, replace(spec, trials=30))
