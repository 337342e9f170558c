"""The results of RSA in words and in a table: stages, heads, frames of reference, entropy."""

# ruff: noqa: RUF001  (typeset text: minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from finst.experiments.representations.report.head_figures import TOKENS, RankedHead, strongest_heads
from finst.experiments.representations.report.method import design_text, exact_text, reading_text, statistics_text
from finst.experiments.representations.report.rsa_figures import last_token, layer_means, single_commas
from finst.experiments.representations.roles import COMMAS, LAST
from finst.report.findings import Findings
from finst.report.wording import format_p, level_of, number, span

TARGETS = ("position", "features")
"""The target RSMs of the stages."""

COLUMNS = ("token", "target", "layer of the peak", "r", "low", "high", "Spearman", "p", "family-wise p")

HEADS_LISTED = 8
"""Heads of each map in the table."""

HEADS_NAMED = 3
"""Heads of each map in a sentence."""

_SAME_R = 0.005
"""Correlations that differ by less are the same in a sentence."""


def stages_findings(summary: xr.Dataset) -> Findings:
    """The results of ``rsa-stages`` over layers: dims role, layer, comparison (Figs 1c and 14-19)."""
    alpha = summary.attrs["alpha"]
    at_last = {name: last_token(summary).sel(comparison=name) for name in TARGETS}
    at_commas = summary.sel(role=COMMAS, comparison="position")
    return Findings(
        title="representational similarity by stage",
        headline=(
            f"Position peaks {_peak_place(at_commas, alpha)} at the commas and "
            f"{_peak_place(at_last['position'], alpha)} at the last token; features peak "
            f"{_peak_place(at_last['features'], alpha)} at the last token."
        ),
        sentences=(
            _peak_at_commas(summary, "position", alpha),
            _peak(at_last["position"], "position at the last token", alpha),
            _peak(at_last["features"], "features at the last token", alpha),
            _peak_at_commas(summary, "features", alpha),
            exact_text(summary),
        ),
        columns=COLUMNS,
        rows=_peak_rows(summary, [*TARGETS, "position | features", "features | position"]),
        method=(design_text(summary), reading_text(summary), statistics_text(summary)),
    )


def heads_findings(summary: xr.Dataset) -> Findings:
    """The results of ``rsa-stages`` over single heads: dims role, layer, head, comparison."""
    alpha = summary.attrs["alpha"]
    sentences, rows, best = [], [], {}
    for role, token in TOKENS.items():
        for target in TARGETS:
            part = summary.sel(role=role, comparison=target)
            heads = strongest_heads(part, HEADS_LISTED)
            tested = int(part["r"].notnull().sum())
            found = [head.name for head in heads[:1] if float(head.statistics["p_fwer"]) < alpha]
            best[role, target] = found[0] if found else "none" if tested else "not defined"
            named = ", ".join(f"{head.name} {_with_interval(head.statistics)}" for head in heads[:HEADS_NAMED])
            significant = f"significant in {int((part['p_fwer'] < alpha).sum())} of {tested} heads with an r"
            sentences.append(f"{target} at the {token}: {named or 'r is not defined'}; {significant}")
            rows += [_head_row(token, target, head) for head in heads]
    inactive = int(last_token(summary)["r"].isel(comparison=0).isnull().sum())
    return Findings(
        title="representational similarity of heads",
        headline=(
            f"Strongest significant heads: position at the commas {best[COMMAS, 'position']}, position at the last "
            f"token {best[LAST, 'position']}, features at the last token {best[LAST, 'features']}."
        ),
        sentences=(*sentences, f"inactive heads at the last token: {inactive}", exact_text(summary)),
        columns=("token", "target", "head", "r", "low", "high", "Spearman", "norm", "p", "family-wise p"),
        rows=tuple(rows),
        method=(
            design_text(summary),
            reading_text(summary),
            statistics_text(summary) + " Correlations at the commas are means over them. A head is inactive, and has "
            "no r, where the norm of its output is below a thousandth of the median head’s. Cosines show neither how "
            "large an output is nor whether later layers read it; causal mediation measures what a head does.",
        ),
    )


def frame_findings(summary: xr.Dataset) -> Findings:
    """The results of ``rsa-frame``: dims role (the last token alone), layer, comparison (Figs 2 and 26-28)."""
    alpha = summary.attrs["alpha"]
    part = last_token(summary)
    layer = peak_layer(part["r"].sel(comparison="relative"))
    r = {name: number(float(part["r"].sel(comparison=name, layer=layer)), 2) for name in ("relative", "absolute")}
    names = {
        "relative": "relative position",
        "absolute": "absolute position",
        "features": "features",
        "relative | absolute": "relative position given absolute position",
        "absolute | relative": "absolute position given relative position",
    }
    return Findings(
        title="representational similarity with relative and absolute position",
        headline=(
            f"In layer {layer}, where relative position peaks at the last token, r is {r['relative']} with relative "
            f"and {r['absolute']} with absolute position."
        ),
        sentences=(
            *(_peak(part.sel(comparison=comparison), name, alpha) for comparison, name in names.items()),
            exact_text(summary),
        ),
        columns=COLUMNS,
        rows=_peak_rows(summary, summary["comparison"].values.tolist()),
        method=(
            "The four 2x2 arrangements lie in the quadrants of a 3x3 lattice and share its centre cell. "
            + design_text(summary),
            reading_text(summary),
            statistics_text(summary) + " Relative position is the cell within the arrangement; absolute position is "
            "the cell of the lattice.",
        ),
    )


