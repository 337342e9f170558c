"""Which pictures a model is shown: those that can be read, that suit it, and that are not there already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar, runtime_checkable

import xarray as xr

from finst.errors import FinstError
from finst.scenes.object import Picture
from finst.scenes.picture_files import counted, listed

Reason = Literal["unreadable", "unsuited", "copy"]

REASONS: dict[Reason, str] = {
    "unreadable": "left out, as they cannot be shown",
    "unsuited": "left out, as they do not suit the model",
    "copy": "left out, as they are copies of others, pixel by pixel",
}

READING = "reading"
"""The variable of a run's data with what ``lines_of`` says, a line each."""

DOCUMENTED = {READING: ("1", "which pictures were left out or read in part, and what else was not read, a line each")}


@runtime_checkable
class Named(Protocol):
    """A picture that is read when it is needed."""

    @property
    def name(self) -> str:
        """Unique among the pictures of a run."""
        ...

    def picture(self) -> Picture:
        """Raises FinstError when it cannot be shown."""
        ...


@dataclass(frozen=True, eq=False)
class Sifted:
    """One picture, or the reason why a model is not shown it."""

    name: str
    picture: Picture | None
    reason: Reason | None = None
    fault: str = ""
    """What is wrong with it, in words, or which picture it is a copy of."""
    notes: tuple[str, ...] = ()
    """What was done to show it."""

    @property
    def without_pixels(self) -> Sifted:
        """The same, to be kept while other pictures are read."""
        return replace(self, picture=None)


NamedT = TypeVar("NamedT", bound=Named)


def sifted(pictures: Iterable[NamedT], check: Callable[[Picture], object]) -> Iterator[Sifted]:
    """Every picture in order, read when it is due. Of equal pixels only the first is shown.

    ``check`` raises FinstError for a picture that does not suit the model.
    """
    seen: dict[bytes, str] = {}
    for one in pictures:
        try:
            picture = one.picture()
        except FinstError as cause:
            yield Sifted(one.name, None, "unreadable", _fault(cause))
            continue
        digest = _digest(picture)
        if digest in seen:
            yield Sifted(one.name, None, "copy", f"of {seen[digest]}")
            continue
        seen[digest] = one.name
        try:
            check(picture)
        except FinstError as cause:
            yield Sifted(one.name, None, "unsuited", _fault(cause))
            continue
        yield Sifted(one.name, picture, notes=picture.notes)


def once_a_size(check: Callable[[Picture], object]) -> Callable[[Picture], None]:
    """``check``, called once for all pictures of one size: for pictures without objects nothing else matters."""
    faults: dict[tuple[int, int], FinstError | None] = {}

    def checked(picture: Picture) -> None:
        size = picture.scene.width, picture.scene.height
        if size not in faults:
            try:
                check(picture)
                faults[size] = None
            except FinstError as cause:
                faults[size] = cause
        if (fault := faults[size]) is not None:
            raise FinstError(str(fault))

    return checked


def lines_of(pictures: Sequence[Sifted], folder: Sequence[str] = ()) -> tuple[str, ...]:
    """What a run says about its pictures: left out by name and reason, shown with a change, ``folder``'s own lines."""
    lines: list[str] = []
    for reason, words in REASONS.items():
        faults = _names_by((one.fault, one.name) for one in pictures if one.reason == reason)
        if count := sum(map(len, faults.values())):
            named = "; ".join(f"{listed(names)} ({fault})" for fault, names in faults.items())
            lines.append(f"{count} of {len(pictures)} pictures are {words}: {named}")
    for note, names in _names_by((note, one.name) for one in pictures for note in one.notes).items():
        lines.append(f"{counted(len(names), 'picture')} shown so: {note} ({listed(names)})")
    return tuple(" ".join(line.split()) for line in (*lines, *folder))


def _names_by(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for text, name in pairs:
        names.setdefault(text, []).append(name)
    return names


def reading_lines(summary: xr.Dataset) -> tuple[str, ...]:
    """The lines in the data of a run; none in those of runs made before there was such a variable."""
    return tuple(str(summary[READING].item()).splitlines()) if READING in summary else ()


def _fault(cause: FinstError) -> str:
    """What is wrong, without what was expected: many of these stand in one line."""
    text = str(cause)
    _, _, after = text.partition("cannot be read as a picture: ")
    return (after or text).split("; expected")[0].split(": expected")[0]


def _digest(picture: Picture) -> bytes:
    return hashlib.blake2b(picture.image.tobytes(), digest_size=16, key=str(picture.image.shape).encode()).digest()
