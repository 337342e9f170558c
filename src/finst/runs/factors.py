"""Factors: single fields of a spec, set by name and text, as in ``--factor dtype=bf16``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from finst.errors import FinstError, choice
from finst.runs.spec import from_json, to_json

SpecT = TypeVar("SpecT")

NAMES = {"samples": "pairs"}
"""Other names of fields."""

_WORDS = {"true": True, "false": False, "null": None, "none": None}


def with_factors(spec: SpecT, factors: Sequence[str]) -> SpecT:
    """``spec`` with the fields that ``factors`` set (``NAME=VALUE``): ``dtype=bf16``, ``leak_target_colour=true``.

    Raises FinstError, naming what is valid, for a factor without a value, a field that the spec does not have, a value
    that the field does not take, and a field that is set twice.
    """
    known = {field.name for field in fields(spec)}  # pyright: ignore[reportArgumentType]
    seen: set[str] = set()
    for factor in factors:
        name, separator, value = factor.partition("=")
        field = name.strip().replace("-", "_")
        field = field if field in known else NAMES.get(field, field)
        if field not in known:
            raise choice("factor", name, valid_factors(type(spec)))
        if not separator or not value:
            raise FinstError(f"the factor {factor!r} has no value: expected {valid_factors(type(spec), field)[0]}")
        if field in seen:
            raise FinstError(f"the factor {field} is set twice: expected one value, such as {factor}")
        seen.add(field)
        spec = _with(spec, field, value.strip(), factor)
    return spec


def _with(spec: SpecT, field: str, text: str, factor: str) -> SpecT:
    """``spec`` with one field set: by the value that the text stands for or, for fields that take it, by the text."""
    refusals: list[FinstError] = []
    for value in (_value(text), text):
        try:
            return from_json(type(spec), {**to_json(spec), field: value})
        except FinstError as refusal:
            refusals.append(refusal)
    valid = valid_factors(type(spec), field)[0]
    raise FinstError(f"invalid factor {factor!r} ({refusals[0]}): expected {valid}") from refusals[0]


def _value(text: str) -> Any:
    """A number or list in JSON's spelling, a truth value or null in any case; otherwise the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def valid_factors(kind: type, *names: str) -> list[str]:
    """Every factor of a spec (or those called ``names``) with the values that it takes."""
    hints = get_type_hints(kind)
    return [f"{name}={_values(hints[name])}" for name in names or (field.name for field in fields(kind))]


def _values(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    if hint is bool:
        return "true|false"
    if get_origin(hint) is tuple:
        return f"[{_values(get_args(hint)[0])}, ...]"
    parts = [part for part in get_args(hint) if part is not type(None)] or [hint]
    return {int: "NUMBER", float: "NUMBER"}.get(parts[0], "TEXT")
