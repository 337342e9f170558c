"""The results of RSA in words and tables: peaks in the planted layers and heads."""

from __future__ import annotations

from dataclasses import replace

from finst.experiments.representations import stages
from finst.experiments.representations.report import method
from finst.experiments.representations.report.rsa_findings import COLUMNS, HEADS_LISTED
from finst.experiments.representations.stages import RSAStages
from finst.report.findings import Findings
from tests.experiments.representations import designs
from tests.experiments.representations.specs import HEADS, STAGES


def test_peaks_are_in_the_planted_layers():
    spec = replace(STAGES, trials=6, permutations=99, bootstraps=200)
    planted = {("comma 0", "absolute"): 0, ("comma 1", "absolute"): 0, ("comma 2", "absolute"): 0}
    planted |= {("last", "absolute"): 2, ("last", "colour"): 3}
    summary = RSAStages().summarise(spec, [designs.unit(stages.trials_of(spec, spec.trials), planted)])
    findings = RSAStages().report.findings(summary)
    assert findings.columns == COLUMNS
    peaks = {row[:2]: row[2] for row in findings.rows}
    assert (peaks["commas", "position"], peaks["last", "position"], peaks["last", "features"]) == ("0", "2", "3")
    assert [f"layer {layer}" in findings.headline for layer in range(4)] == [True, False, True, True]
    assert summary["exact"].mean() == 0.75
    assert any("75.0%" in sentence and "96" in sentence for sentence in findings.sentences)
    p = {row[:2]: row[-1] for row in findings.rows}
    assert p["last", "position"] == "0.010"


def test_the_strongest_heads_are_the_planted_ones():
    spec = replace(HEADS, trials=3, permutations=199, bootstraps=50)
    trials = stages.trials_of(spec, spec.trials)
    unit = designs.heads_unit(trials, {"commas": (0, 3), "last": (2, 1)}, inactive=(1, 2))
    findings = RSAStages().report.findings(RSAStages().summarise(spec, [unit]))
    first: dict[tuple[str, ...], str] = {}
    for row in findings.rows:
        first.setdefault(row[:2], row[2])
    assert (first["commas", "position"], first["last token", "position"]) == ("L0H3", "L2H1")
    assert "L0H3" in findings.headline
    assert "L2H1" in findings.headline
    assert len(findings.rows) == 4 * HEADS_LISTED
    assert "L1H2" not in {row[2] for row in findings.rows}
    (inactive,) = [sentence for sentence in findings.sentences if sentence.startswith("inactive")]
    assert inactive.split()[-1] == "1"


def stages_with(**changes: str) -> Findings:
    spec = replace(STAGES, trials=1, **changes)  # pyright: ignore[reportArgumentType]
    unit = designs.unit(stages.trials_of(spec, 1), {})
    return RSAStages().report.findings(RSAStages().summarise(spec, [unit]))


def test_the_method_describes_the_design():
    usual = " ".join(stages_with().method)
    assert all(text in usual for text in (method.SAME_OBJECTS, method.COUNTERBALANCED, method.NO_LEAK))
    fresh = " ".join(stages_with(objects="fresh", entropy="any").method)
    assert method.FRESH_OBJECTS in fresh
    assert method.SAME_OBJECTS not in fresh
    assert method.ALL_ARRANGEMENTS in " ".join(stages_with(arrangements="all").method)
