"""What the findings of interventions share: effects in words, rows of their tables, and how they were tested."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Iterable, Mapping

import xarray as xr

from finst.analysis.headsets import Head, displaced
from finst.experiments.interventions.effect_rows import Share
from finst.report.wording import format_p, level_of, p_heading, probability, sampled

NO_EDIT = "no edit"
"""What the p of an effect is against, unless it says otherwise."""

EFFECT_COLUMNS = ("n", "before", "after", "gained", "lost", p_heading(NO_EDIT))


def share_of(effect: xr.Dataset, name: str) -> str:
    """``83.3% [70.4%, 91.3%]``."""
    return Share.of(effect, name).text


def shares_of(shares: xr.DataArray) -> str:
    """``83.3%, 70.4%``."""
    return ", ".join(f"{share:.1%}" for share in shares.values.tolist())


def before_and_after(effect: xr.Dataset) -> str:
    """``0.0% [...] before, 83.3% [...] after, n = 24 trials, p < 0.001 against no edit``."""
    shares = ", ".join(f"{share_of(effect, name)} {name}" for name in ("before", "after"))
    return f"{shares}, {n_and_p(effect)}"


def n_and_p(effect: xr.Dataset) -> str:
    """``n = 24 trials, p < 0.001 against no edit``."""
    return f"{sampled(int(effect['n']), 'trial')}, {probability(float(effect['p']), NO_EDIT)}"


def choice_of(summary: xr.Dataset) -> str:
    """Of how many settings the reported one is the smallest; ``summary`` is of one edit. Empty for an older finst."""
    if "equals" not in summary:
        return ""
    equals, tried = int(summary["equals"]), int(summary["tried"])
    if tried == 1:
        return "the only setting"
    if equals == tried:
        return f"none of {tried} settings can be told from the best one on the other half, so this is the smallest edit"
    return f"the smallest of {equals} settings, of {tried}, that cannot be told from the best one on the other half"


def control_notes(heads: xr.DataArray, ks: Iterable[int]) -> tuple[str, ...]:
    """Where controls are not what they should be, at the ``ks`` that are reported; ``heads`` has the dims set and k.

    Some layer has too few other heads to match, or (in runs of an older finst) controls hold some of the strongest.
    """
    notes = []
    for k in dict.fromkeys(ks):
        texts = dict(zip(heads["set"].values.tolist(), map(_parsed, heads.sel(k=k).values.tolist()), strict=True))
        for name in (name for name in texts if name.rpartition(" ")[0] in ("random", "layer-matched")):
            shared = len(set(texts[name]) & set(texts["top"]))
            moved = displaced(texts[name], texts["top"]) if name.startswith("layer-matched") else 0
            if shared:
                notes.append(f"{name} holds {shared} of the {k} strongest heads")
            if moved:
                notes.append(
                    f"{moved} of {k} heads of {name} are of the nearest layers, as those edited have too few others"
                )
    return (f"controls: {'; '.join(notes)}",) if notes else ()


def _parsed(text: str) -> tuple[Head, ...]:
    """``L4H0 L5H2`` as heads."""
    pairs = (name.removeprefix("L").split("H") for name in text.split())
    return tuple((int(layer), int(head)) for layer, head in pairs)


def cut_notes(summary: xr.Dataset) -> tuple[str, ...]:
    """Sizes of the default grid that the model is too small for."""
    missing = [k for k in summary.attrs.get("ks", ()) if k not in summary["k"].values]
    if not missing:
        return ()
    return (
        f"K = {', '.join(map(str, missing))} left out: more than half of all heads, and controls need as many others",
    )


def setting_of(k: xr.DataArray | float, dose: xr.DataArray | float) -> str:
    """``K = 20, dose 2``."""
    return f"K = {int(k)}, dose {float(dose):g}"


def effect_row(effect: xr.Dataset) -> tuple[str, ...]:
    """The cells of ``EFFECT_COLUMNS``."""
    counts = (str(int(effect[name])) for name in ("gained", "lost"))
    shares = (share_of(effect, name) for name in ("before", "after"))
    return (str(int(effect["n"])), *shares, *counts, format_p(float(effect["p"])))


def rows_by_set(effects: xr.Dataset, *labels: str, dim: str = "set", main: str = "top") -> list[tuple[str, ...]]:
    """A row of a table for every group of the ``main`` entry of ``dim``, and for all trials of every other entry.

    ``effects`` have the dims ``dim`` and group. A row has ``labels``, the entry, the group, then ``EFFECT_COLUMNS``.
    """
    return [
        (*labels, name, group, *effect_row(effects.sel({dim: name, "group": group})))
        for name in effects[dim].values.tolist()
        for group in (effects["group"].values.tolist() if name == main else ["all"])
    ]


def tie_notes(warnings: xr.DataArray, ks: Iterable[int]) -> tuple[str, ...]:
    """``ranking_notes`` of the strongest heads at ``ks``; ``warnings`` has the dim k."""
    return ranking_notes({f"top {k}": str(warnings.sel(k=k).item()) for k in ks})


def ranking_notes(texts: Mapping[str, str]) -> tuple[str, ...]:
    """What is arbitrary about the sets that are reported, by name, as one finding; none if all texts are empty."""
    noted = "; ".join(f"{name}: {text}" for name, text in texts.items() if text)
    return (f"ranking of the heads: {noted}",) if noted else ()


def intervals(summary: xr.Dataset) -> str:
    """Which intervals and tests are shown."""
    return (
        f"Intervals are Wilson intervals ({level_of(summary)}); p is McNemar’s exact paired one, against what is named."
    )


def rule(summary: xr.Dataset) -> str:
    """How settings are selected, for the edit and for its controls."""
    if "equals" not in summary:
        return "The setting with the largest share was taken. All results are of the other trials."
    return (
        "Of the settings that cannot be told from the best one (the score interval of the paired difference holds 0, "
        f"{level_of(summary)}) the smallest K is taken, then the smallest dose. Each control is also shown at its "
        "own best setting on the same trials, the one with most hits. All results are of the other trials. Controls "
        "are of heads outside the K strongest, and K is at most half of all heads."
    )


def tested(summary: xr.Dataset) -> str:
    """How shares before and after are compared."""
    return (
        "Shares before and after are of the same trials, decoded greedily with the same budget of tokens. A text is "
        f"scored by the word that it begins with. {intervals(summary)}"
    )
