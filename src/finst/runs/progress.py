"""The progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def print_line(console: Console, text: str) -> None:
    """Prints one line as it is, without rich's markup."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


@runtime_checkable
class Reporter(Protocol):
    """Receives the progress of the units."""

    def begin(self, name: str) -> None:
        """The unit of this name has started."""
        ...

    def advance(self) -> None:
        """The unit is finished."""
        ...


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


class _Bar:
    def __init__(self, bar: Progress, total: int, done: int) -> None:
        self.bar = bar
        self.task = bar.add_task("measuring", total=total, completed=done)

    def begin(self, name: str) -> None:
        self.bar.update(self.task, description=name)

    def advance(self) -> None:
        self.bar.advance(self.task)


class _Lines:
    def __init__(self, console: Console, total: int, done: int) -> None:
        self.console, self.total, self.done = console, total, done
        if done:
            print_line(console, f"{done} of {total} units were measured before")

    def begin(self, name: str) -> None:
        self.name = name

    def advance(self) -> None:
        self.done += 1
        if self.done == self.total or self.done % max(1, self.total // 10) == 0:
            print_line(self.console, f"{self.done} of {self.total} units measured ({self.name})")
