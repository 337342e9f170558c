"""A finished run in formats of other tools: tables as CSV or Parquet, arrays as netCDF, with units and provenance.

A table has the variables that share their dims, one row an entry, with all coordinates of these dims as columns. The
tables of units have a further column ``unit``. ``variables.csv`` gives table, dims, unit and meaning of each variable,
and ``provenance.json`` is the run's manifest.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from finst.errors import FinstError
from finst.runs.archive import write_atomically
from finst.runs.finished import FinishedRun

Format = Literal["csv", "parquet", "netcdf"]

NEEDED: Mapping[Format, tuple[str, ...]] = {"csv": (), "parquet": ("pyarrow",), "netcdf": ("h5netcdf", "h5py")}
"""Libraries of each format, which ``pip install 'finst[export]'`` brings."""

SCALARS = "scalars"
"""The name of the table of variables without dims."""


def export(run: FinishedRun, to: Format, out: Path) -> tuple[Path, ...]:
    """Writes the summary and all units of ``run`` into the folder ``out``; the paths of the files.

    Raises FinstError, before anything is written, for a missing library and a folder that is not empty; and for a unit
    that is missing or damaged.
    """
    missing = [name for name in NEEDED[to] if find_spec(name) is None]
    if missing:
        raise FinstError(f"{to} needs {missing[0]}, which is not installed: pip install 'finst[export]'")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FinstError(f"{out} exists: expected a new or empty folder for the export")
    units = list(run.units())
    out.mkdir(parents=True, exist_ok=True)
    record = json.dumps(run.record, indent=2, ensure_ascii=False)
    files = _arrays(run, units, record) if to == "netcdf" else _tables(run.summary, units, _ENCODERS[to])
    written = [_write(out / name, content) for name, content in files]
    return (*written, _write(out / "provenance.json", f"{record}\n".encode()))


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return path


Encoder = tuple[str, Callable[[pd.DataFrame], bytes]]
"""The end of a file's name, and a table as the file's bytes."""

_ENCODERS: Mapping[Format, Encoder] = {
    "csv": ("csv", lambda table: table.to_csv(index=False).encode()),
    "parquet": ("parquet", lambda table: table.to_parquet(index=False)),
}


def _tables(summary: xr.Dataset, units: Sequence[xr.Dataset], encoder: Encoder) -> Iterator[tuple[str, bytes]]:
    """(path, content) of each table, and of the list of variables."""
    ending, encode = encoder
    described: list[dict[str, str]] = []
    for name, variables in groups(summary).items():
        path = f"summary/{name}.{ending}"
        described += [_described(path, summary[variable]) for variable in variables]
        yield path, encode(table(summary, variables))
    for name, variables in groups(units[0]).items() if units else ():
        path = f"units/{name}.{ending}"
        described += [_described(path, units[0][variable]) for variable in variables]
        parts = [table(unit, variables).assign(unit=index) for index, unit in enumerate(units)]
        yield path, encode(pd.concat(parts, ignore_index=True))
    yield "variables.csv", pd.DataFrame(described).to_csv(index=False).encode()


def groups(data: xr.Dataset) -> dict[str, list[str]]:
    """The data variables by the name of their table: their dims joined with ``-``."""
    named: dict[str, list[str]] = {}
    for name, variable in data.data_vars.items():
        named.setdefault("-".join(map(str, variable.dims)) or SCALARS, []).append(str(name))
    return named


def table(data: xr.Dataset, variables: Sequence[str]) -> pd.DataFrame:
    """One row for each entry of the variables, which share their dims; coordinates first.

    A dim without a coordinate counts from 0.
    """
    dims = data[variables[0]].dims
    if not dims:
        return pd.DataFrame([{name: data[name].item() for name in variables}])
    shared = data[list(variables)]
    counted = {dim: np.arange(data.sizes[dim]) for dim in dims if dim not in data.coords}
    rows = shared.assign_coords(counted).to_dataframe(dim_order=list(dims)).reset_index()
    first = [str(name) for name in rows.columns if name not in variables]
    return rows.reindex(columns=[*first, *variables])


def _described(path: str, variable: xr.DataArray) -> dict[str, str]:
    return {
        "file": path,
        "variable": str(variable.name),
        "dims": " ".join(map(str, variable.dims)),
        "units": str(variable.attrs.get("units", "")),
        "meaning": str(variable.attrs.get("long_name", "")),
    }


def _arrays(run: FinishedRun, units: Sequence[xr.Dataset], record: str) -> Iterator[tuple[str, bytes]]:
    """(path, content) of the summary and of each unit; the manifest is the attribute ``provenance``."""
    yield "summary.nc", _netcdf(run.summary, record)
    for index, unit in enumerate(units):
        yield f"units/{index:05d}.nc", _netcdf(unit, record)


def _netcdf(data: xr.Dataset, record: str) -> bytes:
    """netCDF has no truth values, no None and no nested attributes: bytes 0 and 1, and JSON, stand for them."""
    plain = data.map(lambda variable: variable.assign_attrs(_attributes(variable.attrs)))
    plain = plain.assign_attrs({**_attributes(data.attrs), "provenance": record})
    file = io.BytesIO()
    plain.to_netcdf(file, engine="h5netcdf")
    return file.getvalue()


def _attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    simple = (str, int, float, np.integer, np.floating)
    return {
        name: value if isinstance(value, simple) and not isinstance(value, bool) else json.dumps(value, default=str)
        for name, value in attributes.items()
    }
