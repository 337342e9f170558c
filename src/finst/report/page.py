"""The report: one HTML file that needs nothing else, neither files nor a network."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

import base64
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import xarray as xr
from markupsafe import Markup
from PIL import Image

from finst.experiments.cma.figures import COLOURS, MARKERS, STATISTICS
from finst.experiments.cma.reliability import trust_of
from finst.experiments.cma.side_by_side import Difference, Side, headline, stage_rows, step_rows, steps_of
from finst.experiments.cma.verdict import strongest_head, top_heads, verdict_of
from finst.experiments.interventions.effect_table import COLUMNS as EFFECT_COLUMNS
from finst.experiments.interventions.effect_table import Placed
from finst.report.example import Example, Shot, Shown
from finst.report.figures import NamedFigure
from finst.report.findings import Account
from finst.report.tables import tidy
from finst.report.wording import NAMES, capital, chance, level_of, listed, number, runs

TOP = 5
"""Heads of each stage in the table."""

CLAIMS = {
    "id_retrieval": "At the words that describe an object, fetches the index of that object’s place.",
    "id_selection": "At the last token, works out the index of the object to be named next.",
    "feature_retrieval": "At the last token, uses that index to fetch the object’s colour and shape.",
}
"""The paper's account of each stage, as the page tells it."""

SYMBOLS = {"o": "●", "s": "■", "^": "▲"}


@dataclass(frozen=True)
class Stage:
    """How a stage is written and coloured throughout the page."""

    key: str
    name: str
    colour: str
    symbol: str
    claim: str
    """What the paper says that its heads do."""


def page(summary: xr.Dataset, figures: Sequence[NamedFigure], example: Example, manifest: Mapping[str, Any]) -> str:
    """The whole report of a run of causal mediation.

    ``summary`` and ``figures`` are those of the experiment, ``example`` is one of its pairs, and ``manifest`` the run's
    record as plain values; what it holds is shown as it is.
    """
    stages = _stages(summary)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            attrs=summary.attrs,
            counts={name: int(size) for name, size in summary.sizes.items()},
            stages=stages,
            verdict=verdict_of(summary),
            figures=[_figure(figure) for figure in figures],
            heads={stage.key: top_heads(summary, stage.key, TOP) for stage in stages},
            strongest={stage.key: strongest_head(summary, stage.key) for stage in stages},
            level=level_of(summary),
            all_heads=data_uri(tidy(summary, [*STATISTICS, "n"]).encode(), "text/csv"),
            pairs=[_pairs(summary, stage) for stage in stages],
            trust={stage.key: trust_of(summary, stage.key) for stage in stages},
            noise=float(summary["noise_floor"]),
            measured_noise=float(summary["noise"].max()),
            positions=sorted({int(n) for n in summary["positions"].values}),
            example=example,
            shots=[_shot(shot, example.grid) for shot in example.shots],
            answers=_answers(summary, example),
            patched=_patched(summary, example),
            used={stage.key: bool(_pair(summary["usable"], example).sel(condition=stage.key)) for stage in stages},
            published=published(),
            manifest=manifest,
            provenance=provenance(manifest),
            style=Markup(_asset("page.css")),
        )
    )


def _stages(summary: xr.Dataset) -> list[Stage]:
    return [
        Stage(key, NAMES[key], COLOURS[key], SYMBOLS[MARKERS[key]], CLAIMS[key])
        for key in summary["condition"].values.tolist()
    ]


def plain_page(account: Account, figures: Sequence[NamedFigure], shown: Shown, manifest: Mapping[str, Any]) -> str:
    """The report of a run of any other experiment: its account, its figures, one trial, and the run's record."""
    return (
        _environment()
        .get_template("plain.html.j2")
        .render(
            account=account,
            figures=[_figure(figure) for figure in figures],
            shot=_shot(shown.shot, shown.grid),
            chips=shown.chips,
            published=published(),
            manifest=manifest,
            provenance=provenance(manifest),
            style=Markup(_asset("page.css")),
        )
    )


