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

VALUES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64"}
"""Other names of values."""


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
        try:
            spec = from_json(type(spec), {**to_json(spec), field: _value(value.strip())})
        except FinstError as refusal:
            valid = valid_factors(type(spec), field)[0]
            raise FinstError(f"invalid factor {factor!r} ({refusal}): expected {valid}") from refusal
    return spec


def _value(text: str) -> Any:
    """A number, truth value or null in JSON's spelling, in any case; otherwise the text itself."""
    try:
        return json.loads(text.lower())
    except ValueError:
        return VALUES.get(text, text)


def valid_factors(kind: type, *names: str) -> list[str]:
    """Every factor of a spec (or those called ``names``) with the values that it takes."""
    hints = get_type_hints(kind)
    return [f"{name}={_values(hints[name])}" for name in names or hints]


def _values(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    if hint is bool:
        return "true|false"
    if get_origin(hint) is tuple:
        return f"[{_values(get_args(hint)[0])}, ...]"
    parts = [part for part in get_args(hint) if part is not type(None)] or [hint]
    return {int: "NUMBER", float: "NUMBER"}.get(parts[0], "TEXT")
