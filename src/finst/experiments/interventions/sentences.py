"""What the findings of interventions share: effects in words, rows of their tables, and how they were tested."""

# ruff: noqa: RUF001  (typeset text: dashes, minus signs and apostrophes as readers expect them)
from __future__ import annotations

from collections.abc import Iterable, Mapping

import xarray as xr

from finst.experiments.interventions.effect_table import Share
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
    return f"{shares}, {sampled(int(effect['n']), 'trial')}, {probability(float(effect['p']), NO_EDIT)}"


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
    return f"Intervals are Wilson intervals ({level_of(summary)}); p is from McNemar’s exact test."


def tested(summary: xr.Dataset) -> str:
    """How shares before and after are compared."""
    return (
        "Shares before and after are of the same trials, decoded greedily with the same budget of tokens. A text is "
        f"scored by the word that it begins with. {intervals(summary)}"
    )
