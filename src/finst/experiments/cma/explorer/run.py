"""The page of all heads of a stored run of causal mediation. Needs the model's small files at most, no weights."""

from __future__ import annotations

from collections.abc import Sequence

from finst.errors import FinstError
from finst.experiments.cma.example import pair_example
from finst.experiments.cma.explorer.page import Edited, heads_page
from finst.experiments.cma.page import PairExample
from finst.experiments.cma.spec import CMASpec
from finst.runs.finished import FinishedRun
from finst.runs.spec import from_json
from finst.vlm.open import open_reader


def heads_page_of(run: FinishedRun, report: str, interventions: Sequence[Edited] = ()) -> str:
    """The page of a finished run of causal mediation; ``report`` is the address of its report, seen from the page.

    Where the model's tokenizer and image processor cannot be opened (any more), the page says so in place of the
    example. Raises FinstError for a run of another experiment.
    """
    if run.manifest.experiment != "cma":
        raise FinstError(
            f"{run.folder} holds a run of {run.manifest.experiment!r}: expected one of causal mediation ('cma')"
        )
    spec = from_json(CMASpec, run.manifest.spec)
    return heads_page(run.summary, run.record, _example(spec), report, interventions)


def _example(spec: CMASpec) -> PairExample | str:
    """The first pair, or why it cannot be drawn."""
    try:
        return pair_example(spec, open_reader(spec.model, revision=spec.revision))
    except FinstError as refusal:
        return str(refusal)
