"""Spatial questions: balanced over cells, and about other cells than the one whose ID is written."""

from __future__ import annotations

from dataclasses import replace

from finst.experiments.interventions.reuse.design import questions
from tests.experiments.interventions.small import REUSE


def test_questions_are_balanced_and_about_other_cells():
    trials = questions(replace(REUSE, trials=12))
    for relation in ("above", "below", "left", "right"):
        pairs = [(question.reference, question.answer) for question in trials if question.relation == relation]
        assert len(set(pairs)) == 6
        assert all(pairs.count(pair) == 2 for pair in pairs)
    for question in trials:
        assert len({question.answer, question.reference, question.elsewhere}) == 3
        assert question.scene.objects[question.answer].colour == question.prompt.answer
        assert question.roles[question.prompt.answer] == "answer"
        assert sorted(question.roles.values()).count("other") == 6
