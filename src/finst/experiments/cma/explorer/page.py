"""The page on which the heads of a run of causal mediation are explored one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from finst.analysis.headsets import Head
from finst.experiments.cma.head_maps import mean_map, stages_of
from finst.experiments.cma.page import PACKAGE, PairExample, stage_styles
from finst.experiments.cma.top_heads import FLIPS, margin_of
from finst.experiments.cma.verdict import verdict_of
from finst.report.page import provenance, render, view_entry
from finst.report.stage_scores import StageScores
from finst.report.wording import level_of

HEADS_PAGE = "heads.html"
"""Name of the page, in the folder of a reproduction or of a run."""

MARKERS = {"id_retrieval": "circle", "id_selection": "square", "feature_retrieval": "triangle"}
"""Bokeh's names of the stages' markers."""


@dataclass(frozen=True)
class TopSet:
    """The strongest K heads of a stage, as an intervention edits them."""

    stage: str
    """The stage that ranks the heads, in words."""
    k: int
    heads: tuple[Head, ...]
    reported: bool
    """Whether the intervention reports its effect at this K."""


@dataclass(frozen=True)
class Edited:
    """The sets of heads that one intervention edits."""

    name: str
    """Of its step."""
    link: str
    """Of its own report."""
    sets: tuple[TopSet, ...]


def heads_page(
    summary: xr.Dataset,
    record: Mapping[str, Any],
    example: PairExample | str,
    report: str,
    interventions: Sequence[Edited] = (),
) -> str:
    """The page of a summary of causal mediation (paper, Fig 1d): a map of all heads, and what is known of each.

    ``record`` is the run's manifest as plain values, ``example`` one of its pairs, or why there is none, and
    ``report`` the address of the run's own report. Nothing on the page is loaded from anywhere.
    """
    from finst.report.head_charts import head_charts  # Bokeh takes a second to import

    styles = stage_styles(summary)
    return render(
        "heads.html.j2",
        PACKAGE,
        attrs=summary.attrs,
        counts={name: int(size) for name, size in summary.sizes.items()},
        stages=styles,
        verdict=verdict_of(summary),
        level=level_of(summary),
        charts=head_charts([stage_scores(summary, style.key) for style in styles], pair_texts(summary)),
        facts=facts(summary, interventions),
        interventions=interventions,
        example=None if isinstance(example, str) else example,
        reason=example if isinstance(example, str) else "",
        views=[] if isinstance(example, str) else [view_entry(view, example.grid) for view in example.views],
        report=report,
        provenance=provenance(record),
    )


def stage_scores(summary: xr.Dataset, stage: str) -> StageScores:
    """The scores and statistics of one stage."""
    part = summary.sel(condition=stage)
    maps = {
        name: part[name].transpose("layer", "head").values
        for name in ("mean", "standard_error", "ci_low", "ci_high", "p_fwer", "above")
    }
    style = next(style for style in stage_styles(summary) if style.key == stage)
    return StageScores(
        key=stage,
        name=style.name,
        colour=style.colour,
        marker=MARKERS[stage],
        rank=ranks(mean_map(summary, stage)),
        scores=part["score"].transpose("pair", "layer", "head").values,
        used=part["usable"].transpose("pair").values,
        **maps,
    )


def ranks(means: Float[np.ndarray, "layer head"]) -> Int[np.ndarray, "layer head"]:
    """1 for the largest mean, equal ranks for equal means, 0 for NaN."""
    ordered = np.sort(means[np.isfinite(means)])
    places = 1 + ordered.size - np.searchsorted(ordered, means, side="right")
    return np.where(np.isfinite(means), places, 0)


def pair_texts(summary: xr.Dataset) -> list[str]:
    """What each pair shows, such as ``pair 3: red square described, blue circle to name``."""
    rows = zip(
        *(summary[f"{role}_{what}"].values for role in ("described", "target") for what in ("colour", "shape")),
        strict=True,
    )
    return [
        f"pair {pair}: {colour} {shape} described, {target} {kind} to name"
        for pair, (colour, shape, target, kind) in zip(summary["pair"].values, rows, strict=True)
    ]


def facts(summary: xr.Dataset, interventions: Sequence[Edited]) -> dict[str, Any]:
    """What the page's script needs besides the numbers of the charts."""
    heads = summary.sizes["head"]
    return {
        "layers": summary.sizes["layer"],
        "heads": heads,
        "pairs": summary.sizes["pair"],
        "level": level_of(summary),
        "against": FLIPS,
        "stages": [_stage_facts(summary, stage) for stage in stages_of(summary)],
        "interventions": [
            {
                "name": each.name,
                "link": each.link,
                "sets": [
                    {
                        "stage": chosen.stage,
                        "k": chosen.k,
                        "reported": chosen.reported,
                        "heads": [layer * heads + head for layer, head in chosen.heads],
                    }
                    for chosen in each.sets
                ],
            }
            for each in interventions
        ],
    }


def _stage_facts(summary: xr.Dataset, stage: str) -> dict[str, Any]:
    part = summary.sel(condition=stage)
    margin = margin_of(part)
    name = next(style.name for style in stage_styles(summary) if style.key == stage)
    return {"key": stage, "name": name, "n": int(part["n"]), "margin": margin if np.isfinite(margin) else None}
