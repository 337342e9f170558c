"""Tasks whose answer is an object at a place: balanced, with a move that makes the other end right."""

from __future__ import annotations

import pytest

from finst.errors import FinstError
from finst.experiments.interventions.transfer.spec import TASK_NAMES
from finst.experiments.interventions.transfer.tasks import PLACES, TASKS, opposite, task_of, trials_of
from finst.prompts import STEPS
from finst.scenes.sets import absolute

DESCRIBED = ("description-2x2", "description-3x3", "description-sided")


def test_the_specs_tasks_are_those_that_are_defined():
    assert tuple(TASKS) == TASK_NAMES
    with pytest.raises(FinstError, match="unknown task 'chess'"):
        task_of("chess")


@pytest.mark.parametrize("name", TASKS)
def test_the_answer_is_at_the_place_and_elsewhere_at_the_other_end(name: str):
    trials = trials_of([name], 8, 0, 3, "prefill")[name].tests
    assert [trial.place for trial in trials] == [*PLACES, *PLACES]
    for trial in trials:
        cells = [absolute(obj) for obj in trial.scene.objects]
        rows, cols = (sorted({cell[axis] for cell in cells}) for axis in (0, 1))
        last = (trial.place[0] if TASKS[name].rows else 0, trial.place[1])
        assert cells[trial.answer] == (rows[-last[0]], cols[-last[1]])
        assert cells[trial.elsewhere] == (rows[-last[0]], cols[last[1] - 1])
        assert trial.prompt.answer.startswith(trial.scene.objects[trial.answer].colour)
        assert list(trial.roles.values()).count("answer") == list(trial.roles.values()).count("elsewhere") == 1
        assert len(trial.roles) == len(cells)


def test_a_move_makes_elsewhere_right():
    every = trials_of(list(TASKS), 4, 0, 0, "prefill")
    for name in DESCRIBED:
        for trial in every[name].tests:
            assert trial.move is not None
            assert trial.move == type(trial.move)(trial.elsewhere, opposite(trial.place), trial.place)
            assert {span.object for span in trial.prompt.spans} == set(range(len(trial.scene.objects))) - {trial.answer}
    for trial in every["spatial"].tests:
        assert trial.move is not None
        step = STEPS["below" if "below" in trial.prompt.sentence else "above"]
        assert (trial.move.stop[0] + step[0], trial.move.stop[1]) == absolute(trial.scene.objects[trial.elsewhere])
    assert all(trial.move is not None and trial.move.object == trial.answer for trial in every["colour"].tests)
    assert all(trial.move is None for trial in every["enumeration"].tests)


def test_a_list_is_in_reading_order_and_its_length_is_no_place():
    trials = trials_of(["enumeration"], 40, 0, 0, "prefill")["enumeration"].tests
    for trial in trials:
        cells = [absolute(obj) for obj in trial.scene.objects]
        assert cells == sorted(cells)
        assert trial.prompt.sentence.endswith(f"{trial.answer + 1}. a")
    assert len({trial.answer for trial in trials if trial.place == (1, 0)}) > 2


def test_no_picture_is_there_twice():
    every = trials_of(list(TASKS), 8, 400, 0, "prefill")
    pictures = [trial.picture for trials in every.values() for trial in (*trials.tests, *trials.estimation)]
    assert len(set(pictures)) == len(pictures)
    fewer = trials_of(list(TASKS), 8, 16, 0, "prefill")
    assert all(fewer[name].tests == every[name].tests for name in TASKS)
