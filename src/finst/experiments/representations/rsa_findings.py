"""What the runs of the representational analyses found, in words and in a table."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from finst.experiments.representations.head_figures import SHOWN as TOKENS
from finst.experiments.representations.head_figures import strongest
from finst.experiments.representations.pca_figures import best_layers
from finst.experiments.representations.rsa_figures import COMMAS, LAST, averages, commas, last
from finst.report.findings import Findings
from finst.report.wording import capital, format_p, level_of, listed, number, span

TENSORS = {
    "resid": "the residual stream after each layer",
    "post_attention_norm": "the normalised residual stream between each layer’s attention and MLP",
    "attn_out": "the output of each layer’s attention",
    "z": "every head’s output, before the layer’s output projection",
}

SAME = (
    "Every trial shows the same objects, in other cells each time. So the described ones tell, without the picture, "
    "which one is missing: features may be similar for that reason alone."
)
FRESH = "Every trial shows objects of its own, drawn independently of their cells."
SHOWN = "All objects but the target are described, in random order; the answer is the target."
BALANCED = (
    "At every comma and at the last token, every place in the list of objects stands in every cell equally often, so "
    "that position and features are independent."
)
CHANCE = "Every arrangement comes up equally often; which object is the target, chance decides."
CLEAN = "No feature of the target is in the prompt."
LEAKED = "The prompt ends with the target’s colour, so that half of its features are in the prompt."


def _shown(summary: xr.Dataset) -> str:
    objects = FRESH if summary.attrs.get("objects") == "fresh" else SAME
    return f"{objects} {SHOWN} {CHANCE if summary.attrs.get('arrangements') == 'all' else BALANCED}"


def _asked(summary: xr.Dataset) -> str:
    attrs = summary.attrs
    leaked = LEAKED if attrs["leak_target_colour"] else CLEAN
    begun = "begun in the assistant’s turn" if attrs["placement"] == "prefill" else "in the user’s turn"
    return f"{leaked} The sentence is {begun}. Read is {TENSORS[attrs['tensor']]}."


def _tested(summary: xr.Dataset) -> str:
    attrs = summary.attrs
    places = "layers and heads" if "head" in summary.dims else "layers"
    return (
        "A model RSM holds the cosine similarity of every pair of trials. Target RSMs: position is 1 − distance / "
        "largest distance, features are the mean of colour match and shape match. r is Pearson’s over all pairs of "
        f"different trials. p values permute the trials ({attrs['permutations']:,} times); family-wise ones take the "
        f"largest r over {places}, for each token and target. Intervals are bootstraps over trials "
        f"({attrs['bootstraps']:,} resamples). The noise ceiling is what the best target of cell and object reaches, "
        "where these recur in enough trials to tell."
    )


def _exact(summary: xr.Dataset) -> str:
    right = summary["exact"].values
    return f"greedy decoding gives exactly the answer in {right.mean():.1%} of {len(right)} trials"


_LEVEL = 0.005
"""Correlations that differ by less are the same in a sentence."""


def peak_layer(r: xr.DataArray) -> int:
    """The first layer whose r is as good as the largest: what later layers merely keep does not peak there."""
    return int(r["layer"].values[int((r > r.max() - _LEVEL).argmax("layer"))])


def _peak(part: xr.Dataset, what: str, alpha: float, besides: str = "") -> str:
    """Of one comparison over layers."""
    at = part.sel(layer=peak_layer(part["r"]))
    found = part["layer"].values[(part["p_fwer"] < alpha).values].tolist()
    where = f"significant in {span(found)}" if found else "significant nowhere"
    return f"{what} peaks in layer {int(at['layer'])}: r = {_with_interval(at)}{besides}; {where}"


def _with_interval(at: xr.Dataset) -> str:
    r, low, high = (number(float(at[name]), 2) for name in ("r", "ci_low", "ci_high"))
    return f"{r} [{low}, {high}]"


def _layer(r: xr.DataArray, significant: xr.DataArray) -> str:
    """Where r is largest, if it is significant in any layer."""
    return f"in layer {peak_layer(r)}" if significant.any() else "nowhere"


def _peak_at_commas(summary: xr.Dataset, comparison: str) -> str:
    """Of the mean over commas."""
    part = summary.sel(role=COMMAS, comparison=comparison)
    each = commas(summary)["r"].sel(comparison=comparison).sel(layer=peak_layer(part["r"]))
    ends = f" ({number(float(each.min()), 2)} to {number(float(each.max()), 2)} over commas)"
    return _peak(part, f"{comparison} at the commas (mean)", summary.attrs["alpha"], ends)


def _rows(summary: xr.Dataset, comparisons: list[str]) -> tuple[tuple[str, ...], ...]:
    rows = []
    for role in summary["role"].values.tolist():
        for name in comparisons:
            part = summary.sel(role=role, comparison=name)
            at = part.sel(layer=peak_layer(part["r"]))
            values = (number(float(at[key]), 3) for key in ("r", "ci_low", "ci_high", "spearman"))
            rows.append(
                (role, name, str(int(at["layer"])), *values, format_p(float(at["p"])), format_p(float(at["p_fwer"])))
            )
    return tuple(rows)


COLUMNS = ("token", "target", "layer of the peak", "r", "low", "high", "Spearman", "p", "family-wise p")


def stages_findings(summary: xr.Dataset) -> Findings:
    """Of ``rsa-stages``."""
    alpha = summary.attrs["alpha"]
    at_last = {name: last(summary).sel(comparison=name) for name in ("position", "features")}
    peaks = {name: _layer(part["r"], part["p_fwer"] < alpha) for name, part in at_last.items()}
    described = summary.sel(role=COMMAS, comparison="position")
    prompt = _layer(described["r"], described["p_fwer"] < alpha)
    return Findings(
        title="representational similarity by stage",
        headline=(
            f"Position peaks {prompt} at the commas and {peaks['position']} at the last token; features peak "
            f"{peaks['features']} at the last token."
        ),
        sentences=(
            _peak_at_commas(summary, "position"),
            _peak(at_last["position"], "position at the last token", alpha),
            _peak(at_last["features"], "features at the last token", alpha),
            _peak_at_commas(summary, "features"),
            _exact(summary),
        ),
        columns=COLUMNS,
        rows=_rows(summary, ["position", "features", "position | features", "features | position"]),
        method=(_shown(summary), _asked(summary), _tested(summary)),
    )


HEADS_LISTED = 8
"""Of each map, in the table."""


def heads_findings(summary: xr.Dataset) -> Findings:
    """Of ``rsa-stages`` over single heads."""
    alpha = summary.attrs["alpha"]
    findings, rows, first = [], [], {}
    for role, token in TOKENS.items():
        for target in ("position", "features"):
            part = summary.sel(role=role, comparison=target)
            best = strongest(part, HEADS_LISTED)
            first[role, target] = best[0].name if float(best[0].at["p_fwer"]) < alpha else "no head"
            told = ", ".join(f"{one.name} {_with_interval(one.at)}" for one in best[:3])
            count, of = int((part["p_fwer"] < alpha).sum()), part["r"].size
            findings.append(f"{target} at the {token}: {told}; significant in {count} of {of} heads")
            rows += [
                (
                    token,
                    target,
                    one.name,
                    *(number(float(one.at[name]), 3) for name in ("r", "ci_low", "ci_high", "spearman", "norm")),
                    *(format_p(float(one.at[name])) for name in ("p", "p_fwer")),
                )
                for one in best
            ]
    silent = int(last(summary)["r"].isel(comparison=0).isnull().sum())
    return Findings(
        title="representational similarity of heads",
        headline=(
            f"Position is held most plainly by {first[COMMAS, 'position']} at the commas and by "
            f"{first[LAST, 'position']} at the last token; features by {first[LAST, 'features']} at the last token."
        ),
        sentences=(*findings, f"silent at the last token: {silent} heads", _exact(summary)),
        columns=("token", "target", "head", "r", "low", "high", "Spearman", "norm", "p", "family-wise p"),
        rows=tuple(rows),
        method=(
            _shown(summary),
            _asked(summary),
            _tested(summary)
            + " Correlations at the commas are means over them. Cosines do not see how large an output "
            "is, nor whether anything reads it: a head that is called silent (below a thousandth of the median head’s "
            "norm) has no r, and what a head does is for mediation to say.",
        ),
    )


def frame_findings(summary: xr.Dataset) -> Findings:
    """Of ``rsa-frame``."""
    part = last(summary)
    given = {name: part.sel(comparison=name) for name in ("relative | absolute", "absolute | relative")}
    layer = peak_layer(part["r"].sel(comparison="relative"))
    r = {name: number(float(part["r"].sel(comparison=name, layer=layer)), 2) for name in ("relative", "absolute")}
    alpha = summary.attrs["alpha"]
    plain = [
        _peak(part.sel(comparison=name), f"{name}{' position' if name != 'features' else ''}", alpha)
        for name in ("relative", "absolute", "features")
    ]
    return Findings(
        title="representational similarity with relative and absolute position",
        headline=(
            f"Where relative position is strongest at the last token (layer {layer}), r is {r['relative']} with "
            f"relative and {r['absolute']} with absolute position."
        ),
        sentences=(
            *plain,
            *(_peak(values, name.replace("|", "position given"), alpha) for name, values in given.items()),
            _exact(summary),
        ),
        columns=COLUMNS,
        rows=_rows(summary, summary["comparison"].values.tolist()),
        method=(
            "Four 2x2 arrangements, one in each quadrant of a 3x3 lattice, share the centre cell. " + _shown(summary),
            _asked(summary),
            _tested(summary) + " Relative position is the cell within the arrangement, absolute position that of the "
            "lattice.",
        ),
    )


def entropy_findings(summary: xr.Dataset) -> Findings:
    """Of ``rsa-entropy``."""
    means = averages(summary)["mean_r"]
    accuracy = {c: float(summary["accuracy"].sel(condition=c)) for c in ("low", "high")}
    findings = []
    for token in ("commas", "last"):
        low, high = (number(float(means.sel(condition=c, token=token)), 3) for c in ("low", "high"))
        where = "the commas" if token == "commas" else "the last token"
        findings.append(f"position at {where}, mean over layers: r = {low} at low and {high} at high entropy")
    alpha = summary.attrs["alpha"]
    for condition in ("low", "high"):
        part = summary.sel(condition=condition)
        findings.append(f"{condition} entropy: {_peak_at_commas(part.assign_attrs(summary.attrs), 'position')}")
        findings.append(
            f"{condition} entropy: {_peak(last(part).sel(comparison='position'), 'position at last', alpha)}"
        )
        findings.append(_accuracy(part, condition, summary))
    rows = tuple(
        (condition, *row)
        for condition in ("low", "high")
        for row in _rows(summary.sel(condition=condition), ["position", "features"])
    )
    return Findings(
        title="representational similarity and accuracy under entropy",
        headline=f"The model answers {accuracy['low']:.1%} rightly at low and {accuracy['high']:.1%} at high entropy.",
        sentences=tuple(findings),
        columns=("entropy", *COLUMNS),
        rows=rows,
        method=(
            "Low entropy: all conjunctions of few colours and shapes; high: objects as distinct as possible. "
            + _shown(summary),
            _asked(summary) + " An answer is right when the text that the model generates greedily begins with it.",
            _tested(summary),
        ),
    )


def _accuracy(part: xr.Dataset, condition: str, summary: xr.Dataset) -> str:
    said = []
    for name, what in (("accuracy", "whole answer"), ("colour_accuracy", "colour")):
        low, high = (float(part[f"{name}_{end}"]) for end in ("low", "high"))
        said.append(f"{what} {float(part[name]):.1%} [{low:.1%}, {high:.1%}]")
    return f"{condition} entropy: {', '.join(said)} of {summary.attrs['n']} trials ({level_of(summary)} intervals)"


def accuracy_findings(summary: xr.Dataset) -> Findings:
    """Of ``accuracy``."""
    rows = []
    for placement in summary["placement"].values.tolist():
        for entropy in summary["entropy"].values.tolist():
            for count in summary["objects"].values.tolist():
                part = summary.sel(placement=placement, entropy=entropy, objects=count)
                values = [
                    f"{float(part[name]):.1%} [{float(part[f'{name}_low']):.1%}, {float(part[f'{name}_high']):.1%}]"
                    for name in ("accuracy", "colour_accuracy")
                ]
                rows.append((str(placement), str(entropy), str(count), *values))
    whole, colour = (float(summary[name].mean()) for name in ("accuracy", "colour_accuracy"))
    found = summary["accuracy"].stack(condition=("placement", "entropy", "objects"))
    worst = min(zip(found["condition"].values.tolist(), found.values.tolist(), strict=True), key=lambda one: one[1])
    (placement, entropy, count), least = worst
    leaked = LEAKED if summary.attrs["leak_target_colour"] else CLEAN
    return Findings(
        title="accuracy of scene descriptions",
        headline=f"{whole:.1%} of answers are right, and {colour:.1%} begin with the right word.",
        sentences=(
            f"least accurate: {count} objects, {entropy} entropy, {placement}: {least:.1%}",
            f"{summary.attrs['trials']} trials in each of {found.size} conditions",
        ),
        columns=("placement", "entropy", "objects", "whole answer", "first word"),
        rows=tuple(rows),
        method=(
            "Random cells of a 2x2 grid (up to 4 objects) or a 3x3 grid, all objects but one described in random "
            f"order. {leaked} An answer is right when the text that the model generates greedily begins with it, word "
            f"by word; intervals are Wilson’s ({level_of(summary)}).",
        ),
    )


def pca_findings(summary: xr.Dataset) -> Findings:
    """Of ``pca``."""
    findings, rows = [], []
    best: Mapping[str, Mapping[str, int]] = {
        str(view): best_layers(summary.sel(view=view)) for view in summary["view"].values
    }
    for view, layers in best.items():
        for label, layer in layers.items():
            at = summary.sel(view=view, label=label)
            here = at.sel(layer=layer)
            values = {name: float(here[name]) for name in ("silhouette", "plane_probe", "probe", "chance")}
            findings.append(
                f"{view}: {label} is told best in layer {layer} (silhouette {number(values['silhouette'], 2)}, probe "
                f"on the plane {values['plane_probe']:.1%}, on {summary.attrs['components']} components "
                f"{values['probe']:.1%}, chance {values['chance']:.1%})"
            )
            for part in at.transpose("layer", ...)["layer"].values.tolist():
                one = at.sel(layer=part)
                shares = (f"{float(one[name]):.1%}" for name in ("probe", "plane_probe", "chance"))
                rows.append((view, label, str(part), *shares, number(float(one["silhouette"]), 3)))
    view, first = next(iter(best.items()))
    planes = summary["silhouette"].sel(view=view)
    said = [f"{name} in layer {at}" for name, at in first.items() if planes.sel(label=name).max() > 0]
    never = [name for name in first if planes.sel(label=name).max() <= 0]
    separate = f"the plane of two principal components separates {listed(said)} best" if said else ""
    missing = f"no plane separates {listed(never)}" if never else ""
    return Findings(
        title="principal components by layer",
        headline=f"{capital('; '.join(filter(None, (separate, missing))))}.",
        sentences=(*findings, _exact(summary)),
        columns=("view", "label", "layer", "probe", "probe on the plane", "chance", "silhouette"),
        rows=tuple(rows),
        method=(
            _shown(summary),
            _asked(summary) + f" Components are those of the token “{summary.attrs['role']}”, layer by layer.",
            "Probes are linear discriminants, held out in up to five folds, on the first "
            f"{summary.attrs['components']} components of all trials and on the first two. Folds are whole blocks of "
            "the design, in which every object is in every cell equally often. Labels that divide the trials in the "
            "same way are one.",
        ),
    )
