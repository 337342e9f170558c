"""The results of RSA in words and in a table: stages, heads, frames of reference, entropy."""

# ruff: noqa: RUF001  (typeset text: minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from finst.analysis.proportions import fisher
from finst.experiments.representations.report.head_figures import TOKENS, RankedHead, strongest_heads
from finst.experiments.representations.report.method import design_text, exact_text, reading_text, statistics_text
from finst.experiments.representations.report.peaks import (
    PEAK_RULE,
    SHUFFLED,
    STATUS_RULE,
    evidence_of,
    limit_text,
    peak_layer,
    peak_of,
    range_of,
    trials_in,
)
from finst.experiments.representations.report.rsa_figures import last_token, layer_means, single_commas
from finst.experiments.representations.roles import COMMAS
from finst.report.findings import Findings
from finst.report.wording import (
    capital,
    counted,
    format_p,
    interval,
    level_of,
    number,
    p_heading,
    probability,
    sampled,
    share_interval,
)

TARGETS = ("position", "features")
"""The target RSMs of the stages."""

P_COLUMNS = (p_heading(SHUFFLED), p_heading(SHUFFLED, "family-wise p"))

COLUMNS = ("token", "target", "layer of the peak", "r", "low", "high", "Spearman", *P_COLUMNS)

HEADS_LISTED = 8
"""Heads of each map in the table."""

HEADS_NAMED = 3
"""Heads of each map in a sentence."""


def stages_findings(summary: xr.Dataset) -> Findings:
    """The results of ``rsa-stages`` over layers: dims role, layer, comparison (Figs 1c and 14-19)."""
    n = trials_in(summary)
    at_last = {name: last_token(summary).sel(comparison=name) for name in TARGETS}
    main = {
        "position at the commas": summary.sel(role=COMMAS, comparison="position"),
        "position at the last token": at_last["position"],
        "features at the last token": at_last["features"],
    }
    return Findings(
        title="representational similarity by stage",
        headline=_headline({name: peak_of(part, n).verdict for name, part in main.items()}, n),
        sentences=(
            _peak_at_commas(summary, "position", n),
            _peak(at_last["position"], "position at the last token", n),
            _peak(at_last["features"], "features at the last token", n),
            _peak_at_commas(summary, "features", n),
            exact_text(summary),
            PEAK_RULE,
            STATUS_RULE,
        ),
        columns=COLUMNS,
        rows=_peak_rows(summary, [*TARGETS, "position | features", "features | position"]),
        method=(design_text(summary), reading_text(summary), statistics_text(summary)),
    )