def entropy_findings(summary: xr.Dataset) -> Findings:
    """The results of ``rsa-entropy``: dims condition, role, layer, comparison (Figs 6, 7 and 30-36)."""
    conditions = ("low", "high")
    means = layer_means(summary)["mean_r"]
    accuracy = {name: float(summary["accuracy"].sel(condition=name)) for name in conditions}
    sentences = []
    for token, name in (("commas", "the commas"), ("last", "the last token")):
        low, high = (number(float(means.sel(condition=condition, token=token)), 3) for condition in conditions)
        sentences.append(f"position at {name}, mean over layers: r = {low} at low and {high} at high entropy")
    for condition in conditions:
        sentences += [f"{condition} entropy, {text}" for text in _condition_texts(summary, condition)]
    return Findings(
        title="representational similarity and accuracy under entropy",
        headline=(
            f"The model’s accuracy is {accuracy['low']:.1%} at low entropy and {accuracy['high']:.1%} at high entropy."
        ),
        sentences=tuple(sentences),
        columns=("entropy", *COLUMNS),
        rows=tuple(
            (condition, *row)
            for condition in conditions
            for row in _peak_rows(summary.sel(condition=condition), TARGETS)
        ),
        method=(
            "Low entropy: all conjunctions of few colours and shapes. High entropy: objects as distinct as possible. "
            + design_text(summary),
            reading_text(summary) + " An answer is correct when the greedily generated text begins with it.",
            statistics_text(summary),
        ),
    )


def peak_layer(r: xr.DataArray) -> int:
    """The first layer whose r is as large as the largest: later layers that only keep it are not the peak.

    The first layer of all where no layer has an r; ``_peak`` says so.
    """
    return int(r["layer"].values[int((r > r.max() - _SAME_R).argmax("layer"))])


def _peak(part: xr.Dataset, name: str, alpha: float, range_text: str = "") -> str:
    """The peak over layers of one role and comparison, and the layers in which it is significant."""
    undefined = part["layer"].values[part["r"].isnull().values].tolist()
    if len(undefined) == part.sizes["layer"]:
        return f"{name}: r is not defined in any layer, as the data do not determine it"
    peak = part.sel(layer=peak_layer(part["r"]))
    significant = part["layer"].values[(part["p_fwer"] < alpha).values].tolist()
    where = f"significant in {span(significant)}" if significant else "not significant in any layer"
    without = f"; r is not defined in {span(undefined)}" if undefined else ""
    return f"{name}: peak in layer {int(peak['layer'])}, r = {_with_interval(peak)}{range_text}; {where}{without}"


def _peak_at_commas(summary: xr.Dataset, comparison: str, alpha: float) -> str:
    """The peak of the mean over commas, with the range over single commas."""
    part = summary.sel(role=COMMAS, comparison=comparison)
    single = single_commas(summary)["r"].sel(comparison=comparison, layer=peak_layer(part["r"]))
    low, high = (number(float(end), 2) for end in (single.min(), single.max()))
    return _peak(part, f"{comparison} at the commas (mean)", alpha, f" ({low} to {high} over commas)")


def _peak_place(part: xr.Dataset, alpha: float) -> str:
    """Such as ``in layer 3``; ``nowhere`` where none is significant; ``at no defined layer`` where none has an r."""
    if part["r"].isnull().all():
        return "at no defined layer"
    return f"in layer {peak_layer(part['r'])}" if (part["p_fwer"] < alpha).any() else "nowhere"


def _with_interval(statistics: xr.Dataset) -> str:
    r, low, high = (number(float(statistics[name]), 2) for name in ("r", "ci_low", "ci_high"))
    return f"{r} [{low}, {high}]"


def _peak_rows(summary: xr.Dataset, comparisons: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Rows for ``COLUMNS``: every role and comparison at its peak."""
    return tuple(
        _peak_row(summary.sel(role=role, comparison=comparison), role, comparison)
        for role in summary["role"].values.tolist()
        for comparison in comparisons
    )


def _peak_row(part: xr.Dataset, role: str, comparison: str) -> tuple[str, ...]:
    layer = peak_layer(part["r"])
    statistics = _statistics_cells(part.sel(layer=layer), ["r", "ci_low", "ci_high", "spearman"])
    return role, comparison, str(layer), *statistics


def _head_row(token: str, target: str, head: RankedHead) -> tuple[str, ...]:
    statistics = _statistics_cells(head.statistics, ["r", "ci_low", "ci_high", "spearman", "norm"])
    return token, target, head.name, *statistics


def _statistics_cells(statistics: xr.Dataset, names: Sequence[str]) -> tuple[str, ...]:
    """Values of the named statistics, then p and family-wise p."""
    values = (number(float(statistics[name]), 3) for name in names)
    return *values, format_p(float(statistics["p"])), format_p(float(statistics["p_fwer"]))


def _condition_texts(summary: xr.Dataset, condition: str) -> tuple[str, str, str]:
    """Peaks of position at the commas and at the last token, and accuracies, at one entropy."""
    part, alpha = summary.sel(condition=condition), summary.attrs["alpha"]
    accuracies = []
    for name, what in (("accuracy", "whole answer"), ("colour_accuracy", "colour")):
        low, high = (float(part[f"{name}_{end}"]) for end in ("low", "high"))
        accuracies.append(f"{what} {float(part[name]):.1%} [{low:.1%}, {high:.1%}]")
    return (
        _peak_at_commas(part, "position", alpha),
        _peak(last_token(part).sel(comparison="position"), "position at the last token", alpha),
        f"{', '.join(accuracies)} in {summary.attrs['n']} trials ({level_of(summary)} intervals)",
    )
