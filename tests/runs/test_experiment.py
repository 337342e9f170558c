"""The defaults of an experiment: its report, its inputs, and the comparison of runs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import xarray as xr
from rich.console import Console

from finst.report.comparison import Difference, Side
from finst.vlm.open import VLM
from tests.experiments import synthetic
from tests.runs.toy import Toy, ToySpec

RECORD = {"spec": {"model": "organism", "dtype": "float32"}, "units": 2}


def summary(trials: int) -> xr.Dataset:
    return xr.Dataset({"score": (("trial", "layer"), np.ones((trials, 3)))})


def test_an_experiment_needs_no_other_run_and_prepares_nothing(tmp_path: Path) -> None:
    vlm, spec = VLM(synthetic.reader(), None), ToySpec("organism")
    assert Toy().inputs(vlm, spec, tmp_path, Console(file=io.StringIO())) is None
    assert Toy().recorded_inputs(spec, tmp_path) is None
    assert Toy().prepare(vlm, spec, "given") == "given"


def test_the_report_has_findings_figures_example_and_record() -> None:
    figures = Toy().report.figures(summary(2))
    page = Toy().page(ToySpec("organism"), synthetic.reader(), summary(2), figures, RECORD)
    assert "<h1>2 trials</h1>" in page
    assert 'id="figure-profile"' in page
    assert "A toy." in page
    assert '<dt>units</dt><dd class="mono">2</dd>' in page


def test_runs_are_compared_by_their_findings_and_figures() -> None:
    sides = [Side(name, summary(count), RECORD) for name, count in (("a", 2), ("b", 5))]
    comparison = Toy().compare(sides, [Difference("seed", ("0", "1"), misleads=True)])
    assert comparison.text == "a: 2 trials\nb: 5 trials"
    assert [figure.name for figure in comparison.figures] == ["profile-1", "profile-2"]
    assert comparison.html.count("<figure ") == 2
    assert "<td>seed</td>" in comparison.html
