"""Folders of runs as finst leaves them, without having run anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from finst.runs.manifest import FORMAT, Manifest, ModelRecord, Session
from finst.runs.store import RunFolder

SESSION = Session("2026-01-01T00:00:00+00:00", "0.1.0", None, {"torch": "2.11.0"}, {"cpu": "some"})


def run_folder(
    folder: Path,
    summary: xr.Dataset | None,
    spec: Mapping[str, Any],
    *,
    experiment: str = "cma",
    weights: str = "c0ffee",
    versions: Mapping[str, str] | None = None,
) -> Path:
    """A finished run; without a summary, one whose only unit is still to be measured."""
    model = ModelRecord(spec["model"], None, weights, "float32", "cpu")
    session = replace(SESSION, versions={**SESSION.versions, **(versions or {})})
    manifest = Manifest(FORMAT, experiment, dict(spec), 0, model, 1, (session,))
    folder.mkdir()
    if summary is not None:
        RunFolder(folder, experiment, spec).write_summary(summary)
        manifest = manifest.done("2026-01-01T00:01:00+00:00")
    manifest.write(folder / "manifest.json")
    return folder
