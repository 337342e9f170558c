"""Attribution is compared with the experiment's exact map, pair by pair."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from finst.bench import attribution as bench_attribution
from finst.bench.attribution import AttributionComparison, compare, table
from finst.bench.spec import BenchAttribution
from finst.engine.attribution import attribution
from finst.errors import FinstError
from finst.experiments.cma.design import COLOURS, CONDITIONS, CONTEXTS, colours_of, contexts_of, patched_positions
from finst.experiments.cma.design import prompt_of as prompt
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.scenes.designs import mediation_pairs
from finst.vlm.encode import first_tokens
from finst.vlm.open import open_vlm
from tests.tiny import Body, checkpoint


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> BenchAttribution:
    model = checkpoint(tmp_path_factory.mktemp("tiny") / "model", Body(layers=2))
    return BenchAttribution(str(model), pairs=3, steps=3, top=4, dtype="float64", device="cpu", bootstraps=200)


@pytest.fixture(scope="module")
def comparison(spec: BenchAttribution) -> AttributionComparison:
    return compare(spec)


def test_every_condition_plain_and_integrated(spec: BenchAttribution, comparison: AttributionComparison) -> None:
    assert [(row.condition, row.steps) for row in comparison.agreements] == [(c, n) for c in CONDITIONS for n in (1, 3)]
    assert (comparison.model, comparison.dtype, comparison.heads) == (spec.model, "float64", 8)
    assert (comparison.pairs, comparison.top) == (3, 4)
    assert comparison.tokens > 100
    for row in comparison.agreements:
        assert min(row.seconds, row.exact_seconds) > 0
        assert row.ci_low <= row.ci_high


def test_the_maps_are_those_of_the_experiment_and_of_the_engine(
    spec: BenchAttribution, comparison: AttributionComparison
) -> None:
    mediation = CMASpec(spec.model, pairs=3, dtype="float64", device="cpu")
    vlm = open_vlm(spec.model, dtype="float64", device="cpu")
    (unit,) = CMA().plan(mediation)
    exact = CMA().measure(vlm, mediation, unit)["score"].mean("pair")
    for row in comparison.agreements:
        condition = CONDITIONS[row.condition]
        estimates = []
        for pair in mediation_pairs(3, spec.seed):
            contexts = contexts_of(vlm.reader, mediation, pair)
            tokens = first_tokens(vlm.reader, prompt(mediation, pair), colours_of(pair))
            answers = [tokens[COLOURS.index(name)] for name in (condition.original, condition.counterfactual)]
            source = contexts[CONTEXTS.index(condition.source)]
            positions = patched_positions(contexts[0], condition)
            estimates.append(attribution(vlm, contexts[0], source, positions, answers, steps=row.steps).numpy())
        exact_map, estimate = exact.sel(condition=row.condition).values, np.mean(estimates, axis=0)
        rank = getattr(scipy.stats.spearmanr(exact_map.ravel(), estimate.ravel()), "statistic")  # noqa: B009
        assert row.rank_correlation == pytest.approx(rank)
        assert row.largest_exact == pytest.approx(abs(exact_map).max(), abs=1e-9)
        assert row.largest_difference == pytest.approx(abs(exact_map - estimate).max(), abs=1e-9)
        assert row.largest_difference > 1e-9
        tops = [set(np.argsort(-scores.ravel())[:4].tolist()) for scores in (exact_map, estimate)]
        assert row.top_overlap == len(tops[0] & tops[1])


def test_equal_maps_agree_in_every_resample(spec: BenchAttribution, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact and estimated scores are resampled together: an estimate that is exact has no spread."""
    monkeypatch.setattr(bench_attribution, "_estimate", lambda vlm, pair, _: bench_attribution._exact(vlm, pair))
    for row in compare(replace(spec, steps=1)).agreements:
        assert (row.rank_correlation, row.ci_low, row.ci_high) == pytest.approx((1, 1, 1))
        assert (row.top_overlap, row.largest_difference) == (4, 0)


def test_the_table_has_a_line_for_every_agreement(comparison: AttributionComparison) -> None:
    lines = table(comparison).splitlines()
    assert len(lines) == 2 + len(comparison.agreements)
    assert "means of 3 pairs" in lines[0]
    assert "top 4" in lines[1]
    for line, row in zip(lines[2:], comparison.agreements, strict=True):
        words = line.split()
        assert words[:3] == [row.condition, str(row.steps), f"{row.rank_correlation:.2f}"]
        assert words[-2:] == [f"{row.seconds:.3f}", f"{row.exact_seconds:.3f}"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": 1}, "pairs is 1"),
        ({"steps": 0}, "steps is 0"),
        ({"top": 9}, "top is 9: .* has 8 heads"),
        ({"top": 0}, "top is 0"),
        ({"bootstraps": 0}, "bootstraps is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"model": "no-such-model"}, "unknown model"),
        ({"placement": "user_turn"}, "begin with the same token"),
    ],
)
def test_bad_input_comes_before_the_weights(
    spec: BenchAttribution, changes: dict[str, int], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loads(*_: object, **__: object) -> None:
        pytest.fail("weights were loaded")

    monkeypatch.setattr(bench_attribution, "open_vlm", loads)
    with pytest.raises(FinstError, match=message):
        compare(replace(spec, **changes))


def test_a_file_that_cannot_be_written_is_refused(spec: BenchAttribution, tmp_path: Path) -> None:
    from finst.cli.main import main

    for place in (tmp_path / "no" / "x.json", tmp_path):
        assert main(["bench", "attribution", "--model", spec.model, "--json", str(place)]) == 2
