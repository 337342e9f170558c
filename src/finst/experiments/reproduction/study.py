"""The factor study as runs: one ordinary run folder a choice, and one page over all of them."""

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
from finst.experiments.reproduction.choices import CHOICES, TOP, Choice, Name, baselines, bends_of
from finst.experiments.reproduction.figures import discrepancy_figures
from finst.experiments.reproduction.shift import Bend, bends_findings
from finst.experiments.reproduction.spec import DiscrepancySpec
from finst.report.findings import Findings
from finst.report.page import report_page
from finst.runs.executor import run
from finst.runs.experiment import Experiment
from finst.runs.factors import with_factors
from finst.runs.manifest import ModelRecord
from finst.runs.progress import say
from finst.runs.provenance import now, session
from finst.runs.spec import to_json
from finst.runs.store import RunFolder
from finst.vlm.open import VLM, Reader, open_reader, open_vlm

NAME = "explain-discrepancy"

EXPERIMENTS: Mapping[Name, Experiment[Any]] = {"rsa-stages": RSAStages(), "cma": CMA()}


@dataclass(frozen=True, eq=False)
class Explained:
    """A finished study."""

    folder: Path
    report: Path
    bends: tuple[Bend, ...]
    summaries: Mapping[str, xr.Dataset]
    """By the choices' keys; those of the baselines under the experiments' names."""
    findings: Findings


def explain(spec: DiscrepancySpec, out: Path, *, console: Console | None = None) -> Explained:
    """Runs the baselines and every choice below ``out``, and writes the page over all of them there.

    Each is a run of its own (``out/cma/leak`` and so on) with its report; what was measured before is not measured
    again. Choices that the model has no such tensor for are left out and
    named. Raises FinstError for what the baselines refuse, and when ``out`` holds anything but this study.
    """
    folder = RunFolder.claim(out, NAME, to_json(spec))
    if spec.pairs < 2:
        raise FinstError(f"pairs is {spec.pairs}: expected at least 2, since one sample is one of the choices")
    specs: dict[str, RSAStagesSpec | CMASpec] = {**baselines(spec)}
    plan: list[tuple[str, Name]] = [(name, name) for name in EXPERIMENTS]
    for choice in CHOICES:
        specs[choice.key] = with_factors(specs[choice.experiment], choice.factors)
        plan.append((choice.key, choice.experiment))
    reader = open_reader(spec.model, revision=spec.revision)
    for key, name in plan:
        EXPERIMENTS[name].check(specs[key], reader)
    console = console or Console(stderr=True)
    vlm = open_vlm(reader, dtype=spec.dtype, device=spec.device)
    with folder.held():
        model = ModelRecord(reader.id, reader.revision, vlm.weights_hash, spec.dtype, str(vlm.device))
        folder.begin(model, len(plan), session())
        left_out = {key: reason for key, _ in plan if (reason := _impossible(vlm, specs[key]))}
        summaries: dict[str, xr.Dataset] = {}
        # Weights are loaded once for each number format.
        for dtype in dict.fromkeys(specs[key].dtype for key, _ in plan):
            vlm = vlm if dtype == spec.dtype else open_vlm(reader, dtype=dtype, device=spec.device)
            for key, name in plan:
                if specs[key].dtype == dtype and key not in left_out:
                    where = out / name / ("baseline" if key == name else key)
                    one = run(EXPERIMENTS[name], specs[key], where, console=console, vlm=vlm)
                    summaries[key] = one.summary
        say(console, f"{len(summaries)} runs are in {out}")
        return _finish(spec, reader, folder, specs, summaries, left_out)


def _impossible(vlm: VLM, spec: RSAStagesSpec | CMASpec) -> str:
    """Why the model cannot do this; empty if it can."""
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
) -> Explained:
    choices = tuple(choice for choice in CHOICES if choice.key not in left_out)
    bends = bends_of(choices, summaries)
    missing = [f"{choice.name}: left out. {left_out[choice.key]}" for choice in CHOICES if choice.key in left_out]
    findings = bends_findings(spec.model, bends, missing, _method(spec))
    cut = min(TOP, summaries["cma"]["mean"].isel(condition=0).size // 2)
    figures = discrepancy_figures(_named("rsa-stages", choices, summaries), _named("cma", choices, summaries), top=cut)
    for figure in figures:
        folder.write_figure(figure.name, figure.png, figure.pdf, figure.csv)
    folder.write_summary(_table(bends, choices))
    leaked = specs["leak"]
    assert isinstance(leaked, RSAStagesSpec)
    shown = RSAStages().example(leaked, reader)
    caption = "The scene of the first trial. Here the target’s colour is in the prompt, as its last word."
    shown = replace(shown, view=replace(shown.view, caption=caption))
    done = folder.manifest.done(now())
    folder.write_report(report_page(findings, figures, shown, to_json(done)))
    folder.finish(done)
    return Explained(folder.path, folder.report_path, bends, summaries, findings)


def _named(experiment: Name, choices: Sequence[Choice], summaries: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    own = {choice.name: summaries[choice.key] for choice in choices if choice.experiment == experiment}
    return {"baseline": summaries[experiment], **own}


def _table(bends: Sequence[Bend], choices: Sequence[Choice]) -> xr.Dataset:
    """The numbers of the page, by choice."""
    numbers = {
        f"{name}_{end}": ("choice", [getattr(part, end) for part in parts])
        for name, parts in {"without": [b.without for b in bends], "with": [b.with_ for b in bends]}.items()
        for end in ("value", "low", "high")
    }
    texts = {name: ("choice", [getattr(bend, name) for bend in bends]) for name in ("quantity", "expected", "outcome")}
    factors = {"factors": ("choice", [" ".join(bend.factors) for bend in bends])}
    return xr.Dataset({**numbers, **texts, **factors}, coords={"choice": [choice.key for choice in choices]})


def _method(spec: DiscrepancySpec) -> tuple[str, ...]:
    return (
        f"Two experiments are run as they should be, then again with one choice of another reproduction at a time, on "
        f"the same scenes wherever the choice allows it: similarity of the stages (2x2 objects, {spec.trials} trials "
        f"for every pair of object and cell; every trial has objects of its own, so that nothing but the picture tells "
        f"what the target is) and causal mediation ({spec.pairs} pairs). Every run has its own folder and report "
        "beside this page.",
        "A choice bends a result when the intervals of the number without it and with it do not overlap "
        f"({100 * (1 - spec.alpha):.3g} % bootstrap intervals over trials or pairs; the interval of a mean over layers "
        "goes from the mean of the lower to that of the upper ends). Counts have no interval and are compared as they "
        "are. “No bend is visible” speaks of this model and this number of trials: it does not mean that the choice is "
        "harmless elsewhere.",
        "The correlation of maps is compared with what another draw of the same pairs does to the baseline’s own maps. "
        "The number for a choice that has no direction is taken where it changes most, out of all layers and both "
        "curves, so small overlaps of chance are more likely there.",
    )
