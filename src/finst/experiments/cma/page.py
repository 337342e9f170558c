"""The report of causal mediation, and the page of several runs side by side."""

# ruff: noqa: RUF001  (typeset text: apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from finst.experiments.cma.figures import STAGE_COLOURS, STAGE_MARKERS, STATISTICS
from finst.experiments.cma.head_maps import stages_of
from finst.experiments.cma.reliability import map_reliability
from finst.experiments.cma.side_by_side import headline, stage_rows, step_rows, steps_of
from finst.experiments.cma.top_heads import TopHead, largest_head, margin_of, strongest_head, top_heads
from finst.experiments.cma.verdict import IGNORABLE, SMALL, verdict_of
from finst.report.comparison import Difference, Side
from finst.report.example import ContextView, TokenView
from finst.report.figures import NamedFigure
from finst.report.page import data_uri, figure_entry, provenance, render, side_by_side_page, view_entry
from finst.report.tables import tidy
from finst.report.wording import NAMES, level_of

PACKAGE = "finst.experiments.cma"

TOP = 5
"""Number of heads of each stage in the table."""

CLAIMS = {
    "id_retrieval": "At the words that describe an object, reads the position ID of that object.",
    "id_selection": "At the last token, selects the position ID of the object to be named next.",
    "feature_retrieval": "At the last token, uses that position ID to read the object’s colour and shape.",
}
"""What the heads of each stage do according to the paper."""

SYMBOLS = {"o": "●", "s": "■", "^": "▲"}


@dataclass(frozen=True)
class StageStyle:
    """The name, colour and symbol of a stage throughout the page."""

    key: str
    name: str
    colour: str
    symbol: str
    claim: str
    """What its heads do according to the paper."""


@dataclass(frozen=True, eq=False)
class PairExample:
    """One pair of the design: its contexts, and their common prompt."""

    pair: int
    """Its coordinate in the summary."""
    grid: tuple[int, int]
    """Rows and columns of image tokens."""
    views: tuple[ContextView, ...]
    """The pictures, in the order of the contexts."""
    tokens: tuple[TokenView, ...]
    contrasts: dict[str, tuple[str, str]]
    """The answers (a1, a1*) of each condition."""


def mediation_page(
    summary: xr.Dataset, figures: Sequence[NamedFigure], example: PairExample, record: Mapping[str, Any]
) -> str:
    """The report of a run of causal mediation.

    ``summary`` and ``figures`` belong to the experiment, ``example`` is one of its pairs, and ``record`` is the run's
    manifest as plain values.
    """
    stages = stage_styles(summary)
    return render(
        "mediation.html.j2",
        PACKAGE,
        attrs=summary.attrs,
        counts={name: int(size) for name, size in summary.sizes.items()},
        stages=stages,
        verdict=verdict_of(summary),
        figures=[figure_entry(figure) for figure in figures],
        heads={stage.key: top_heads(summary, stage.key, TOP) for stage in stages},
        strongest={stage.key: _shown_heads(summary, stage.key) for stage in stages},
        level=level_of(summary),
        ignorable=IGNORABLE,
        small=SMALL,
        all_heads=data_uri(tidy(summary, [*STATISTICS, "n"]).encode(), "text/csv"),
        pairs=[_pairs(summary, stage) for stage in stages],
        reliability={stage.key: map_reliability(summary, stage.key) for stage in stages},
        noise=float(summary["noise_floor"]),
        measured_noise=float(summary["noise"].max()),
        positions=sorted({int(n) for n in summary["positions"].values}),
        example=example,
        views=[view_entry(view, example.grid) for view in example.views],
        answers=_answers(summary, example),
        patched=_patched(summary, example),
        used={stage.key: bool(_pair(summary["usable"], example).sel(condition=stage.key)) for stage in stages},
        record=record,
        provenance=provenance(record),
    )


