"""An experiment so small that a test can kill it anywhere: ``python -m tests.runs.toy MODEL OUT [KILL]``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from finst.errors import FinstError
from finst.report.example import ContextView, TokenView, TrialExample
from finst.report.figures import NamedFigure, canvas
from finst.report.findings import Findings
from finst.runs.executor import run
from finst.runs.experiment import Experiment, Report, Unit
from finst.runs.finished import FinishedRun
from finst.vlm.open import VLM, Reader
from finst.vlm.spec import ModelSpec


@dataclass(frozen=True)
class ToySpec(ModelSpec):
    units: int = 4
    seed: int = 0
    device: str = "cpu"


def figures(summary: xr.Dataset) -> tuple[NamedFigure, ...]:
    figure = canvas(2, 1)
    figure.add_subplot().plot(summary["score"].mean("trial"))
    csv = summary["score"].mean("trial").to_series().to_csv()
    return (NamedFigure("profile", "Profile", "Mean score by layer.", figure, csv),)


def findings(summary: xr.Dataset) -> Findings:
    count = f"{summary.sizes['trial']} trials"
    return Findings("a toy", count, (), ("mean",), ((f"{float(summary['score'].mean()):.3f}",),), ())


class Toy(Experiment[ToySpec]):
    """Keeps which units it measured, for a test to see that finished ones are not measured again."""

    name = "toy"
    spec = ToySpec
    report = Report(figures, findings)
    statistic = "score"

    def __init__(self) -> None:
        self.measured: list[str] = []

    def check(self, spec: ToySpec, reader: Reader) -> None:
        if spec.units < 1:
            raise FinstError(f"units is {spec.units}: expected at least 1")

    def plan(self, spec: ToySpec) -> tuple[Unit, ...]:
        return tuple(Unit(f"trial {index}", (index,)) for index in range(spec.units))

    def measure(self, vlm: VLM, spec: ToySpec, unit: Unit, prepared: Any) -> xr.Dataset:
        self.measured.append(unit.name)
        weight = float(next(vlm.model.parameters()).sum())
        scores = np.random.default_rng([spec.seed, *unit.trials]).normal(size=(1, vlm.n_layers)) * weight
        return xr.Dataset({"score": (("trial", "layer"), scores)}, coords={"trial": [unit.name]})

    def summarise(self, spec: ToySpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        return xr.concat(list(parts), "trial", join="exact", data_vars="all").assign_attrs(seed=spec.seed)

    def example(self, spec: ToySpec, reader: Reader) -> TrialExample:
        view = ContextView("toy", "A toy.", np.zeros((2, 2, 3), np.uint8), (), "nothing")
        return TrialExample((1, 1), view, (TokenView("toy", "text"),))


def run_toy(spec: ToySpec, out: Path, toy: Toy | None = None) -> FinishedRun:
    return run(toy or Toy(), spec, out)


def die_at(replacement: int) -> None:
    """Kills this process with SIGKILL just before its n-th file takes its final name."""
    replace, done = os.replace, 0

    def counting(source: Path, target: Path) -> None:
        nonlocal done
        done += 1
        if done == replacement:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = counting  # pyright: ignore[reportAttributeAccessIssue]


if __name__ == "__main__":
    model, out, *kill = sys.argv[1:]
    if kill:
        die_at(int(kill[0]))
    torch.set_num_threads(1)  # as in tests/conftest.py: sums over more threads round differently
    run_toy(ToySpec(model), Path(out))
