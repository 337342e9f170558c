"""What is said of a summary: plainly, also when there is nothing to find."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import pytest

from finst.experiments.cma.verdict import strongest_head, top_heads, verdict, verdict_of
from finst.report.wording import format_p, listed, number, probability, runs, span
from tests.experiments import synthetic


def test_all_stages_in_order_are_said_to_be_so():
    said = verdict_of(synthetic.summary())
    assert said.headline == (
        "All three stages have heads above the noise. They follow one another in the paper’s order."
    )
    assert [step.holds for step in said.steps] == [True, True]
    assert [stage.above for stage in said.stages] == [3, 2, 4]
    assert [stage.layers for stage in said.stages] == [(2, 3), (4, 5), (5, 6, 7, 8)]
    assert said.stages[0].sentence == (
        "ID retrieval: found. 3 of 80 heads above the noise, in layers 2–3 (n = 20 pairs)."
    )
    assert said.stages[0].strongest.startswith("Strongest: L3H4, 0.")
    assert ", median layer 7 [7, 7]." in said.stages[2].depth


def test_a_missing_stage_is_in_the_headline():
    effects = {stage: heads for stage, heads in synthetic.STAGED.items() if stage != "id_retrieval"}
    said = verdict_of(synthetic.summary(effects))
    assert "ID retrieval has none." in said.headline
    assert "ID retrieval before ID selection could not be tested" in said.headline
    assert "ID selection before feature retrieval holds" in said.headline
    assert said.stages[0].sentence == "ID retrieval: not found. None of 80 heads is above the noise (n = 20 pairs)."
    assert said.stages[0].strongest.startswith("Largest mean: L")
    assert said.stages[0].depth == ""
    assert said.steps[0].sentence == (
        "ID retrieval before ID selection: not testable. No head above the noise in ID retrieval."
    )


def test_null_data_are_called_null():
    said = verdict_of(synthetic.summary({}))
    assert said.headline.startswith("None of the three stages has a head above the noise.")
    assert said.headline.endswith("could not be tested.")
    assert not any(stage.found for stage in said.stages)


def test_the_wrong_order_is_not_called_an_order():
    turned = dict(zip(synthetic.STAGED, reversed(list(synthetic.STAGED.values())), strict=True))
    said = verdict_of(synthetic.summary(turned))
    assert "does not hold" in said.headline
    assert [step.holds for step in said.steps] == [False, False]
    assert "The centre of ID selection minus that of ID retrieval: −" in said.steps[0].sentence


def test_too_few_pairs_to_find_anything_are_named_as_the_reason():
    said = verdict_of(synthetic.summary(pairs=4))
    assert "No head could have been: with 4 pairs no p is below 0.125." in said.stages[0].sentence


def test_a_stage_without_usable_pairs_is_called_untestable():
    said = verdict_of(synthetic.summary(pairs=8, wrong=[(pair, "changed") for pair in range(7)]))
    assert said.stages[2].sentence == (
        "Feature retrieval: not found. Not testable: 1 usable pair, and at least 2 are needed. Of one pair there are "
        "scores, but no standard error, interval, p value or reliability."
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
    marked = [line.split()[0] for line in lines if line.endswith("not above the noise")]
    assert marked == [
        head.name for stage in synthetic.STAGED for head in top_heads(summary, stage, 3) if not head.above
    ]
    assert marked
    assert lines[-2].startswith("ID retrieval before ID selection: holds.")


def test_the_strongest_head_is_one_above_the_noise_where_there_is_one():
    summary = synthetic.summary()
    loud = summary["mean"].copy()
    loud.loc[{"condition": "id_selection", "layer": 0, "head": 0}] = 9.0
    loud = summary.assign(mean=loud)
    assert top_heads(loud, "id_selection", 1)[0].name == "L0H0"
    strongest = strongest_head(loud, "id_selection")
    assert strongest is not None
    assert (strongest.name, strongest.above) == ("L5H2", True)
    nothing = strongest_head(synthetic.summary({}), "id_selection")
    assert nothing is not None
    assert not nothing.above


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
    assert runs([]) == ""
    assert listed("abc") == "a, b and c"
    assert (format_p(0.0004), format_p(0.05)) == ("< 0.001", "0.050")
    assert probability(0.0001) == "p < 0.001"
    assert probability(0.0123, "family-wise p") == "family-wise p = 0.012"
    assert probability(float("nan")) == "p not defined"
