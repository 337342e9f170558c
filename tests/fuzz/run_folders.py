"""Damaged run folders: bytes flipped, files cut, removed, swapped, duplicated, fields of manifests changed.

Whatever was done to a folder, reading it gives the undamaged data or a FinstError, and resuming it ends with the
undamaged data or a FinstError. ``case(seed)`` repeats one case.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import xarray as xr
from rich.console import Console

from finst.cli.options import Verify
from finst.cli.verification.remeasure import verify_units
from finst.errors import FinstError
from finst.experiments.api import load
from finst.report.figures import NamedFigure
from finst.report.findings import Findings
from finst.runs import executor
from finst.runs.experiment import Report
from finst.runs.finished import comparable_runs, differences_between, labels_of, manifest_of
from finst.vlm.open import VLM, open_vlm
from tests.runs.toy import Toy, ToySpec
from tests.tiny import checkpoint


def _findings(summary: xr.Dataset) -> Findings:
    mean = f"{float(summary['score'].mean()):.3f}"
    return Findings("a toy", f"{summary.sizes['trial']} trials", (), ("mean",), ((mean,),), ())


def _figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    return ()


class PlainToy(Toy):
    """Without figures, which take most of a toy's time."""

    report = Report(_figures, _findings)


@cache
def _model() -> VLM:
    return open_vlm(str(checkpoint(Path(tempfile.mkdtemp()) / "tiny")))


def _spec(seed: int = 0) -> ToySpec:
    return ToySpec(_model().reader.id, seed=seed)


_session = cache(executor.session)
"""Looking at git takes most of a small run's time."""


def _run(folder: Path, seed: int = 0) -> Any:
    with patch.object(executor, "session", _session):
        return _toy_run(folder, seed)


def _toy_run(folder: Path, seed: int) -> Any:
    return executor.run(PlainToy(), _spec(seed), folder, console=Console(file=io.StringIO()), vlm=_model())


@cache
def _whole() -> tuple[Path, Path]:
    """Two finished runs of different seeds."""
    base = Path(tempfile.mkdtemp())
    for seed in (0, 1):
        _run(base / str(seed), seed)
    return base / "0", base / "1"


@cache
def _truth(seed: int = 0) -> tuple[xr.Dataset, tuple[xr.Dataset, ...]]:
    run = load(_whole()[seed], PlainToy)
    return run.summary, tuple(run.units())


def _truth_of(folder: Path) -> tuple[xr.Dataset, tuple[xr.Dataset, ...]]:
    """The run that the folder's manifest is of: the other one where the whole manifest is the other one's."""
    name, other = "manifest.json", _whole()[1]
    file = folder / name
    return _truth(int(file.is_file() and file.read_bytes() == (other / name).read_bytes()))


def whole() -> Path:
    """A finished run."""
    return _whole()[0]


def contents(folder: Path) -> dict[str, bytes]:
    """All files by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _pick(rng: np.random.Generator, folder: Path) -> Path:
    files = _files(folder)
    return files[rng.integers(len(files))]


def _flip(rng: np.random.Generator, folder: Path) -> None:
    file = _pick(rng, folder)
    content = bytearray(file.read_bytes())
    for place in rng.integers(0, max(1, len(content)), rng.integers(1, 4)):
        if content:
            content[place] ^= int(rng.integers(1, 256))
    file.write_bytes(content)


def _cut(rng: np.random.Generator, folder: Path) -> None:
    file = _pick(rng, folder)
    content = file.read_bytes()
    file.write_bytes(content[: rng.integers(0, len(content) + 1)])


def _grow(rng: np.random.Generator, folder: Path) -> None:
    file = _pick(rng, folder)
    file.write_bytes(file.read_bytes() + rng.bytes(int(rng.integers(1, 40))))


def _remove(rng: np.random.Generator, folder: Path) -> None:
    file = _pick(rng, folder)
    file.unlink()
    if rng.random() < 0.2:
        file.mkdir()


def _swap(rng: np.random.Generator, folder: Path) -> None:
    first, second = _pick(rng, folder), _pick(rng, folder)
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def _duplicate(rng: np.random.Generator, folder: Path) -> None:
    source = _pick(rng, folder)
    target = _pick(rng, folder) if rng.random() < 0.7 else folder / "units" / f"{rng.integers(0, 9):05d}.zarr.zip"
    target.parent.mkdir(exist_ok=True)
    if source != target:
        shutil.copyfile(source, target)


def _foreign(rng: np.random.Generator, folder: Path) -> None:
    """A file of another run in the place of this run's."""
    file = _pick(rng, _whole()[1])
    target = folder / file.relative_to(_whole()[1])
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(file, target)