def stage_styles(summary: xr.Dataset) -> list[StageStyle]:
    """How the stages of a summary look, in its order."""
    return [
        StageStyle(key, NAMES[key], STAGE_COLOURS[key], SYMBOLS[STAGE_MARKERS[key]], CLAIMS[key])
        for key in stages_of(summary)
    ]


def mediation_side_by_side(
    sides: Sequence[Side], figures: Sequence[NamedFigure], differences: Sequence[Difference]
) -> str:
    """The page of several runs of causal mediation side by side."""
    stages = stage_styles(sides[0].summary)
    return side_by_side_page(
        [side.label for side in sides],
        [side.record for side in sides],
        differences,
        template="mediation_side_by_side.html.j2",
        packages=(PACKAGE,),
        title="causal mediation of every attention head",
        headline=headline(sides),
        headlines=[(side.label, verdict_of(side.summary).headline) for side in sides],
        stages=stages,
        stage_rows={stage.key: stage_rows(sides, stage.key) for stage in stages},
        steps=[(claim, step_rows(sides, step)) for step, claim in enumerate(steps_of(sides))],
        level=level_of(sides[0].summary),
        figures=[figure_entry(figure) for figure in figures],
    )


def _shown_heads(summary: xr.Dataset, stage: str) -> tuple[TopHead, ...]:
    """The strongest head of a stage, then the one with the largest mean where that is another; none without pairs."""
    heads = (strongest_head(summary, stage), largest_head(summary, stage))
    return tuple({head.name: head for head in heads if head is not None}.values())


def _pair(values: xr.DataArray, example: PairExample) -> xr.DataArray:
    return values.sel(pair=example.pair)


def _answers(summary: xr.Dataset, example: PairExample) -> list[dict[str, Any]]:
    """The predicted word in each context of the example, with the logits of the three colours."""
    rows = []
    for view in example.views:
        context = summary.sel(context=view.name, pair=example.pair)
        rows.append(
            {
                "context": view.name,
                "logits": [float(value) for value in context["context_logits"].values],
                "answer": view.answer,
                "predicted": str(context["predicted_word"].item()),
                "correct": bool(context["correct"]),
            }
        )
    return rows


def _patched(summary: xr.Dataset, example: PairExample) -> list[dict[str, Any]]:
    """The example's logits with the shown heads of each stage patched one by one, and without."""
    rows = []
    pair = summary.sel(pair=example.pair)
    for key in stages_of(summary):
        for head in _shown_heads(summary, key):
            entry = pair.sel(condition=key, layer=head.layer, head=head.head)
            answers = [str(entry[role].item()) for role in ("original", "counterfactual")]
            rows.append(
                {
                    "key": key,
                    "head": head,
                    "answers": example.contrasts[key],
                    "unedited": [float(entry["unedited_logits"].sel(colour=colour)) for colour in answers],
                    "patched": [float(entry["patched_logits"].sel(colour=colour)) for colour in answers],
                    "score": float(entry["score"]),
                }
            )
    return rows


def _pairs(summary: xr.Dataset, stage: StageStyle) -> dict[str, Any]:
    """The numbers of pairs that a condition used and dropped, and the incorrect predictions."""
    part = summary.sel(condition=stage.key)
    source = str(part["source"].item())
    wrong = []
    for name in dict.fromkeys(("clean", source)):
        context = part.sel(context=name)
        for pair in part["pair"].values[~context["correct"].values]:
            colour = part["new_colour" if name == "changed" else "target_colour"].sel(pair=pair)
            word = str(context["predicted_word"].sel(pair=pair).item())
            wrong.append({"pair": int(pair), "context": name, "predicted": word, "correct": str(colour.item())})
    return {
        "stage": stage,
        "source": source,
        "used": int(part["n"]),
        "dropped_clean": int(part["dropped_clean"]),
        "dropped_source": int(part["dropped_source"]),
        "margin": margin_of(part),
        "margin_error": float(part["margin_error"]) if "margin_error" in part else float("nan"),
        "wrong": wrong,
    }
