"""The picture files in a folder and its subfolders, linked ones included, and what else lies there."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finst.errors import FinstError
from finst.scenes.read_picture import OTHER_ENDINGS, READ_ENDINGS

NAMED = 20
"""Names that are listed in full; more are only counted."""


@dataclass(frozen=True)
class PictureFiles:
    """What a folder holds."""

    files: Mapping[str, Path]
    """Files whose ending is that of a picture, by their path within the folder, sorted; they may be damaged."""
    unread: tuple[str, ...]
    """What else lies there, in words."""


@dataclass
class _Found:
    files: dict[str, Path] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    closed: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)


def picture_files(folder: Path, without: Collection[str] = ()) -> PictureFiles:
    """Looks through a folder, its subfolders except those named in ``without``, and the folders that are linked there.

    Every folder is read once, however often it is linked, so loops end. Hidden files and folders (of names that begin
    with a dot) are left alone, since systems keep shadows of pictures in them. Raises FinstError when the folder is
    missing or cannot be opened.
    """
    if not os.path.isdir(folder):
        raise FinstError(f"{folder} is no folder: expected a folder of pictures")
    found, seen = _Found(), set[tuple[int, int]]()
    real, linked = deque([folder]), deque[Path]()
    while real or linked:
        here = (real or linked).popleft()
        try:
            status = here.stat()
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as cause:
            if here == folder:
                raise FinstError(
                    f"{folder} cannot be opened ({cause.strerror}): expected a folder of pictures"
                ) from cause
            found.closed.append(f"{_name(here, folder)} ({cause.strerror})")
            continue
        if (status.st_dev, status.st_ino) in seen:
            found.again.append(_name(here, folder))
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            path = here / entry.name
            if entry.name.startswith("."):
                found.hidden.append(_name(path, folder))
            elif _is_folder(entry):
                if entry.name not in without:
                    (linked if entry.is_symlink() else real).append(path)
            elif path.suffix.lower() in (*READ_ENDINGS, *OTHER_ENDINGS):
                found.files[_name(path, folder)] = path
            else:
                found.endings[path.suffix.lower() or "no ending"] += 1
    return PictureFiles({name: found.files[name] for name in sorted(found.files)}, tuple(_unread(found)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _name(path: Path, folder: Path) -> str:
    return printable(path.relative_to(folder).as_posix())


def printable(name: str) -> str:
    """A file's name, with escapes for what a terminal or a page cannot show: control characters, bytes that are no
    text."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "backslashreplace").decode() for one in name
    )


def _unread(found: _Found) -> list[str]:
    lines = []
    if found.hidden:
        lines.append(f"{counted(len(found.hidden), 'hidden file')} not read: {listed(found.hidden)}")
    if others := found.endings.total():
        endings = ", ".join(f"{count} {ending}" for ending, count in sorted(found.endings.items()))
        lines.append(f"{counted(others, 'other file')} not read ({endings})")
    if found.closed:
        lines.append(f"{counted(len(found.closed), 'folder')} not read: {listed(found.closed)}")
    if found.again:
        lines.append(f"{counted(len(found.again), 'folder')} read under another name: {listed(found.again)}")
    return lines


def counted(count: int, what: str) -> str:
    """``1 file is``, ``3 files are``."""
    return f"1 {what} is" if count == 1 else f"{count} {what}s are"


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Names with commas; those beyond ``most`` are only counted."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
