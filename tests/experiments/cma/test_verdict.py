"""The verdicts on a summary, also when there is nothing to find."""

# ruff: noqa: RUF001  (typeset text: minus signs as readers expect them)
from __future__ import annotations

from functools import cache

import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.verdict import mediation_findings, strongest_head, top_heads, verdict_of
from finst.report.wording import number
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


def with_values(changed: xr.Dataset, stage: str, layer: int, head: int, **values: float | bool) -> xr.Dataset:
    """The summary with statistics of one head replaced."""
    for name, value in values.items():
        copy = changed[name].copy()
        copy.loc[{"condition": stage, "layer": layer, "head": head}] = value
        changed = changed.assign({name: copy})
    return changed


def test_the_largest_mean_is_shown_beside_a_smaller_strongest_head_and_the_order_says_so():
    """As in a run of nine pairs: L4H0 has 7.45 logits and p 0.066, L5H2 is above the noise with much less."""
    large = {"mean": 27.0, "ci_low": 20.0, "ci_high": 31.0, "p": 0.01, "p_fwer": 0.066, "above": False}
    summary = with_values(synthetic.summary(), "id_selection", 4, 0, **large)
    verdict = verdict_of(summary)
    stage = verdict.stages[1]
    assert stage.found
    assert "Strongest: L5H2, " in stage.strongest
    assert stage.largest.startswith("Largest mean: L4H0, 27.000 ± ")
    assert "300 % of the clean margin" in stage.largest
    assert stage.largest.endswith("family-wise p = 0.066 against sign flips: not above the noise.")
    assert stage.largest in stage.sentence
    assert all("small beside the largest mean" in step.small and "L4H0" in step.small for step in verdict.steps)
    assert "small beside others" in verdict.claim
    assert all(stage.largest == "" for stage in verdict_of(synthetic.summary()).stages)
    assert not any(step.small for step in verdict_of(synthetic.summary()).steps)


@pytest.mark.parametrize(("pairs", "permutations"), [(1, 10_000), (5, 10_000), (20, 10)])
def test_what_could_not_be_significant_is_not_testable_and_not_red(pairs: int, permutations: int):
    spec = CMASpec(pairs=pairs, permutations=permutations, bootstraps=50)
    verdict = verdict_of(CMA().summarise(spec, synthetic.parts(spec)))
    assert {stage.status for stage in verdict.stages} == {"not testable"}
    assert {stage.style for stage in verdict.stages} == {step.style for step in verdict.steps} == {"open"}
    assert {step.outcome for step in verdict.steps} == {"not testable"}
    assert verdict.claim == "None of the three stages could be tested. Their order could not be tested."
    assert all(stage.detail.startswith("Not testable: ") for stage in verdict.stages)


def test_a_stage_is_not_found_only_where_the_intervals_exclude_effects_that_matter():
    summary = synthetic.summary({})
    assert {stage.status for stage in verdict_of(summary).stages} == {"not found"}
    wide = with_values(summary, "id_selection", 3, 3, ci_high=2.0)
    assert [stage.status for stage in verdict_of(wide).stages] == ["not found", "undecided", "not found"]
    assert "do not exclude effects beyond 1 % of the clean margin (0.090 logits" in verdict_of(wide).stages[1].detail
    unknown = verdict_of(summary.drop_vars(["margin", "margin_error"])).stages[0]
    assert (unknown.status, "share of the clean margin not known" in unknown.strongest) == ("undecided", True)


@given(
    difference=st.floats(-3, 3),
    half=st.floats(0, 3),
    p=st.floats(0, 1),
    n=st.integers(2, 50),
)
def test_the_words_for_an_order_agree_with_its_numbers(difference: float, half: float, p: float, n: int):
    summary = planted()
    numbers = {"difference": difference, "ci_low": difference - half, "ci_high": difference + half, "p": p, "n": n}
    changed = summary.assign({f"order_{name}": ("step", [value] * 2) for name, value in numbers.items()})
    for step in verdict_of(changed).steps:
        if n < 6:
            assert step.outcome == "not testable"
        else:
            holds, wrong = p < 0.05 and difference - half > 0, difference + half <= 0
            assert step.outcome == ("holds" if holds else "does not hold" if wrong else "undecided")
            assert f"n = {n} pairs" in step.detail
            assert "against sign flips" in step.detail


@given(
    mean=st.floats(-9, 9),
    half=st.floats(0, 5),
    p=st.floats(0, 1),
    above=st.booleans(),
    place=st.tuples(st.integers(0, synthetic.LAYERS - 1), st.integers(0, synthetic.HEADS - 1)),
)
def test_the_words_for_a_stage_agree_with_its_numbers(
    mean: float, half: float, p: float, above: bool, place: tuple[int, int]
):
    """One head of invented statistics in a summary of nothing: the largest mean is always in the stage's sentence."""
    above = above and mean > 0.001
    p = p * 0.049 if above else 0.05 + p * 0.95
    invented = {"mean": mean, "ci_low": mean - half, "ci_high": mean + half, "p_fwer": p, "above": above}
    summary = with_values(nothing(), "id_selection", *place, **invented)
    stage = verdict_of(summary).stages[1]
    high = float(summary["ci_high"].sel(condition="id_selection").max())
    excluded = high <= 0.01 * float(summary["margin"].sel(condition="id_selection"))
    expected = "found" if above and mean - half > 0 else "not found" if excluded else "undecided"
    assert stage.status == expected
    largest = top_heads(summary, "id_selection", 1)[0]
    assert f"{largest.name}, {number(largest.mean)} ± " in stage.sentence
    assert f"n = {stage.n} pairs" in stage.sentence
    strongest = strongest_head(summary, "id_selection")
    assert strongest is not None
    assert ("Strongest" in stage.sentence) == above == strongest.above


@cache
def planted() -> xr.Dataset:
    return synthetic.summary()


@cache
def nothing() -> xr.Dataset:
    return synthetic.summary({})


def test_headlines_have_n_intervals_p_and_shares_of_the_margin():
    headline = verdict_of(planted()).headline
    assert headline.count("n = 20 pairs") == 5
    assert headline.count("against sign flips") == 5
    assert headline.count("% of the clean margin") == 3
    assert headline.count("[") == 5
