"""Exported runs: read back by other libraries, every number is there with its unit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from finst.errors import FinstError
from finst.runs import export as module
from finst.runs.export import Format, export, groups, table
from finst.runs.finished import FinishedRun, finished_run
from tests.runs.old_runs import unpacked


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return finished_run(unpacked("cma", tmp_path_factory.mktemp("export")))


def same(first: Any, values: np.ndarray) -> bool:
    return bool(np.array_equal(first.to_numpy().astype(values.dtype), values, equal_nan=values.dtype.kind == "f"))


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_every_number_is_in_a_table_beside_its_coordinates(run: FinishedRun, to: Format, tmp_path: Path) -> None:
    files = export(run, to, tmp_path / "out")
    read = pd.read_csv if to == "csv" else pd.read_parquet
    kwargs = {"keep_default_na": False, "na_values": ["", "nan"]} if to == "csv" else {}
    found: set[str] = set()
    for name, variables in groups(run.summary).items():
        rows = read(tmp_path / "out" / "summary" / f"{name}.{to}", **kwargs)
        for variable in variables:
            array = run.summary[variable]
            found.add(variable)
            if array.dtype.kind in "fib":
                assert same(rows[variable], array.values.ravel()), variable
            for dim in array.dims:
                expected = array[dim].broadcast_like(array).transpose(*array.dims).values.ravel()
                assert same(rows[str(dim)], expected)
    assert found == set(map(str, run.summary.data_vars))
    units = read(tmp_path / "out" / "units" / f"pair-condition-layer-head.{to}", **kwargs)
    scores = np.concatenate([unit["score"].transpose("pair", "condition", "layer", "head").values.ravel()
                             for unit in run.units()])  # fmt: skip
    assert same(units["score"], scores)
    assert set(units["unit"]) == set(range(run.manifest.units))
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["model"]["hash"] == run.manifest.model.hash
    listed = pd.read_csv(tmp_path / "out" / "variables.csv").set_index(["file", "variable"])
    assert listed.loc[(f"summary/condition-layer-head.{to}", "mean"), "units"] == run.summary["mean"].attrs["units"]
    assert {tmp_path / "out" / file for file in listed.index.get_level_values(0)} <= set(files)


def test_netcdf_holds_the_same_arrays(run: FinishedRun, tmp_path: Path) -> None:
    export(run, "netcdf", tmp_path / "out")
    units = [xr.load_dataset(path) for path in sorted((tmp_path / "out" / "units").iterdir())]
    both = zip([xr.load_dataset(tmp_path / "out" / "summary.nc"), *units], [run.summary, *run.units()], strict=True)
    for stored, data in both:
        for name, variable in data.variables.items():
            assert stored[name].dims == variable.dims
            assert np.array_equal(stored[name].values.astype(variable.dtype), variable.values,
                                  equal_nan=variable.dtype.kind == "f")  # fmt: skip
            assert {key: stored[name].attrs.get(key) for key in ("units", "long_name")} == {
                key: variable.attrs.get(key) for key in ("units", "long_name")
            }
        assert json.loads(stored.attrs["provenance"])["experiment"] == "cma"


def test_tables_of_scalars_and_of_dims_without_coordinates() -> None:
    data = xr.Dataset({"one": 3.0, "two": ((), "text"), "row": ("step", [1, 2])})
    assert groups(data) == {"scalars": ["one", "two"], "step": ["row"]}
    assert table(data, ["one", "two"]).to_dict("records") == [{"one": 3.0, "two": "text"}]
    assert table(data, ["row"]).to_dict("records") == [{"step": 0, "row": 1}, {"step": 1, "row": 2}]


def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("x")
    with pytest.raises(FinstError, match="expected a new or empty folder"):
        export(run, "csv", tmp_path / "full")
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(FinstError, match=r"pyarrow, which is not installed: pip install 'finst\[export\]'"):
        export(run, "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()
