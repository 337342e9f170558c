"""What is said of a summary: plainly, also when there is nothing to find."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import pytest

from finst.report.verdict import listed, number, probability, span, top_heads, verdict, verdict_of
from tests.experiments import synthetic


def test_all_stages_in_order_are_said_to_be_so():
    said = verdict_of(synthetic.summary())
    assert said.headline == (
        "All three stages are above the noise: ID retrieval (layers 2–3), ID selection (layers 4–5) and feature "
        "retrieval (layers 5–8). They follow one another in the paper’s order, retrieval < selection < feature."
    )
    assert [step.holds for step in said.steps] == [True, True]
    assert [stage.above for stage in said.stages] == [3, 2, 4]


def test_a_missing_stage_is_in_the_headline():
    effects = {stage: heads for stage, heads in synthetic.STAGED.items() if stage != "id_retrieval"}
    said = verdict_of(synthetic.summary(effects))
    assert "ID retrieval is not." in said.headline
    assert "ID retrieval before ID selection could not be tested" in said.headline
    assert "ID selection before feature retrieval holds" in said.headline
    assert said.stages[0].sentence.startswith("ID retrieval: not found. None of 80 heads; largest mean L")
    assert said.steps[0].sentence == (
        "ID retrieval before ID selection: not testable. No head above the noise in ID retrieval."
    )


def test_null_data_are_called_null():
    said = verdict_of(synthetic.summary({}))
    assert said.headline.startswith("None of the three stages is above the noise.")
    assert said.headline.endswith("could not be tested.")
    assert not any(stage.found for stage in said.stages)


def test_the_wrong_order_is_not_called_an_order():
    turned = dict(zip(synthetic.STAGED, reversed(list(synthetic.STAGED.values())), strict=True))
    said = verdict_of(synthetic.summary(turned))
    assert "does not hold" in said.headline
    assert [step.holds for step in said.steps] == [False, False]
    assert "layers earlier" in said.steps[0].sentence


def test_too_few_pairs_to_find_anything_are_named_as_the_reason():
    said = verdict_of(synthetic.summary(pairs=4))
    assert "No head could have been: with 4 pairs no p is below 0.125." in said.stages[0].sentence


def test_a_stage_without_usable_pairs_is_called_untestable():
    said = verdict_of(synthetic.summary(pairs=8, wrong=[(pair, "changed") for pair in range(7)]))
    assert said.stages[2].sentence == (
        "Feature retrieval: not found. Not testable: 1 usable pair, and at least 2 are needed."
    )


def test_top_heads_are_those_with_the_largest_means():
    summary = synthetic.summary()
    heads = top_heads(summary, "feature_retrieval", 5)
    assert [(head.layer, head.head) for head in heads[:4]] == [(7, 3), (6, 0), (8, 3), (5, 2)]
    assert [head.above for head in heads] == [True] * 4 + [False]
    best = summary.sel(condition="feature_retrieval", layer=7, head=3)
    assert heads[0].mean == float(best["mean"])
    assert heads[0].p_fwer == float(best["p_fwer"])


def test_the_terminal_gets_the_headline_three_heads_a_stage_and_the_order():
    summary = synthetic.summary()
    lines = verdict(summary).splitlines()
    assert lines[0] == verdict_of(summary).headline
    assert [line.split()[0] for line in lines if line.startswith("    L")][:3] == ["L3H4", "L2H1", "L2H5"]
    assert sum(line.startswith("    L") for line in lines) == 9
    assert lines[-2].startswith("ID retrieval before ID selection: holds.")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.235"),
        (-0.5, "−0.500"),
        (0.0, "0.000"),
        (6.6e-6, "6.6·10⁻⁶"),
        (-2e-4, "−2.0·10⁻⁴"),
        (float("nan"), "–"),
    ],
)
def test_numbers_are_typeset(value: float, text: str):
    assert number(value) == text


def test_small_words():
    assert span([2]) == "layer 2"
    assert span([2, 3, 4, 7]) == "layers 2–4 and 7"
    assert listed("abc") == "a, b and c"
    assert probability(0.0001) == "p < 0.001"
    assert probability(0.0123, "family-wise p") == "family-wise p = 0.012"
    assert probability(float("nan")) == "p not defined"