VALUES: tuple[Any, ...] = (None, True, -1, 0, 3, 10**30, 1.5, float("nan"), "", "x", "\ud800", [], [1], {}, {"a": 1})


def _edit(rng: np.random.Generator, folder: Path) -> None:
    """A field of the manifest, at any depth, replaced, removed or added."""
    file = folder / "manifest.json"
    with suppress(OSError, ValueError):
        node: Any = json.loads(file.read_bytes())
        whole = node
        while isinstance(node, dict | list) and node:
            key = list(node)[rng.integers(len(node))] if isinstance(node, dict) else int(rng.integers(len(node)))
            inner = node[key]
            if not isinstance(inner, dict | list) or not inner or rng.random() < 0.4:
                if rng.random() < 0.2:
                    del node[key]
                else:
                    node[key] = VALUES[rng.integers(len(VALUES))]
                break
            node = inner
        if rng.random() < 0.3:
            whole["format"] = VALUES[rng.integers(len(VALUES))] if rng.random() < 0.5 else int(rng.integers(1, 5))
        file.write_text(json.dumps(whole))


Damage = Callable[[np.random.Generator, Path], None]

DAMAGES: tuple[Damage, ...] = (
    _flip,
    _cut,
    _grow,
    _remove,
    _swap,
    _duplicate,
    _foreign,
    _edit,
)


def _same(found: xr.Dataset, truth: xr.Dataset) -> None:
    xr.testing.assert_identical(found, truth)


def _read(folder: Path) -> None:
    summary, units = _truth_of(folder)
    with suppress(FinstError):
        run = load(folder, PlainToy)
        _same(run.summary, summary)
        assert run.findings.headline == "4 trials"
        assert run.report == folder / "report.html"
        assert isinstance(run.frame("score").to_csv(), str)
    with suppress(FinstError):
        run = load(folder, PlainToy)
        found = tuple(run.units())
        assert len(found) == len(units)
        for one, other in zip(found, units, strict=True):
            _same(one, other)


def _compare(folder: Path) -> None:
    with suppress(FinstError):
        runs = comparable_runs([folder, _whole()[1]])
        _same(runs[0].summary, _truth_of(folder)[0])
        differences_between(runs)
        labels_of(runs)


def _verify(folder: Path) -> None:
    """Units of a damaged folder are refused, or found to be what they were."""
    with suppress(FinstError):
        manifest = manifest_of(folder)
        options = Verify(_model().reader.id, units=4, device="cpu")
        assert verify_units(options, folder, manifest, PlainToy()).outcome == "reproduced"


def _resume(folder: Path) -> None:
    with suppress(FinstError):
        _same(_run(folder).summary, _truth()[0])
        _read(folder)


def case(seed: int) -> None:
    """One to three damages to a finished run, then everything that reads it."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as base:
        folder = Path(shutil.copytree(whole(), Path(base) / "run"))
        for _ in range(rng.integers(1, 4)):
            if _files(folder):
                DAMAGES[rng.integers(len(DAMAGES))](rng, folder)
        _read(folder)
        _compare(folder)
        if rng.random() < 0.1:
            _verify(folder)
        _resume(folder)
