"""The verdicts on a summary, also when there is nothing to find."""

# ruff: noqa: RUF001  (typeset text: minus signs as readers expect them)
from __future__ import annotations

from finst.experiments.cma.verdict import mediation_findings, strongest_head, top_heads, verdict_of
from tests.experiments import synthetic


def test_all_stages_are_found_in_order():
    summary = synthetic.summary()
    verdict = verdict_of(summary)
    assert verdict.headline.startswith("All three stages have heads above the noise.")
    assert [step.holds for step in verdict.steps] == [True, True]
    assert [stage.found for stage in verdict.stages] == [True, True, True]
    assert [stage.above for stage in verdict.stages] == [3, 2, 4]
    assert [stage.below for stage in verdict.stages] == summary["below"].sum(["layer", "head"]).values.tolist()
    assert [stage.layers for stage in verdict.stages] == [(2, 3), (4, 5), (5, 6, 7, 8)]
    assert {(stage.heads, stage.n) for stage in verdict.stages} == {(80, 20)}
    strongest = [stage.strongest.split(",")[0].split()[-1] for stage in verdict.stages]
    assert strongest == ["L3H4", "L5H2", "L7H3"]
    assert "median layer 7 [7, 7]" in verdict.stages[2].depth


def test_a_missing_stage_is_in_the_headline():
    effects = {stage: heads for stage, heads in synthetic.STAGED.items() if stage != "id_retrieval"}
    summary = synthetic.summary(effects)
    verdict = verdict_of(summary)
    assert [stage.found for stage in verdict.stages] == [False, True, True]
    assert [step.holds for step in verdict.steps] == [None, True]
    found, missing = verdict.headline.split("; ")[:2]
    assert "ID selection and feature retrieval" in found
    assert "ID retrieval" in missing
    assert (verdict.stages[0].above, verdict.stages[0].layers, verdict.stages[0].depth) == (0, (), "")
    assert top_heads(summary, "id_retrieval", 1)[0].name in verdict.stages[0].strongest


def test_null_data_give_null_verdicts():
    verdict = verdict_of(synthetic.summary({}))
    assert not any(stage.found for stage in verdict.stages)
    assert [step.holds for step in verdict.steps] == [None, None]
    assert verdict.headline.startswith("None of the three stages")


def test_the_wrong_order_is_not_called_an_order():
    turned = dict(zip(synthetic.STAGED, reversed(list(synthetic.STAGED.values())), strict=True))
    verdict = verdict_of(synthetic.summary(turned))
    assert [step.holds for step in verdict.steps] == [False, False]
    assert "does not hold" in verdict.headline
    assert ": −" in verdict.steps[0].detail


def test_too_few_pairs_to_find_anything_are_named_as_the_reason():
    few, enough = (verdict_of(synthetic.summary({}, pairs=pairs)).stages[0].detail for pairs in (4, 20))
    assert "4 pairs no p can be below 0.125" in few
    assert "no p can be" not in enough


def test_a_stage_without_usable_pairs_is_untestable():
    stage = verdict_of(synthetic.summary(pairs=8, wrong=[(pair, "changed") for pair in range(7)])).stages[2]
    assert (stage.found, stage.n) == (False, 1)
    assert stage.detail.startswith("Not testable: 1 usable pair,")


def test_top_heads_are_those_with_the_largest_means():
    summary = synthetic.summary()
    heads = top_heads(summary, "feature_retrieval", 5)
    assert [(head.layer, head.head) for head in heads[:4]] == [(7, 3), (6, 0), (8, 3), (5, 2)]
    assert [head.above for head in heads] == [True] * 4 + [False]
    best = summary.sel(condition="feature_retrieval", layer=7, head=3)
    assert heads[0].mean == float(best["mean"])
    assert heads[0].p_fwer == float(best["p_fwer"])


def test_the_findings_have_the_headline_the_order_and_three_heads_of_each_stage():
    summary = synthetic.summary()
    findings, verdict = mediation_findings(summary), verdict_of(summary)
    assert findings.headline == verdict.headline
    assert [row[1] for row in findings.rows][:3] == ["L3H4", "L2H1", "L2H5"]
    tops = [head for stage in synthetic.STAGED for head in top_heads(summary, stage, 3)]
    assert [(row[1], row[-1]) for row in findings.rows] == [(h.name, "yes" if h.above else "no") for h in tops]
    assert not all(head.above for head in tops)
    assert findings.sentences[-2:] == tuple(step.sentence for step in verdict.steps)
    assert findings.text.splitlines()[0] == verdict.headline


def test_the_strongest_head_is_one_above_the_noise_where_there_is_one():
    summary = synthetic.summary()
    mean = summary["mean"].copy()
    mean.loc[{"condition": "id_selection", "layer": 0, "head": 0}] = 9.0
    changed = summary.assign(mean=mean)
    assert top_heads(changed, "id_selection", 1)[0].name == "L0H0"
    strongest = strongest_head(changed, "id_selection")
    assert strongest is not None
    assert (strongest.name, strongest.above) == ("L5H2", True)
    nothing = strongest_head(synthetic.summary({}), "id_selection")
    assert nothing is not None
    assert not nothing.above
