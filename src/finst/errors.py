"""The exception that users of finst catch, and the warning about precision."""

from __future__ import annotations

from collections.abc import Iterable


class FinstError(Exception):
    """Bad input. The message names what was wrong and what was expected; the command line exits with status 2."""


class NotFiniteError(FinstError):
    """A model's numbers, or an edit's, are NaN or infinite. The message names context, layer and likely cause."""


class PrecisionWarning(UserWarning):
    """Numbers are less precise than the differences to be measured."""


def choice(what: str, value: object, valid: Iterable[object]) -> FinstError:
    """The error for a value that is not one of the ``valid`` ones."""
    return FinstError(f"unknown {what} {value!r}: expected one of {', '.join(map(str, valid))}")
