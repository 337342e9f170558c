"""Specs survive JSON, and every error names its field."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finst.errors import FinstError
from finst.runs.spec import differences, from_json, to_json


@dataclass(frozen=True)
class Inner:
    grid: tuple[int, int] = (2, 2)
    entropy: Literal["low", "high"] = "low"


@dataclass(frozen=True)
class Outer:
    model: str
    pairs: int = 50
    alpha: float = 0.05
    fast: bool = True
    revision: str | None = None
    layers: tuple[int, ...] = ()
    inner: Inner = field(default_factory=Inner)
    out: Path | None = None
    notes: dict[str, Any] = field(default_factory=dict)


numbers = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(Inner, grid=st.tuples(st.integers(), st.integers()), entropy=st.sampled_from(["low", "high"]))
outers = st.builds(
    Outer,
    model=st.text(),
    pairs=st.integers(),
    alpha=numbers,
    fast=st.booleans(),
    revision=st.none() | st.text(),
    layers=st.lists(st.integers()).map(tuple),
    inner=inners,
    notes=st.dictionaries(st.text(), st.integers() | st.text()),
)


@given(outers)
def test_specs_survive_json(spec: Outer) -> None:
    assert from_json(Outer, json.loads(json.dumps(to_json(spec)))) == spec


def test_fields_left_out_take_their_defaults() -> None:
    assert from_json(Outer, {"model": "organism"}) == Outer("organism")
    assert from_json(Outer, {"model": "m", "out": "x/y"}).out == Path("x/y")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r"Outer: the field 'model' is missing"),
        ({"model": "m", "pears": 3}, r"unknown field of Outer 'pears': expected one of model, pairs"),
        ({"model": 3}, r"Outer\.model: expected str, not 3"),
        ({"model": "m", "pairs": "50"}, r"Outer\.pairs: expected int, not '50'"),
        ({"model": "m", "pairs": True}, r"Outer\.pairs: expected int, not True"),
        ({"model": "m", "pairs": 1.0}, r"Outer\.pairs: expected int, not 1\.0"),
        ({"model": "m", "fast": 1}, r"Outer\.fast: expected bool, not 1"),
        ({"model": "m", "alpha": "low"}, r"Outer\.alpha: expected float, not 'low'"),
        ({"model": "m", "revision": 1}, r"Outer\.revision: expected str, not 1; or Outer\.revision: expected NoneType"),
        ({"model": "m", "layers": 3}, r"Outer\.layers: expected a list, not 3"),
        ({"model": "m", "layers": [1, "2"]}, r"Outer\.layers\[1\]: expected int, not '2'"),
        ({"model": "m", "inner": 3}, r"Outer\.inner: expected an object with fields, not 3"),
        ({"model": "m", "inner": {"grid": [2]}}, r"Outer\.inner\.grid: expected 2 items, not 1"),
        (
            {"model": "m", "inner": {"entropy": "middling"}},
            r"Outer\.inner\.entropy 'middling': expected one of low, high",
        ),
    ],
)
def test_errors_name_the_field(data: dict[str, Any], message: str) -> None:
    with pytest.raises(FinstError, match=message):
        from_json(Outer, data)


def test_an_int_serves_for_a_float() -> None:
    assert from_json(Outer, {"model": "m", "alpha": 1}).alpha == 1.0


def test_only_plain_values_are_kept() -> None:
    with pytest.raises(TypeError, match="a spec holds only"):
        to_json(Outer("m", notes={"model": object()}))
    with pytest.raises(TypeError, match="instance of a dataclass"):
        to_json(Outer)


@given(outers, outers)
def test_differences_are_empty_for_equal_specs_only(one: Outer, other: Outer) -> None:
    assert differences(to_json(one), to_json(one)) == []
    assert bool(differences(to_json(one), to_json(other))) == (to_json(one) != to_json(other))


def test_differences_have_both_values() -> None:
    found = differences(to_json(Outer("a", pairs=5)), to_json(Outer("b", pairs=5)))
    assert found == ["model is 'a' there and 'b' here"]
