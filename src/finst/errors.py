"""The exception that users of finst catch, and the warning about precision."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class FinstError(Exception):
    """Bad input. The message names what was wrong and what was expected; the command line exits with status 2."""


class NotFiniteError(FinstError):
    """A model's numbers, or an edit's, are NaN or infinite. The message names context, layer and likely cause."""


class PrecisionWarning(UserWarning):
    """Numbers are less precise than the differences to be measured."""


def choice(what: str, value: object, valid: Iterable[object]) -> FinstError:
    """The error for a value that is not one of the ``valid`` ones."""
    return FinstError(f"unknown {what} {value!r}: expected one of {', '.join(map(str, valid))}")


_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "free some space, or choose a place with more",
    (errno.EACCES, errno.EPERM, errno.EROFS): "choose a place where you may write, or change its permissions",
    (errno.ENAMETOOLONG,): "choose a shorter name",
    (errno.ENOTDIR, errno.EEXIST, errno.EISDIR): "a part of this path is a file where a folder was expected, or a "
    "folder where a file was; choose another place",
    (errno.ENOENT,): "its folder is not there; choose one that exists",
    (errno.EMFILE, errno.ENFILE): "close other programs, or raise the limit of open files (ulimit -n)",
}


def cannot(what: str, path: object, cause: OSError) -> FinstError:
    """The error for a file or folder that the system refuses, such as ``cannot("write", path, cause)``."""
    remedy = next((text for numbers, text in _REMEDIES.items() if cause.errno in numbers), "choose another place")
    return FinstError(
        f"cannot {what} {path}: {cause.strerror or cause}. Expected: {remedy}; what was finished before is kept, and "
        "the same command resumes from there"
    )


@contextmanager
def writing(path: object, what: str = "write") -> Iterator[None]:
    """Inside, whatever the system refuses (a full disk, a read-only folder) is a FinstError that names ``path``."""
    try:
        yield
    except OSError as cause:
        raise cannot(what, path, cause) from cause


def check_path(path: Path) -> None:
    """Raises FinstError for a path with characters that no file name can hold."""
    try:
        usable = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise FinstError(f"the path {str(path)!r} holds characters that no file name can have: choose another name")


def check_run(folder: Path) -> None:
    """Raises FinstError for a folder that holds no run."""
    if not os.path.isfile(folder / "manifest.json"):
        raise FinstError(f"{folder} holds no run: expected a folder with manifest.json, such as finst run cma writes")


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy or torch raised this because memory ran out."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error))
    )
