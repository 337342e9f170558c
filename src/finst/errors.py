"""The one exception family that a user of finst ever has to catch."""

from __future__ import annotations

from collections.abc import Iterable


class FinstError(Exception):
    """Bad input. The message says what was wrong, what was expected, and what is valid; the CLI exits with status 2."""


class PrecisionWarning(UserWarning):
    """Numbers will be coarser than what they are to tell apart."""


def choice(what: str, value: object, valid: Iterable[object]) -> FinstError:
    """The error for a value that is not one of a known few."""
    return FinstError(f"unknown {what} {value!r}: expected one of {', '.join(map(str, valid))}")
