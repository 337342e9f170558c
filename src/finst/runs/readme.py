"""README.md of a run folder: what is in it, and how to read it."""

from __future__ import annotations

from string import Template

from finst.runs.archive import SUFFIX

_TEXT = Template(
    """# A run of finst: $experiment

Model: `$model`. What was run on which machine, with which versions and settings, is in `manifest.json`.

| file | what is in it |
|---|---|
| `report.html` | the results in words, tables and figures; opens in any browser, without a network |
| `summary$suffix` | the numbers that the report shows, with units; an xarray dataset |
| `figures/` | every figure as PNG and PDF, and its numbers as CSV |
| `units/` | what was measured, in parts; each an xarray dataset |
| `manifest.json` | settings, model, machines, versions, seconds; says whether the run is finished |

Two lines of Python read it; `run.summary` is the dataset and `run.findings` the sentences and tables:

```python
import finst
run = finst.load("path/of/this/folder")
```

Without finst, with xarray and zarr 3:

```python
import xarray, zarr
summary = xarray.open_zarr(zarr.storage.ZipStore("summary$suffix", mode="r"), consolidated=False)
```

`finst export path/of/this/folder --to csv` (or `parquet`, `netcdf`) writes tables for other programs.

The command that made this folder continues it if it was interrupted. Files are checked when they are read: a changed
one is refused by name.
"""
)


def readme(experiment: str, model: str) -> str:
    """The text for a run of ``experiment`` on ``model``."""
    return _TEXT.substitute(experiment=experiment, model=model, suffix=SUFFIX)
