"""What a pool and its workers send each other."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from finst.runs.backends.backend import Measured

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Opening:
    """How a worker opens the model, and the SHA-256 of the weights that it must find."""

    model: str
    revision: str | None
    dtype: str
    device: str
    weights_hash: str


@dataclass(frozen=True)
class Job:
    """The work of one run, for a worker that may have done another before."""

    number: int
    """1 for a pool's first job; jobs of one pool have different numbers."""
    opening: Opening
    folder: Path
    """The working folder of the process that started the run: relative paths of settings begin there."""
    work: bytes
    """A pickled ``Work``, so that a worker that cannot read it can say so."""


@dataclass(frozen=True)
class Ready:
    """The worker can measure units of this job; 0 before its first one."""

    job: int


@dataclass(frozen=True)
class Failed:
    """What was to be done raised an exception."""

    error: Exception
    trace: str
    """The traceback in the worker, as text."""


@dataclass(frozen=True)
class Lost:
    """The worker has ended without an answer."""

    how: str
    """Such as ``killed by SIGKILL``."""


Answer: TypeAlias = Ready | Measured | Failed | Lost


class WorkerTraceback(Exception):  # noqa: N818 (it is the cause of an error)
    """The traceback of an exception in a worker."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def answered(work: Callable[[], ResultT]) -> ResultT | Failed:
    """What ``work`` returns, or the exception that it raises, in a form that can be sent."""
    try:
        return work()
    except Exception as error:
        trace = traceback.format_exc()
        return Failed(_sendable(error), trace)


def _sendable(error: Exception) -> Exception:
    """The exception itself if another process can make it again, else one that says the same."""
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a class of someone else's raises
        again = None
    if type(again) is type(error) and str(again) == str(error):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