def sides_page(
    sides: Sequence[Side],
    figures: Sequence[NamedFigure],
    manifests: Sequence[Mapping[str, Any]],
    differences: Sequence[Difference],
) -> str:
    """Runs of causal mediation side by side; ``manifests`` are their records, and ``differences`` those of the runs."""
    stages = _stages(sides[0].summary)
    return _beside(
        [side.label for side in sides],
        manifests,
        differences,
        title="causal mediation of every attention head",
        headline=headline(sides),
        said=[(side.label, verdict_of(side.summary).headline) for side in sides],
        stages=stages,
        stage_rows={stage.key: stage_rows(sides, stage.key) for stage in stages},
        steps=[(claim, step_rows(sides, step)) for step, claim in enumerate(steps_of(sides))],
        level=level_of(sides[0].summary),
        figures=[_figure(figure) for figure in figures],
    )


def plain_sides_page(
    labels: Sequence[str],
    accounts: Sequence[Account],
    figures: Sequence[Mapping[str, NamedFigure]],
    manifests: Sequence[Mapping[str, Any]],
    differences: Sequence[Difference],
) -> str:
    """Runs of any other experiment side by side: their accounts and figures.

    ``figures`` has those of each run, by what stands beside each other; no two of them have the same name themselves.
    """
    keys = dict.fromkeys(key for row in figures for key in row)
    beside = [[(label, row[key]) for label, row in zip(labels, figures, strict=True) if key in row] for key in keys]
    return _beside(
        labels,
        manifests,
        differences,
        title=accounts[0].title,
        headline=f"{capital(accounts[0].title)}: {listed(labels)}",
        said=[(label, account.headline) for label, account in zip(labels, accounts, strict=True)],
        pairs=[[(label, _figure(figure)) for label, figure in row] for row in beside],
        tables=[{"label": label, "account": account} for label, account in zip(labels, accounts, strict=True)],
    )


def effects_page(
    rows: Sequence[Placed], figure: NamedFigure, labels: Sequence[str], manifests: Sequence[Mapping[str, Any]]
) -> str:
    """The effects of interventions of any kind and model, with the records of the runs that they are from."""
    account = Account("effects", "", (), EFFECT_COLUMNS, tuple(row.cells for row in rows), ())
    return _beside(
        labels,
        manifests,
        (),
        title="interventions",
        headline=f"{len(rows)} effects of {len(labels)} interventions",
        said=[],
        figures=[_figure(figure)],
        tables=[{"label": "Before and after on the same trials", "account": account}],
    )


def _beside(
    labels: Sequence[str], manifests: Sequence[Mapping[str, Any]], differences: Sequence[Difference], **content: Any
) -> str:
    origins = [dict(provenance(manifest)) for manifest in manifests]
    names = dict.fromkeys(name for origin in origins for name in origin)
    rows = [(name, [origin.get(name, "–") for origin in origins]) for name in names]
    absent: dict[str, Any] = {"stages": [], "figures": [], "pairs": [], "tables": []}
    return (
        _environment()
        .get_template("sides.html.j2")
        .render(
            **absent | content,
            labels=labels,
            differences=differences,
            provenance=[(name, values, len(set(values)) == 1) for name, values in rows],
            published=published(),
            style=Markup(_asset("page.css")),
        )
    )


def published() -> dict[str, Any]:
    """The paper's values (``published.toml``)."""
    return tomllib.loads(_asset("published.toml"))


def _asset(name: str) -> str:
    return files("finst.report").joinpath(name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "chance": chance, "capital": capital, "runs": runs, "visible": visible}
    return environment


def visible(token: str) -> str:
    """A token's text with its white space made visible."""
    return token.replace("\n", "⏎").replace(" ", "·") or "∅"


