"""The progress of a plan: all steps in one table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from finst.report.wording import counted, duration
from finst.runs.progress import OnConsole, Reporter, Watcher, in_work, print_line

OPEN = ("waiting", "running")
"""Statuses of steps that are still to be worked on."""


@runtime_checkable
class PlanView(Watcher, Protocol):
    """Shows the steps of a plan, and the work of the current one."""

    def begin(self, name: str) -> None:
        """The step of this name has started."""
        ...

    def ended(self, name: str, status: str) -> None:
        """The step of this name has ended with a status."""
        ...


@dataclass(frozen=True)
class Shown:
    """One step as it is shown; times in seconds on the clock of the view."""

    name: str
    status: str = "waiting"
    expected: float | None = None
    """What a rehearsal expects of the whole step; None without one."""
    began: float | None = None
    took: float | None = None
    """None before it has ended, and for steps that ended in an earlier call."""
    units: int = 0
    done: int = 0
    before: int = 0
    """Units that an earlier call measured."""
    measuring: float | None = None
    """When the first unit was begun."""

    def used(self, now: float) -> float | None:
        """Time of this call; None for a step on which it has not worked."""
        return self.took if self.took is not None or self.began is None else now - self.began

    def left(self, now: float) -> float | None:
        """Time that is left, by the units so far and by the rehearsal, whichever is longer; None if neither says."""
        if self.status not in OPEN:
            return 0.0
        by_rehearsal = None if self.expected is None else max(0.0, self.expected - (self.used(now) or 0.0))
        by_units = None
        if self.measuring is not None and self.done > self.before:
            by_units = (now - self.measuring) / (self.done - self.before) * (self.units - self.done)
        return max((time for time in (by_rehearsal, by_units) if time is not None), default=None)


def left_of(steps: Mapping[str, Shown], now: float) -> float | None:
    """Time that is left for all steps; None if it is not known of one of them."""
    times = [step.left(now) for step in steps.values()]
    return None if None in times else sum(time for time in times if time is not None)


@contextmanager
def plan_view(
    console: Console,
    statuses: Mapping[str, str],
    expected: Mapping[str, float],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[PlanView]:
    """A view of the steps of ``statuses``, which have these statuses at the start.

    ``expected`` has the seconds that a rehearsal expects, of steps that it has measured.
    """
    steps = {name: Shown(name, status, expected.get(name)) for name, status in statuses.items()}
    if not console.is_terminal:
        yield _Lines(steps, clock, console)
        return
    view = _Table(steps, clock)
    with Live(get_renderable=view.drawn, console=console, refresh_per_second=2, transient=True) as live:
        yield view
        live.refresh()


class _Steps:
    """The steps, as the calls of a view change them."""

    def __init__(self, steps: Mapping[str, Shown], clock: Callable[[], float]) -> None:
        self.steps, self.clock, self.current, self.what = dict(steps), clock, "", ""

    def change(self, name: str, **changes: object) -> None:
        self.steps[name] = replace(self.steps[name], **changes)  # pyright: ignore[reportArgumentType]

    def begin(self, name: str) -> None:
        self.current = name
        if self.steps[name].status in OPEN:
            self.change(name, status="running", began=self.clock())

    def ended(self, name: str, status: str) -> None:
        self.change(name, status=status, took=self.steps[name].used(self.clock()))
        self.what = ""


class _Lines(_Steps):
    def __init__(self, steps: Mapping[str, Shown], clock: Callable[[], float], console: Console) -> None:
        super().__init__(steps, clock)
        self.console, self.single = console, OnConsole(console)

    def begin(self, name: str) -> None:
        super().begin(name)
        place = [*self.steps].index(name) + 1
        expected = self.steps[name].expected
        about = "" if expected is None else f", about {duration(expected)} by the rehearsal"
        print_line(self.console, f"step {place} of {len(self.steps)}: {name}{about}")

    def ended(self, name: str, status: str) -> None:
        super().ended(name, status)
        took = self.steps[name].took
        if took is not None:
            left = left_of(self.steps, self.clock())
            rest = f", about {duration(left)} left for the others" if left else ""
            print_line(self.console, f"{name} {status} after {duration(took)}{rest}")

    def waiting(self, what: str) -> AbstractContextManager[None]:
        return self.single.waiting(what)

    def measuring(self, total: int, done: int) -> AbstractContextManager[Reporter]:
        return self.single.measuring(total, done)


class _Table(_Steps):
    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        self.what = what
        yield

    @contextmanager
    def measuring(self, total: int, done: int) -> Iterator[Reporter]:
        self.change(self.current, units=total, done=done, before=done, measuring=self.clock())
        yield _Units(self)

    def drawn(self) -> RenderableType:
        """The table of all steps now."""
        now = self.clock()
        table = Table(box=None, caption=self._caption(now), caption_justify="left", pad_edge=False)
        for column in ("step", "status", "measured", "", "used", "left"):
            table.add_column(column, no_wrap=True)
        for step in self.steps.values():
            bar = ProgressBar(total=step.units, completed=step.done, width=16) if step.units else ""
            share = f"{step.done} of {counted(step.units, 'unit')}" if step.units else ""
            used, left = step.used(now), step.left(now) if step.status in OPEN else None
            times = ("" if time is None else duration(time) for time in (used, left))
            table.add_row(step.name, step.status, bar, share, *times)
        return table

    def _caption(self, now: float) -> Text:
        left = left_of(self.steps, now)
        total = "" if left is None else f"about {duration(left)} left in all"
        return Text("; ".join(filter(None, (self.what, total))))


class _Units:
    def __init__(self, table: _Table) -> None:
        self.table, self.names = table, dict[str, None]()

    def begin(self, name: str) -> None:
        self.names[name] = None
        self.table.what = in_work([*self.names])

    def advance(self, name: str) -> None:
        self.names.pop(name, None)
        self.table.what = in_work([*self.names]) or name
        step = self.table.steps[self.table.current]
        self.table.change(step.name, done=step.done + 1)