def heads_findings(summary: xr.Dataset) -> Findings:
    """The results of ``rsa-stages`` over single heads: dims role, layer, head, comparison."""
    alpha, n = summary.attrs["alpha"], trials_in(summary)
    sentences, rows, best = [], [], {}
    for role, token in TOKENS.items():
        for target in TARGETS:
            part = summary.sel(role=role, comparison=target)
            heads = strongest_heads(part, HEADS_LISTED)
            best[f"{target} at the {token}"] = _best_head(part, heads, n)
            named = ", ".join(f"{head.name} {_with_interval(head.statistics)}" for head in heads[:HEADS_NAMED])
            tested = counted(int(part["r"].notnull().sum()), "head")
            significant = f"significant in {int((part['p_fwer'] < alpha).sum())} of {tested} with an r"
            sentences.append(f"{target} at the {token}: {named or 'r is not defined'}; {significant}")
            rows += [_head_row(token, target, head) for head in heads]
    inactive = int(last_token(summary)["r"].isel(comparison=0).isnull().sum())
    return Findings(
        title="representational similarity of heads",
        headline=_headline({name: text for name, text in best.items() if name != "features at the commas"}, n),
        sentences=(
            *sentences,
            f"inactive heads at the last token: {inactive}",
            exact_text(summary),
            "heads whose r is the same to two digits come in order of depth",
            STATUS_RULE,
        ),
        columns=("token", "target", "head", "r", "low", "high", "Spearman", "norm", *P_COLUMNS),
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
    n, part = trials_in(summary), last_token(summary)
    layer = peak_layer(part["r"].sel(comparison="relative"))
    r = {name: _at_layer(part.sel(comparison=name, layer=layer)) for name in ("relative", "absolute")}
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
            f"and {r['absolute']} with absolute position ({sampled(n, 'trial')})."
        ),
        sentences=(
            *(_peak(part.sel(comparison=comparison), name, n) for comparison, name in names.items()),
            exact_text(summary),
            PEAK_RULE,
            STATUS_RULE,
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
    n = trials_in(summary)
    accuracy = {name: _accuracy(summary.sel(condition=name), "accuracy") for name in conditions}
    right = [round(float(summary["accuracy"].sel(condition=name)) * n) for name in conditions]
    sentences = []
    for token, name in (("commas", "the commas"), ("last", "the last token")):
        low, high = (number(float(means.sel(condition=condition, token=token)), 3) for condition in conditions)
        sentences.append(f"position at {name}, mean over layers: r = {low} at low and {high} at high entropy")
    for condition in conditions:
        sentences += [f"{condition} entropy, {text}" for text in _condition_texts(summary, condition)]
    return Findings(
        title="representational similarity and accuracy under entropy",
        headline=(
            f"The model’s accuracy is {accuracy['low']} at low entropy and {accuracy['high']} at high entropy "
            f"({sampled(n, 'trial')} each, {probability(fisher(right[0], right[1], n, n), 'equal accuracies')})."
        ),
        sentences=(*sentences, PEAK_RULE, STATUS_RULE),
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


def _peak(part: xr.Dataset, name: str, n: int, range_text: str = "") -> str:
    """The peak over layers of one role and comparison, and the layers in which it is significant."""
    peak = peak_of(part, n)
    return f"{name}: peak in layer {peak.layer}, {peak.numbers}{range_text}; {peak.where}"


def _peak_at_commas(summary: xr.Dataset, comparison: str, n: int) -> str:
    """The peak of the mean over commas, with the range over single commas."""
    part = summary.sel(role=COMMAS, comparison=comparison)
    single = single_commas(summary)["r"].sel(comparison=comparison, layer=peak_layer(part["r"]))
    return _peak(part, f"{comparison} at the commas (mean)", n, f" ({range_of(single.values.tolist())} over commas)")


def _with_interval(statistics: xr.Dataset) -> str:
    r, low, high = (float(statistics[name]) for name in ("r", "ci_low", "ci_high"))
    return f"{number(r, 2)} {interval(low, high, 2)}"


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
    part, n = summary.sel(condition=condition), trials_in(summary)
    names = {"accuracy": "whole answer", "colour_accuracy": "colour"}
    accuracies = ", ".join(f"{what} {_accuracy(part, name)}" for name, what in names.items())
    return (
        _peak_at_commas(part, "position", n),
        _peak(last_token(part).sel(comparison="position"), "position at the last token", n),
        f"{accuracies} in {counted(n, 'trial')} ({level_of(summary)} intervals)",
    )


def _accuracy(part: xr.Dataset, name: str) -> str:
    return share_interval(*(float(part[f"{name}{end}"]) for end in ("", "_low", "_high")))


def _headline(verdicts: Mapping[str, str], n: int) -> str:
    """What became of each quantity, and over how many trials."""
    texts = "; ".join(f"{name}: {verdict}" for name, verdict in verdicts.items())
    return f"{capital(texts)} ({sampled(n, 'trial')})."


def _best_head(part: xr.Dataset, heads: Sequence[RankedHead], n: int) -> str:
    """Whether any head was found, with the one of the largest r."""
    evidence = evidence_of(part, n)
    if not heads or evidence.status == "not testable":
        return f"not testable ({limit_text(evidence) if heads else 'all heads are inactive'})"
    return f"{evidence.status}, largest r in {heads[0].name} ({_at_layer(heads[0].statistics)})"


def _at_layer(statistics: xr.Dataset) -> str:
    """``0.61 [0.52, 0.70], family-wise p < 0.001 against shuffled labels``."""
    return f"{_with_interval(statistics)}, {probability(float(statistics['p_fwer']), SHUFFLED, 'family-wise p')}"
