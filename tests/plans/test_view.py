"""The progress of a plan, in lines and in a table."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from finst.plans.view import PlanView, Shown, left_of, plan_view


class Clock:
    """Each call is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def file() -> Iterator[io.StringIO]:
    with io.StringIO() as stream:
        yield stream


def work(view: PlanView) -> None:
    view.begin("accuracy")
    view.ended("accuracy", "finished")
    view.begin("cma")
    with view.waiting("preparing [cma]"):
        pass
    with view.measuring(4, 1) as units:
        units.begin("pairs 0-4")
        units.advance("pairs 0-4")
    view.ended("cma", "failed")


def test_a_log_gets_lines_with_time_used_and_left(file: io.StringIO) -> None:
    with plan_view(Console(file=file, width=100), {"accuracy": "waiting", "cma": "waiting"}, {"cma": 200.0}) as view:
        assert isinstance(view, PlanView)
        work(view)
    lines = file.getvalue().splitlines()
    assert lines[0] == "step 1 of 2: accuracy"
    assert lines[1] == "accuracy finished after 0.0 s, about 3 min left for the others"
    assert lines[2] == "step 2 of 2: cma, about 3 min by the rehearsal"
    assert lines[-1] == "cma failed after 0.0 s"


def test_steps_of_an_earlier_call_took_no_time_now(file: io.StringIO) -> None:
    with plan_view(Console(file=file, width=100), {"cma": "finished"}, {}) as view:
        view.begin("cma")
        view.ended("cma", "finished")
    assert file.getvalue() == "step 1 of 1: cma\n"


def test_a_terminal_gets_one_table_of_all_steps(file: io.StringIO) -> None:
    console = Console(file=file, width=100, force_terminal=True, color_system=None)
    statuses = {"pca": "finished", "accuracy": "waiting", "cma": "waiting", "coco": "waiting"}
    with plan_view(console, statuses, {"coco": 600.0, "cma": 60.0}, Clock()) as view:
        work(view)
    shown = file.getvalue()
    rows = {name: [line for line in shown.splitlines() if name in line][-1] for name in statuses}
    assert "finished" in rows["pca"]
    assert "failed" in rows["cma"]
    assert "2 of 4 units" in rows["cma"]
    assert rows["coco"].split() == ["coco", "waiting", "10", "min"]
    assert "about 10 min left in all" in shown


def test_time_left_is_the_longer_of_what_units_and_the_rehearsal_say() -> None:
    step = Shown("cma", "running", expected=100.0, began=0.0, units=10, done=4, before=2, measuring=10.0)
    assert step.left(30.0) == 70.0  # 30 of 100 s are over; 6 units at 10 s each would be 60 s
    assert step.left(90.0) == 240.0  # 6 units at 40 s each
    assert Shown("cma", "running", began=0.0).left(30.0) is None
    assert Shown("cma", "finished", expected=100.0).left(30.0) == 0.0
    steps = {"cma": step, "coco": Shown("coco", expected=5.0)}
    assert left_of(steps, 30.0) == 75.0
    assert left_of({**steps, "pca": Shown("pca")}, 30.0) is None
