"""``finst rehearse``: whether a plan will run here and what it takes; and what ``finst reproduce`` says of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from finst.cli.options import PlanChoice, Rehearse
from finst.cli.plans import chosen_plan
from finst.rehearsal.estimate import Rehearsal, StepEstimate, between, size, total_of
from finst.rehearsal.rehearse import rehearse
from finst.report.wording import counted, duration, listed
from finst.vlm.spec import ModelSpec


def run(options: Rehearse, console: Console) -> Rehearsal:
    """Rehearses the chosen plan.

    Raises FinstError for more than one plan, and whatever ``finst.rehearsal.rehearse.rehearse`` refuses.
    """
    plan = chosen_plan(options)
    model = ModelSpec(options.model, options.revision, options.dtype, options.device)
    folder = options.out or Path("runs") / f"rehearse-{Path(options.model).name}"
    return rehearse(plan, model, folder, only=options.only, console=console)


def forecast(estimates: Mapping[str, StepEstimate], steps: Sequence[str], command: str) -> tuple[str, ...]:
    """Lines on time, memory and disk of the ``steps`` that are to be run; the ``command`` that estimates the others."""
    if not steps:
        return ()
    missing = [name for name in steps if name not in estimates]
    if not estimates:
        return (f"how long this takes is not known; to estimate it: {command}",)
    total, rehearsed = total_of([*estimates.values()]), [each.sample for each in estimates.values() if each.sample]
    host = max(step.host_bytes for step in estimates.values())
    gpus = [step.gpu_bytes for step in estimates.values() if step.gpu_bytes is not None]
    gpu = f" and {size(max(gpus))} of GPU memory" if gpus else ""
    disk = sum(step.disk_bytes for step in estimates.values())
    units = counted(sum(sample.units for sample in rehearsed), "measured unit")
    lines = (
        f"expected: {duration(total.value)} ({between(total)}) for {counted(len(estimates), 'step')}, by a rehearsal "
        f"on this machine with {units}",
        f"expected: up to {size(host)} of host memory{gpu}, and {size(disk)} on disk",
    )
    return (*lines, f"no estimate for {listed(missing)}; to make one: {command}") if missing else lines


def rehearsal_command(options: PlanChoice) -> str:
    """The command that rehearses what these options choose."""
    words = ["finst", "rehearse", options.model]
    words += ["--full"] if options.full else [] if options.plan is None else ["--plan", str(options.plan)]
    words += ["--only", *options.only] if options.only else []
    for name in ("revision", "dtype", "device"):
        value = getattr(options, name)
        if value != getattr(ModelSpec, name):
            words += [f"--{name}", value]
    return shlex.join(words)
