"""Reports as pages: self-contained HTML files that load nothing from files or the network."""

# ruff: noqa: RUF001  (typeset text: dashes as readers expect them)
from __future__ import annotations

import base64
import io
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from finst.report.comparison import Difference
from finst.report.example import ContextView, Lattice, TrialExample, outline
from finst.report.figures import NamedFigure
from finst.report.findings import Findings
from finst.report.tables import labelled
from finst.report.wording import capital, counted, format_p, listed, number, runs

PACKAGE = "finst.report"

FULL_IN = 7.2
"""Width in inches of a figure that fills the page; narrower ones are not enlarged."""

TALL = 0.75
"""Figures whose height is above this share of their width may take a whole page in print, others less than half."""


def render(template: str, *packages: str, **content: Any) -> str:
    """A page from a template of this package or of one of ``packages``, with style and published values.

    Narrow screens show rows of tables as lists, every cell with its column's heading.
    """
    page = _environment(*packages).get_template(template)
    return labelled(page.render(published=published(), style=Markup(_asset("templates/page.css")), **content))


def report_page(
    findings: Findings, figures: Sequence[NamedFigure], example: TrialExample, record: Mapping[str, Any]
) -> str:
    """The report of one run: its findings, its figures, one trial, and the run's record."""
    return render(
        "report.html.j2",
        findings=findings,
        figures=[figure_entry(figure) for figure in figures],
        view=view_entry(example.view, example.grid),
        grid=example.grid,
        tokens=example.tokens,
        record=record,
        provenance=provenance(record),
    )


def findings_side_by_side(
    labels: Sequence[str],
    findings: Sequence[Findings],
    figures: Sequence[Mapping[str, NamedFigure]],
    records: Sequence[Mapping[str, Any]],
    differences: Sequence[Difference],
) -> str:
    """Runs of one experiment side by side: their findings and figures.

    ``figures`` has the figures of each run; those under the same key stand beside each other. All their names differ.
    """
    keys = dict.fromkeys(key for row in figures for key in row)
    rows = [[(label, row[key]) for label, row in zip(labels, figures, strict=True) if key in row] for key in keys]
    pairs = list(zip(labels, findings, strict=True))
    return side_by_side_page(
        labels,
        records,
        differences,
        title=findings[0].title,
        headline=f"{capital(findings[0].title)}: {listed(labels)}",
        headlines=[(label, result.headline) for label, result in pairs],
        pairs=[[(label, figure_entry(figure)) for label, figure in row] for row in rows],
        tables=[{"label": label, "findings": result} for label, result in pairs],
    )


def side_by_side_page(
    labels: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    differences: Sequence[Difference],
    *,
    template: str = "side_by_side.html.j2",
    packages: Sequence[str] = (),
    **content: Any,
) -> str:
    """Runs side by side with their records; ``content`` is what the template shows of them."""
    origins = [dict(provenance(record)) for record in records]
    names = dict.fromkeys(name for origin in origins for name in origin)
    rows = [(name, [origin.get(name, "–") for origin in origins]) for name in names]
    absent: dict[str, Any] = {"headlines": [], "figures": [], "pairs": [], "tables": []}
    return render(
        template,
        *packages,
        **absent | content,
        labels=labels,
        differences=differences,
        provenance=[(name, values, len(set(values)) == 1) for name, values in rows],
    )


def published() -> dict[str, Any]:
    """The paper's values (``published.toml``)."""
    return tomllib.loads(_asset("published.toml"))


def _asset(name: str) -> str:
    return files(PACKAGE).joinpath(name).read_text(encoding="utf-8")


def _environment(*packages: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in (*packages, PACKAGE)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (number, format_p, capital, counted, runs, visible)
    environment.filters |= {function.__name__: function for function in filters}
    return environment


def visible(token: str) -> str:
    """A token's text with visible white space."""
    return token.replace("\n", "⏎").replace(" ", "·") or "∅"


def data_uri(content: bytes, media_type: str) -> str:
    """A link that contains its content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def figure_entry(figure: NamedFigure) -> dict[str, Any]:
    """A figure as the templates need it."""
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "svg": Markup(figure.svg),
        "least_px": figure.least_px,
        "share": min(100, round(100 * figure.figure.get_figwidth() / FULL_IN)),
        "tall": figure.figure.get_figheight() > TALL * figure.figure.get_figwidth(),
        "csv": data_uri(figure.csv.encode(), "text/csv"),
        "png": data_uri(figure.png, "image/png"),
    }


def view_entry(view: ContextView, grid: tuple[int, int]) -> dict[str, Any]:
    """A context's picture as the templates need it: size in px, and outlines of the objects' image tokens.

    ``grid`` is that of the image tokens, for views that do not say where these are.
    """
    height, width = view.image.shape[:2]
    buffer = io.BytesIO()
    Image.fromarray(view.image).save(buffer, "PNG", optimize=True)
    lattice = view.lattice or Lattice.even(grid, height, width)
    cells = [
        {
            "object": cells.object,
            "name": cells.name,
            "target": cells.object in view.targets,
            "outline": outline(cells.patches, lattice),
        }
        for cells in view.cells
    ]
    lines = {"xs": [left for left, _ in lattice.cols[1:]], "ys": [top for top, _ in lattice.rows[1:]]}
    picture = data_uri(buffer.getvalue(), "image/png")
    return {"view": view, "png": picture, "width": width, "height": height, "cells": cells, **lines}


def provenance(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A manifest as (name, value) lines. Nested records get dotted names, times of units become their sum."""
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
