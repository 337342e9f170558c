"""Specs as plain JSON and back. The same frozen dataclass is the API, the command line and the record."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from finst.errors import FinstError, check_path, choice
from finst.options import full_name

SpecT = TypeVar("SpecT")


def to_json(spec: object) -> dict[str, Any]:
    """The fields of a frozen dataclass as JSON values: tuples become lists, paths strings, nested specs dicts."""
    if not is_dataclass(spec) or isinstance(spec, type):
        raise TypeError(f"a spec is an instance of a dataclass, not {spec!r}")
    return {field.name: plain(getattr(spec, field.name)) for field in fields(spec)}


def plain(value: Any) -> Any:
    """A setting as a JSON value.

    Raises TypeError for a value that no spec can hold, and FinstError for a text that is no Unicode.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        check_path(value)
        value = str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"a spec holds only numbers, texts, tuples, mappings, paths and other specs, not {value!r}")


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as cause:
        raise FinstError(f"{value!r} holds bytes that are no Unicode text: expected another name") from cause
    return value


def from_json(kind: type[SpecT], data: Mapping[str, Any]) -> SpecT:
    """The spec that ``to_json`` wrote.

    Raises FinstError naming the field when one is missing, unknown or has a value of another type.
    """
    return _spec(kind, data, kind.__name__)


def _spec(kind: type[SpecT], data: object, where: str) -> SpecT:
    if not isinstance(data, Mapping):
        raise FinstError(f"{where}: expected an object with fields, not {data!r}")
    types_of = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    unknown = sorted(map(str, set(data) - set(known)))
    if unknown:
        raise choice(f"field of {where}", unknown[0], known)
    missing = [n for n, f in known.items() if n not in data and f.default is MISSING and f.default_factory is MISSING]
    if missing:
        raise FinstError(f"{where}: the field {missing[0]!r} is missing")
    return kind(**{name: _value(types_of[name], value, f"{where}.{name}") for name, value in data.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    """``value`` as a field of type ``kind``. Texts are not converted to numbers, and a bool is no int."""
    if kind is Any:
        return value
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _any_of(arguments, value, where)
    if origin is Literal:
        named = full_name(value) if isinstance(value, str) and value not in arguments else value
        if named not in arguments:
            raise choice(where, value, arguments)
        return named
    if origin is tuple:
        return _items(arguments, value, where)
    if origin is dict and isinstance(value, Mapping):
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(kind):
        return _spec(kind, value, where)  # pyright: ignore[reportArgumentType]
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) is int and abs(value) < 1 << 1023:
        return float(value)
    if kind in (str, int, float, bool, type(None)) and type(value) is kind:
        return value
    raise FinstError(f"{where}: expected {getattr(kind, '__name__', kind)}, not {value!r}")


def _any_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    refusals: list[str] = []
    for kind in kinds:
        try:
            return _value(kind, value, where)
        except FinstError as refusal:
            refusals.append(str(refusal))
    raise FinstError("; or ".join(refusals))


def _items(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise FinstError(f"{where}: expected a list, not {value!r}")
    if kinds[-1:] == (...,):
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise FinstError(f"{where}: expected {len(kinds)} items, not {len(value)}")
    return tuple(_value(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def differences(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """One line for every field in which two specs (as JSON) differ."""
    names = [*recorded, *(name for name in current if name not in recorded)]
    absent = "absent"
    return [
        f"{name} is {recorded.get(name, absent)!r} there and {current.get(name, absent)!r} here"
        for name in names
        if recorded.get(name, absent) != current.get(name, absent)
    ]
