"""The study of another reproduction's choices: an ordinary run for each choice, and one page over all of them."""

# ruff: noqa: RUF001  (typeset text: apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr
from rich.console import Console

from finst.engine.activations import check_tensor
from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.representations.spec import RSAStagesSpec
from finst.experiments.representations.stages import RSAStages
from finst.experiments.reproduction.choices import CHOICES, Choice, Name, baselines, shifts_of
from finst.experiments.reproduction.figures import discrepancy_figures
from finst.experiments.reproduction.measures import TOP
from finst.experiments.reproduction.shift import Shift, shift_findings
from finst.experiments.reproduction.spec import DiscrepancySpec
from finst.report.findings import Findings
from finst.report.page import report_page
from finst.report.wording import counted
from finst.runs.executor import planned, run
from finst.runs.experiment import Experiment
from finst.runs.factors import with_factors
from finst.runs.manifest import ModelRecord
from finst.runs.progress import print_line
from finst.runs.provenance import now, session
from finst.runs.spec import to_json
from finst.runs.store import RunFolder
from finst.vlm.open import VLM, Reader, open_reader, open_vlm

NAME = "explain-discrepancy"

EXPERIMENTS: Mapping[Name, Experiment[Any]] = {"rsa-stages": RSAStages(), "cma": CMA()}


@dataclass(frozen=True, eq=False)
class Study:
    """A finished study."""

    folder: Path
    report: Path
    shifts: tuple[Shift, ...]
    summaries: Mapping[str, xr.Dataset]
    """Summaries by the choices' keys; those of the baselines by the experiments' names."""
    findings: Findings


def explain(spec: DiscrepancySpec, out: Path, *, console: Console | None = None) -> Study:
    """Runs the baselines and every choice below ``out``, and writes the page over all of them there.

    Each is an ordinary run (``out/cma/leak`` and so on) with its report; finished runs are not repeated. Choices that
    need a tensor which the model does not have are left out, and the page lists them. Raises FinstError for input that
    the baselines refuse, and when ``out`` holds anything but this study.
    """
    spec.check()
    folder = RunFolder.claim(out, NAME, to_json(spec))
    if spec.pairs < 2:
        raise FinstError(f"pairs is {spec.pairs}: expected at least 2, since one sample is one of the choices")
    specs: dict[str, RSAStagesSpec | CMASpec] = {**baselines(spec)}
    plan: list[tuple[str, Name]] = [(name, name) for name in EXPERIMENTS]
    for choice in CHOICES:
        specs[choice.key] = with_factors(specs[choice.experiment], choice.factors)
        plan.append((choice.key, choice.experiment))
    reader = open_reader(spec.model, revision=spec.revision)
    console = console or Console(stderr=True)
    for key, name in plan:
        planned(EXPERIMENTS[name], specs[key], reader, out, console, inputs_given=True)
    vlm = open_vlm(reader, dtype=spec.dtype, device=spec.device)
    with folder.held():
        model = ModelRecord(reader.id, reader.revision, vlm.weights_hash, spec.dtype, vlm.place)
        folder.begin(model, len(plan), session())
        left_out = {key: reason for key, _ in plan if (reason := _impossible(vlm, specs[key]))}
        summaries: dict[str, xr.Dataset] = {}
        # Weights are loaded once for each number format.
        for dtype in dict.fromkeys(specs[key].dtype for key, _ in plan):
            vlm = vlm if dtype == spec.dtype else open_vlm(reader, dtype=dtype, device=spec.device)
            for key, name in plan:
                if specs[key].dtype == dtype and key not in left_out:
                    where = out / name / ("baseline" if key == name else key)
                    summaries[key] = run(EXPERIMENTS[name], specs[key], where, console=console, vlm=vlm).summary
        print_line(console, f"{len(summaries)} runs are in {out}")
        return _finish(spec, reader, folder, specs, summaries, left_out)


