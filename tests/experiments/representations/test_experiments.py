"""Every representational experiment as a run: its plan, its refusals, its report, and equal bytes when repeated."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from rich.console import Console

from finst.errors import FinstError
from finst.experiments.representations import stages
from finst.experiments.representations.entropy import RSAEntropy
from finst.experiments.representations.pca import PCA
from finst.experiments.representations.spec import PCASpec, RSAEntropySpec, RSAStagesSpec
from finst.experiments.representations.stages import RSAStages
from finst.runs.archive import pack, unpack
from finst.runs.executor import run
from finst.vlm.open import Reader, open_vlm
from tests.experiments.representations import designs
from tests.experiments.representations.specs import EVERY, STAGES


@pytest.mark.parametrize("name", EVERY)
def test_the_plan_covers_every_trial_once(name: str):
    experiment, spec = EVERY[name]
    trials = [trial for unit in experiment.plan(spec) for trial in unit.trials]
    counts = {"rsa-stages": 32, "rsa-stages heads": 16, "rsa-entropy": 32, "rsa-frame": 64, "pca": 72, "pca frame": 128}
    assert trials == list(range({**counts, "accuracy": 8}[name]))
    assert len({unit.name for unit in experiment.plan(spec)}) == len(experiment.plan(spec))


def test_full_designs_have_the_papers_numbers():
    assert RSAStages().plan(RSAStagesSpec(trials=50))[-1].trials[-1] == 4049
    assert RSAEntropy().plan(RSAEntropySpec(trials=100, grid="2x2"))[-1].trials[-1] == 3199
    assert PCA().plan(PCASpec(trials=200))[-1].trials[-1] == 7199


@pytest.mark.parametrize("name", [name for name in EVERY if name != "pca"])  # tests/cli runs that one
def test_a_run_ends_with_a_report_and_would_resume_with_equal_bytes(name: str, folder: Path, tmp_path: Path):
    """A unit measured again, and the summary made again from the units' files, are the bytes in the folder."""
    experiment, small = EVERY[name]
    spec = replace(small, model=str(folder), device="cpu")
    finished = run(experiment, spec, tmp_path / "run", console=Console(file=io.StringIO()))
    findings = experiment.report.findings(finished.summary)
    html = finished.report.read_text()
    assert str(escape(findings.headline)) in html
    assert all(str(escape(paragraph)) in html for paragraph in findings.method)
    assert {path.suffix for path in finished.folder.glob("figures/*")} == {".png", ".pdf", ".csv"}
    assert all(f'id="figure-{path.stem}"' in html for path in finished.folder.glob("figures/*.csv"))
    assert len(findings.rows) > 1
    assert {len(row) for row in findings.rows} == {len(findings.columns)}
    units = sorted(finished.folder.glob("units/*"))
    again = experiment.measure(open_vlm(str(folder), device="cpu"), spec, experiment.plan(spec)[-1])
    assert pack(again) == pack(unpack(units[-1]))
    summary = experiment.summarise(spec, [unpack(unit) for unit in units])
    assert pack(summary) == pack(unpack(finished.folder / "summary.zarr.zip"))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("rsa-stages", {"trials": 0}, "trials is 0"),
        ("rsa-stages", {"grid": "2x3"}, "grid is 2x3: expected 2x2 or 3x3"),
        ("rsa-stages", {"alpha": 0.0}, "between 0 and 1"),
        ("rsa-stages", {"batch": 0}, "batch is 0"),
        ("rsa-entropy", {"permutations": 0}, "permutations is 0"),
        ("rsa-entropy", {"grid": "no"}, "unknown grid"),
        ("rsa-frame", {"bootstraps": 0}, "bootstraps is 0"),
        ("rsa-frame", {"trials_per_unit": 0}, "trials_per_unit is 0"),
        ("rsa-frame", {"tensor": "z"}, "only rsa-stages takes heads one by one; expected resid, post_attention_norm"),
        ("pca", {"role": "comma 9"}, "unknown role 'comma 9'"),
        ("pca", {"tensor": "z"}, "tensor is z"),
        ("pca", {"components": 1}, "components is 1"),
        ("pca frame", {"trials": 1}, "trials is 1: expected at least 2"),
        ("accuracy", {"objects": (2, 10)}, "objects holds 10"),
        ("accuracy", {"entropies": ()}, "entropies is"),
        ("accuracy", {"seed": -1}, "seed is -1"),
    ],
)
def test_bad_specs_are_refused_before_weights_load(name: str, changes: dict[str, Any], message: str, reader: Reader):
    experiment, spec = EVERY[name]
    with pytest.raises(FinstError, match=message):
        experiment.check(replace(spec, **changes), reader)


@pytest.mark.parametrize("name", EVERY)
def test_good_specs_pass(name: str, reader: Reader):
    experiment, spec = EVERY[name]
    experiment.check(spec, reader)


@pytest.mark.parametrize("name", EVERY)
def test_the_example_marks_the_tokens_that_are_read(name: str, reader: Reader):
    experiment, spec = EVERY[name]
    example = experiment.example(spec, reader)
    marked = [token for token in example.tokens if token.marks]
    counts = {"rsa-stages": 4, "rsa-stages heads": 4, "rsa-entropy": 4, "accuracy": 0}
    assert len(marked) == counts.get(name, 1)
    assert example.view.answer


def test_units_of_equal_data_have_equal_bytes():
    trials = stages.trials_of(STAGES, 1)
    assert pack(designs.unit(trials, {})) == pack(designs.unit(trials, {}))
