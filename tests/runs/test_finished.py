"""Runs that can be compared, and what differs between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from finst.errors import FinstError
from finst.report.comparison import Difference
from finst.runs.finished import comparable_runs, differences_between, finished_run, labels_of, stored_units
from finst.runs.store import RunFolder
from tests.runs.finished import run_folder

SUMMARY = xr.Dataset({"score": ("layer", [0.5, 1.0])})
SPEC: dict[str, Any] = {"model": "organism", "revision": None, "pairs": 50, "seed": 0, "device": "auto"}


def test_a_finished_run_is_read_back(tmp_path: Path) -> None:
    run = finished_run(run_folder(tmp_path / "run", SUMMARY, SPEC))
    assert run.summary.identical(SUMMARY)
    assert run.manifest.spec == SPEC
    assert run.record["folder"] == str(run.folder)
    assert run.report == run.folder / "report.html"


def test_units_are_read_in_order_and_missing_ones_named(tmp_path: Path) -> None:
    path = run_folder(tmp_path / "run", SUMMARY, SPEC)
    run = finished_run(path)
    with pytest.raises(FinstError, match="has no unit 0: expected 0 to 0"):
        run.unit(0)
    with pytest.raises(FinstError, match="holds 0 of the 1 units"):
        stored_units(path, run.manifest)
    (path / "units").mkdir()
    RunFolder(path, "cma", SPEC).write_unit(0, SUMMARY, 1.0, None)
    assert [unit.identical(SUMMARY) for unit in run.units()] == [True]
    assert stored_units(path, run.manifest) == [0]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one, other = (run_folder(tmp_path / name, SUMMARY, SPEC) for name in ("one", "other"))
    assert [run.folder for run in comparable_runs([other, one])] == [other, one]
    unfinished = run_folder(tmp_path / "unfinished", None, SPEC)
    elsewhere = run_folder(tmp_path / "pca", SUMMARY, SPEC, experiment="pca")
    refused = {
        "0 runs given: a comparison needs two or more": [],
        "1 run given: a comparison needs two or more": [one],
        "is given twice: expected different runs": [one, other, tmp_path / "other" / ".." / "one"],
        "holds no run: expected a folder with manifest.json": [one, tmp_path],
        r"holds a run that is not finished \(0 of 1 units\)": [one, unfinished],
        rf"'cma' in {one}, 'pca' in {elsewhere}\): expected one experiment": [one, elsewhere],
    }
    for message, paths in refused.items():
        with pytest.raises(FinstError, match=message):
            comparable_runs(paths)


def test_damaged_summaries_are_refused(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", SUMMARY, SPEC)
    (folder / "summary.zarr.zip").write_bytes(b"no zip")
    with pytest.raises(FinstError, match="is damaged"):
        finished_run(folder)


def test_what_differs_is_listed_and_whether_it_misleads(tmp_path: Path) -> None:
    """Models are compared on purpose; devices change only rounding."""
    other = SPEC | {"model": "llava", "seed": 1, "device": "cuda", "alpha": 0.01}
    runs = comparable_runs(
        [
            run_folder(tmp_path / "one", SUMMARY, SPEC, weights="a" * 64),
            run_folder(tmp_path / "two", SUMMARY, other, weights="b" * 64, versions={"torch": "2.12.0"}),
        ]
    )
    assert differences_between(runs) == (
        Difference("seed", ("0", "1"), misleads=True),
        Difference("device", ("auto", "cuda"), misleads=False),
        Difference("alpha", ("absent", "0.01"), misleads=True),
        Difference("torch", ("2.11.0", "2.12.0"), misleads=False),
    )
    assert differences_between(runs[:1] * 2)[0].name == "weights, some the same"


def test_labels_are_short_and_never_alike(tmp_path: Path) -> None:
    folders = {"a": "Qwen/Qwen2-VL-7B", "b": "/somewhere/llava", "c": "organism", "d": "organism"}
    paths = [run_folder(tmp_path / name, SUMMARY, SPEC | {"model": model}) for name, model in folders.items()]
    (tmp_path / "more").mkdir()
    paths.append(run_folder(tmp_path / "more" / "d", SUMMARY, SPEC))
    expected = ("Qwen2-VL-7B", "llava", "organism (c)", "organism (d), 4", "organism (d), 5")
    assert labels_of(comparable_runs(paths)) == expected
