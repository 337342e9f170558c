"""The two things that are named in a picture, and why pictures are left out."""

from __future__ import annotations

from finst.experiments.interventions.coco.first_pass import NamedThings, left_out, things_of


def test_pictures_are_left_out_for_a_reason():
    found = [
        things_of({1: "dog", 2: "cat"}, ""),
        things_of({1: "dog"}, "cat"),
        things_of({1: "dog"}, ""),
        things_of({1: "", 2: "cat"}, ""),
        things_of({1: "dog", 2: "two dogs on a bench"}, ""),
    ]
    assert found[:2] == [NamedThings("", "dog", "cat", True), NamedThings("", "dog", "cat", False)]
    assert [things.reason for things in found[2:]] == ["no second thing", "no first thing", "one thing twice"]
    assert [things.kept for things in found] == [True, True, False, False, False]
    assert left_out(found[1:]) == "3 of 4 pictures left out: 1 no first thing, 1 no second thing, 1 one thing twice"
    assert left_out(found[:1]) == "0 of 1 pictures left out"
