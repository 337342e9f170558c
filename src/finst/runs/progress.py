"""The progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from finst.report.wording import counted


def print_line(console: Console, text: str) -> None:
    """Prints one line as it is, without rich's markup."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


FIRST_S, LATER_S = 10.0, 60.0
"""Seconds until a log's first line about work that shows no other progress, and between later ones."""


@contextmanager
def waiting(console: Console, what: str) -> Iterator[None]:
    """Says that ``what`` goes on while the block takes long: a clock on a terminal, a line now and then elsewhere."""
    if console.is_terminal:
        with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True) as bar:
            bar.add_task(escape(what))
            yield
        return
    ended = threading.Event()
    clock = threading.Thread(target=_say_now_and_then, args=(console, what, ended), daemon=True)
    clock.start()
    try:
        yield
    finally:
        ended.set()
        clock.join()


def _say_now_and_then(console: Console, what: str, ended: threading.Event) -> None:
    started, pause = time.monotonic(), FIRST_S
    while not ended.wait(pause):
        print_line(console, f"{what}: {time.monotonic() - started:.0f} s so far")
        pause = LATER_S


@runtime_checkable
class Reporter(Protocol):
    """Receives the progress of the units, of which several may be in work at a time."""

    def begin(self, name: str) -> None:
        """The unit of this name has started, perhaps again."""
        ...

    def advance(self, name: str) -> None:
        """The unit of this name is finished."""
        ...


def in_work(names: Sequence[str]) -> str:
    """The units that are measured at the moment, in a few words."""
    if len(names) < 2:
        return "".join(names)
    return f"{names[0]} and {counted(len(names) - 1, 'other')}"


@contextmanager
def progress(console: Console, total: int, done: int = 0) -> Iterator[Reporter]:
    """A bar on a terminal; elsewhere (a log, CI) about ten plain lines."""
    if not console.is_terminal:
        yield _Lines(console, total, done)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield _Bar(bar, total, done)


@runtime_checkable
class Watcher(Protocol):
    """Shows the work of one run."""

    def waiting(self, what: str) -> AbstractContextManager[None]:
        """Shows ``what`` is done while the block takes long."""
        ...

    def measuring(self, total: int, done: int) -> AbstractContextManager[Reporter]:
        """Shows how many of ``total`` units are measured, of which ``done`` were before."""
        ...


@dataclass(frozen=True)
class OnConsole:
    """A watcher of a single run: bars on a terminal, plain lines elsewhere."""

    console: Console

    def waiting(self, what: str) -> AbstractContextManager[None]:
        """See ``waiting``."""
        return waiting(self.console, what)

    def measuring(self, total: int, done: int) -> AbstractContextManager[Reporter]:
        """See ``progress``."""
        return progress(self.console, total, done)


class _Bar:
    def __init__(self, bar: Progress, total: int, done: int) -> None:
        self.bar = bar
        self.task = bar.add_task("measuring", total=total, completed=done)
        self.names: dict[str, None] = {}

    def begin(self, name: str) -> None:
        self.names[name] = None
        self._describe()

    def advance(self, name: str) -> None:
        self.names.pop(name, None)
        self.bar.advance(self.task)
        self._describe()

    def _describe(self) -> None:
        if self.names:
            self.bar.update(self.task, description=escape(in_work([*self.names])))


class _Lines:
    def __init__(self, console: Console, total: int, done: int) -> None:
        self.console, self.total, self.done = console, total, done
        if done:
            print_line(console, f"{done} of {total} units were measured before")

    def begin(self, name: str) -> None:
        """A log has lines of finished units only."""

    def advance(self, name: str) -> None:
        self.done += 1
        if self.done == self.total or self.done % max(1, self.total // 10) == 0:
            print_line(self.console, f"{self.done} of {self.total} units measured ({name})")
