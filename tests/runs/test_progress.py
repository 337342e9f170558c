"""Progress: about ten lines in a log, a bar on a terminal."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from finst.runs import progress as progress_module
from finst.runs.progress import Reporter, in_work, print_line, progress, waiting


def reported(total: int, done: int, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=terminal)
    with progress(console, total, done) as reporter:
        assert isinstance(reporter, Reporter)
        for index in range(done, total):
            reporter.begin(f"unit {index}")
            reporter.advance(f"unit {index}")
    return file.getvalue()


@pytest.mark.parametrize(("total", "lines"), [(1, 1), (4, 4), (25, 13), (100, 10)])
def test_a_log_gets_about_ten_lines(total: int, lines: int) -> None:
    log = reported(total, 0).splitlines()
    assert len(log) == lines
    assert log[-1] == f"{total} of {total} units measured (unit {total - 1})"


def test_a_resumed_run_starts_with_what_was_measured() -> None:
    assert reported(4, 2).splitlines() == [
        "2 of 4 units were measured before",
        "3 of 4 units measured (unit 2)",
        "4 of 4 units measured (unit 3)",
    ]


def test_a_terminal_gets_a_bar() -> None:
    assert "3/3" in reported(3, 1, terminal=True)


def test_several_units_may_be_in_work_at_a_time() -> None:
    file = io.StringIO()
    with progress(Console(file=file, width=100), 2) as reporter:
        for unit in ("a", "b"):
            reporter.begin(unit)
        for unit in ("b", "a"):
            reporter.advance(unit)
    assert file.getvalue().splitlines() == ["1 of 2 units measured (b)", "2 of 2 units measured (a)"]
    screen = io.StringIO()
    with progress(Console(file=screen, width=100, force_terminal=True), 3) as reporter:
        for unit in ("a", "b", "c"):
            reporter.begin(unit)
    assert "a and 2 others" in screen.getvalue()
    assert [in_work(names) for names in ([], ["a"], ["a", "b"])] == ["", "a", "a and 1 other"]


def test_lines_are_printed_without_markup() -> None:
    file = io.StringIO()
    print_line(Console(file=file, width=20), "a [bold]line[/bold] that is longer than the terminal")
    assert file.getvalue() == "a [bold]line[/bold] that is longer than the terminal\n"


def waited(seconds: float, monkeypatch: pytest.MonkeyPatch, terminal: bool = False) -> str:
    monkeypatch.setattr(progress_module, "FIRST_S", 0.02)
    monkeypatch.setattr(progress_module, "LATER_S", 0.02)
    file = io.StringIO()
    with waiting(Console(file=file, width=100, force_terminal=terminal), "planning [9] trials"):
        time.sleep(seconds)
    return file.getvalue()


def test_long_work_without_other_progress_says_so_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = waited(0.5, monkeypatch).splitlines()
    assert len(lines) >= 2
    assert set(lines) == {"planning [9] trials: 0 s so far"}
    assert "planning [9] trials" in waited(0.1, monkeypatch, terminal=True)


def test_short_work_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "FIRST_S", 60.0)
    file = io.StringIO()
    with waiting(Console(file=file), "planning"):
        pass
    assert file.getvalue() == ""
