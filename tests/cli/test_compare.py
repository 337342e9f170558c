"""finst compare: from run folders to a page."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import xarray as xr

from finst.experiments.cma.spec import CMASpec
from finst.experiments.representations.spec import AccuracySpec
from finst.runs.spec import to_json
from tests.cli.conftest import Finst
from tests.experiments import synthetic
from tests.runs.finished import run_folder


@cache
def summary() -> xr.Dataset:
    return synthetic.summary(pairs=4)


def accuracies() -> xr.Dataset:
    """A summary of two numbers of objects."""
    spec = AccuracySpec(trials=2)
    values = (("placement", "entropy", "objects"), [[[1.0, 0.5]]])
    names = [f"{name}{end}" for name in ("accuracy", "colour_accuracy") for end in ("", "_low", "_high")]
    coords = {"placement": ["prefill"], "entropy": ["high"], "objects": [2, 3]}
    return xr.Dataset(dict.fromkeys(names, values), coords, to_json(spec) | {"alpha": 0.05})


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    specs = {name: to_json(CMASpec(model=name)) for name in ("organism", "other")}
    return [run_folder(tmp_path / name, summary(), spec) for name, spec in specs.items()]


def test_compare_writes_a_page_and_figures(finst: Finst, runs: list[Path], tmp_path: Path) -> None:
    out, figures = tmp_path / "page.html", tmp_path / "new" / "figures"
    outcome = finst("compare", *runs, "--out", out, "--figures", figures)
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1] == f"page: {out}"
    assert outcome.out.count("organism") == outcome.out.count("other") == 3
    assert out.read_text().startswith("<!doctype html>")
    names = {"maps", "panels", "depths"}
    assert {file.name for file in figures.iterdir()} == {
        f"{name}.{suffix}" for name in names for suffix in ("png", "pdf", "csv")
    }


def test_compare_takes_the_other_experiments(finst: Finst, tmp_path: Path) -> None:
    folders = [
        run_folder(tmp_path / name, accuracies(), to_json(AccuracySpec(seed=seed)), experiment="accuracy")
        for name, seed in (("one", 0), ("two", 1))
    ]
    outcome = finst("compare", *folders, "--out", tmp_path / "page.html")
    assert outcome.status == 0
    lines = outcome.out.splitlines()[:2]
    assert [line.partition(":")[0] for line in lines] == ["organism (one)", "organism (two)"]
    assert all("75.0%" in line for line in lines)
    assert 'class="warning"' in (tmp_path / "page.html").read_text()


def test_compare_refuses_before_it_writes(finst: Finst, runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert "a comparison needs two or more" in finst("compare", runs[0], "--out", out).message
    assert "expected a file in a folder that exists" in finst("compare", *runs, "--out", tmp_path / "no" / "x").message
    older = run_folder(tmp_path / "older", summary().drop_vars("reliability"), to_json(CMASpec()))
    assert "summarised by an older finst" in finst("compare", runs[0], older, "--out", out).message
    toys = [run_folder(tmp_path / name, summary(), {"model": name}, experiment="toy") for name in "ab"]
    assert "unknown experiment 'toy': expected one of cma, pca," in finst("compare", *toys, "--out", out).message
    (tmp_path / "file").write_text("")
    message = finst("compare", *runs, "--out", out, "--figures", tmp_path / "file" / "x").message
    assert "cannot make the folder" in message
    assert not out.exists()