def _impossible(vlm: VLM, spec: RSAStagesSpec | CMASpec) -> str:
    """Why the model cannot be measured with these settings; empty if it can."""
    try:
        if isinstance(spec, RSAStagesSpec):
            check_tensor(vlm, spec.tensor)
    except FinstError as refusal:
        return str(refusal)
    return ""


def _finish(
    spec: DiscrepancySpec,
    reader: Reader,
    folder: RunFolder,
    specs: Mapping[str, RSAStagesSpec | CMASpec],
    summaries: Mapping[str, xr.Dataset],
    left_out: Mapping[str, str],
) -> Study:
    choices = tuple(choice for choice in CHOICES if choice.key not in left_out)
    shifts = shifts_of(choices, summaries)
    missing = [f"{choice.name}: left out. {left_out[choice.key]}" for choice in CHOICES if choice.key in left_out]
    findings = shift_findings(spec.model, shifts, missing, _method(spec), _sample(spec))
    cut = min(TOP, summaries["cma"]["mean"].isel(condition=0).size // 2)
    figures = discrepancy_figures(_named("rsa-stages", choices, summaries), _named("cma", choices, summaries), top=cut)
    for figure in figures:
        folder.write_figure(figure.name, figure.png, figure.pdf, figure.csv)
    folder.write_summary(_table(shifts, choices))
    leaked = specs["leak"]
    assert isinstance(leaked, RSAStagesSpec)
    example = RSAStages().example(leaked, reader)
    caption = "The scene of the first trial. The prompt ends with the target’s colour."
    example = replace(example, view=replace(example.view, caption=caption))
    done = folder.manifest.done(now())
    folder.write_report(report_page(findings, figures, example, to_json(done)))
    folder.finish(done)
    return Study(folder.path, folder.report_path, shifts, summaries, findings)


def _named(experiment: Name, choices: Sequence[Choice], summaries: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    changed = {choice.name: summaries[choice.key] for choice in choices if choice.experiment == experiment}
    return {"baseline": summaries[experiment], **changed}


def _table(shifts: Sequence[Shift], choices: Sequence[Choice]) -> xr.Dataset:
    """The numbers of the page (dim choice)."""
    numbers = {
        f"{name}_{end}": ("choice", [getattr(part, end) for part in parts])
        for name, parts in {"without": [s.without for s in shifts], "with": [s.with_ for s in shifts]}.items()
        for end in ("value", "low", "high")
    }
    texts = {
        name: ("choice", [getattr(shift, name) for shift in shifts]) for name in ("quantity", "expected", "outcome")
    }
    factors = {"factors": ("choice", [" ".join(shift.factors) for shift in shifts])}
    return xr.Dataset({**numbers, **texts, **factors}, coords={"choice": [choice.key for choice in choices]})


def _sample(spec: DiscrepancySpec) -> str:
    return (
        f"n = {counted(spec.trials, 'trial')} for every pair of object and cell, or {counted(spec.pairs, 'pair')}; "
        f"{100 * (1 - spec.alpha):.3g} % intervals apart, not a test, so there is no p"
    )


def _method(spec: DiscrepancySpec) -> tuple[str, ...]:
    return (
        f"Two experiments are run with their baseline settings, then again with one choice of another reproduction at "
        f"a time, on the same scenes where the choice allows it. They are the similarity of the stages (2x2 objects, "
        f"{counted(spec.trials, 'trial')} for every pair of object and cell; every trial has new objects, so only the "
        f"picture determines the target) and causal mediation ({counted(spec.pairs, 'pair')}). Every run has its own "
        "folder and report beside this page.",
        "A choice changes a result when the intervals of the number without and with the choice do not overlap "
        f"({100 * (1 - spec.alpha):.3g} % bootstrap intervals over trials or pairs; the interval of a mean over layers "
        "goes from the mean of the lower ends to the mean of the upper ends). Counts have no interval and are compared "
        "directly. “No visible change” applies to this model and this number of trials; the choice may still change "
        "results elsewhere.",
        "The correlation of maps is compared with that of resampled pairs of the baseline. For a choice without an "
        "expected direction, the number is taken where it changes most among all layers and both curves, so a change "
        "by chance is more likely there.",
    )