def data_uri(content: bytes, media_type: str) -> str:
    """A link that carries its own content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _figure(figure: NamedFigure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "svg": Markup(figure.svg),
        "csv": data_uri(figure.csv.encode(), "text/csv"),
        "png": data_uri(figure.png, "image/png"),
    }


def _shot(shot: Shot, grid: tuple[int, int]) -> dict[str, Any]:
    """The picture with its size in px, and the objects' image tokens as rectangles on it."""
    height, width = shot.image.shape[:2]
    buffer = io.BytesIO()
    Image.fromarray(shot.image).save(buffer, "PNG", optimize=True)
    tall, wide = height / grid[0], width / grid[1]
    cells = [
        {"object": cells.object, "name": cells.name, "outline": outline(cells.patches, wide, tall)}
        for cells in shot.cells
    ]
    lines = {"xs": [col * wide for col in range(1, grid[1])], "ys": [row * tall for row in range(1, grid[0])]}
    picture = data_uri(buffer.getvalue(), "image/png")
    return {"shot": shot, "png": picture, "width": width, "height": height, "cells": cells, **lines}


def outline(patches: Sequence[tuple[int, int]], wide: float, tall: float) -> str:
    """An SVG path around a set of (row, column) patches of ``wide`` x ``tall`` px: the edges that only one has."""
    inside = set(patches)
    edges = []
    for row, col in sorted(inside):
        left, top, right, bottom = col * wide, row * tall, (col + 1) * wide, (row + 1) * tall
        edges += [f"M{left:g} {top:g}H{right:g}"] if (row - 1, col) not in inside else []
        edges += [f"M{left:g} {bottom:g}H{right:g}"] if (row + 1, col) not in inside else []
        edges += [f"M{left:g} {top:g}V{bottom:g}"] if (row, col - 1) not in inside else []
        edges += [f"M{right:g} {top:g}V{bottom:g}"] if (row, col + 1) not in inside else []
    return "".join(edges)


def _pair(values: xr.DataArray, example: Example) -> xr.DataArray:
    return values.sel(pair=example.pair)


def _answers(summary: xr.Dataset, example: Example) -> list[dict[str, Any]]:
    """What each context of the example was answered, with the logits of its three colours."""
    rows = []
    for shot in example.shots:
        context = summary.sel(context=shot.name, pair=example.pair)
        rows.append(
            {
                "context": shot.name,
                "logits": [float(value) for value in context["context_logits"].values],
                "answer": shot.answer,
                "said": str(context["predicted_word"].item()),
                "correct": bool(context["correct"]),
            }
        )
    return rows


def _patched(summary: xr.Dataset, example: Example) -> list[dict[str, Any]]:
    """The example's logits with the strongest head of each stage patched, beside the unedited ones."""
    rows = []
    pair = summary.sel(pair=example.pair)
    for key in (str(key) for key in summary["condition"].values):
        head = strongest_head(summary, key)
        if head is None:
            continue
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


def _pairs(summary: xr.Dataset, stage: Stage) -> dict[str, Any]:
    """How many pairs a condition used and lost, and what was said instead of the right answers."""
    part = summary.sel(condition=stage.key)
    source = str(part["source"].item())
    wrong = []
    for name in dict.fromkeys(("clean", source)):
        context = part.sel(context=name)
        for pair in part["pair"].values[~context["correct"].values]:
            colour = part["new_colour" if name == "changed" else "target_colour"].sel(pair=pair)
            said = str(context["predicted_word"].sel(pair=pair).item())
            wrong.append({"pair": int(pair), "context": name, "said": said, "right": str(colour.item())})
    return {
        "stage": stage,
        "source": source,
        "used": int(part["n"]),
        "dropped_clean": int(part["dropped_clean"]),
        "dropped_source": int(part["dropped_source"]),
        "margin": float(part["margin"]),
        "margin_error": float(part["margin_error"]),
        "wrong": wrong,
    }


def provenance(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A manifest as (name, value) lines: nested records get dotted names, times by unit become their sum."""
    lines: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{prefix}{key}"
        if key == "unit_seconds" and isinstance(value, Mapping):
            lines.append(("time in units", f"{sum(value.values()):.1f} s in {len(value)} units"))
        elif isinstance(value, Mapping):
            lines += provenance(value, f"{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                lines += provenance(item, f"{name}[{index}].")
        elif isinstance(value, list | tuple):
            lines.append((name, ", ".join(map(str, value))))
        else:
            lines.append((name, "–" if value is None else str(value)))
    return lines
