"""Paired effects of an edit: settings are selected on one half of the trials, effects reported on the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import xarray as xr
from jaxtyping import Bool

from finst.analysis.paired import paired_interval
from finst.analysis.proportions import mcnemar, wilson
from finst.analysis.selection import smallest_of_the_best
from finst.experiments.interventions.effect_rows import CHOICE, DOCUMENTATION, LEAD, OWN
from finst.experiments.units import documented

ALL = "all"
"""The group of all trials."""


def selection_split(groups: Sequence[str], seed: int) -> Bool[np.ndarray, "trial"]:
    """The trials that settings are selected on: half of every group (rounded down), drawn by ``seed``."""
    rng = np.random.default_rng(seed)
    labels = np.array(groups, dtype=np.str_)
    selection = np.zeros(len(labels), dtype=bool)
    for group in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == group))
        selection[members[: len(members) // 2]] = True
    return selection


def chosen_settings(
    hits: xr.DataArray, settings: Sequence[str], confidence: float, *, sets: str = "set", main: str = "top"
) -> xr.Dataset:
    """What ``CHOICE`` lists, by the other dims of ``hits`` (dims trial, ``sets`` and ``settings``, such as k and dose).

    All trials of ``hits``, the selected half, choose. ``main`` gets the smallest edit that cannot be told from its best
    one (``smallest_of_the_best``), every other entry of ``sets``, such as a control, its best one: what it reaches may
    not be hidden by a choice of the smallest.
    """
    grids = [hits[name].values.tolist() for name in settings]
    sizes = [*product(*grids)]

    def choose(table: np.ndarray) -> tuple[float, ...]:
        choice = smallest_of_the_best(table.reshape(len(table), -1), sizes, confidence)
        return (*sizes[choice.setting], *sizes[choice.best], int(choice.equals.sum()))

    count = len(settings)
    values = xr.apply_ufunc(
        choose,
        hits,
        input_core_dims=[["trial", *settings]],
        output_core_dims=[[] for _ in range(2 * count + 1)],
        vectorize=True,
    )
    smallest, best, equals = values[:count], values[count:-1], values[-1]
    own = {
        f"own_{name}": one.where(one[sets] == main, other)
        for name, one, other in zip(settings, smallest, best, strict=True)
    }
    found = xr.Dataset({**own, "equals": equals, "tried": len(sizes)})
    return documented(found, {name: CHOICE[name] for name in map(str, found.data_vars)})


def effect(
    before: Bool[np.ndarray, "trial"], after: Bool[np.ndarray, "trial"], confidence: float
) -> tuple[float | int, ...]:
    """What ``DOCUMENTATION`` lists, in its order, for the same trials without and with an edit."""
    tested = mcnemar(before, after)
    ends = [wilson(int(hits.sum()), len(hits), confidence) for hits in (before, after)]
    shares = ((float(hits.mean()), *pair) for hits, pair in zip((before, after), ends, strict=True))
    return (len(before), *(value for share in shares for value in share), tested.gained, tested.lost, tested.p)


def lead(
    rival: Bool[np.ndarray, "trial"], main: Bool[np.ndarray, "trial"], confidence: float
) -> tuple[float, float, float, float]:
    """What ``LEAD`` lists, in its order, for the same trials with two edits."""
    tested = mcnemar(rival, main)
    return tested.difference, *paired_interval(tested.gained, tested.lost, len(main), confidence), tested.p


def effects(before: xr.DataArray, after: xr.DataArray, groups: Sequence[str], confidence: float) -> xr.Dataset:
    """Effects by group (``all``, then each of ``groups``: one a trial, or none), over all other dims of ``after``.

    ``before`` and ``after`` say which trials are hits, along a dim ``trial``.
    """
    return _paired(effect, DOCUMENTATION, before, after, groups, confidence)


def leads(rivals: xr.DataArray, main: xr.DataArray, groups: Sequence[str], confidence: float) -> xr.Dataset:
    """How far ``main`` is ahead of ``rivals`` on the same trials, by group, as ``effects``."""
    return _paired(lead, LEAD, rivals, main, groups, confidence)


def _paired(
    statistic: Callable[[np.ndarray, np.ndarray, float], tuple[float, ...]],
    documentation: Mapping[str, tuple[str, str]],
    first: xr.DataArray,
    second: xr.DataArray,
    groups: Sequence[str],
    confidence: float,
) -> xr.Dataset:
    """A ``statistic`` of the same trials twice, by group, over all dims of either."""
    labels = np.array(groups, dtype=np.str_)
    first, second = xr.broadcast(first, second)
    names = list(dict.fromkeys([ALL, *labels.tolist()]))
    parts: list[xr.Dataset] = []
    for name in names:
        members = np.arange(first.sizes["trial"]) if name == ALL else np.flatnonzero(labels == name)
        values = xr.apply_ufunc(
            lambda one, other: statistic(one, other, confidence),
            first.isel(trial=members),
            second.isel(trial=members),
            input_core_dims=[["trial"], ["trial"]],
            output_core_dims=[[] for _ in documentation],
            vectorize=True,
        )
        parts.append(xr.Dataset(dict(zip(documentation, values, strict=True))))
    whole: xr.Dataset = xr.concat(parts, xr.Variable("group", names), join="exact", data_vars="all", coords="minimal")
    return documented(whole, documentation)


def beside(
    after: xr.DataArray, own: xr.DataArray, groups: Sequence[str], confidence: float, *, sets: str, main: str
) -> xr.Dataset:
    """``LEAD`` and ``OWN`` of every entry of the dim ``sets``, by group.

    ``after`` says which trials are hits at the setting chosen for ``main``, ``own`` at the setting of each entry.
    """
    top = after.sel({sets: main}, drop=True)
    shares = effects(own, own, groups, confidence)[["after", "after_low", "after_high"]]
    theirs = xr.merge([shares, leads(own, top, groups, confidence)], join="exact")
    named = documented(theirs.rename({name: f"own_{name}" for name in map(str, theirs.data_vars)}), OWN)
    return xr.merge([leads(after, top, groups, confidence), named], join="exact")


def selected_effects(
    before: xr.DataArray,
    after: xr.DataArray,
    selection: Bool[np.ndarray, "trial"],
    groups: Sequence[str],
    alpha: float,
    *,
    criterion: xr.DataArray | None = None,
    settings: Sequence[str] = ("k", "dose"),
    sets: str = "set",
    main: str = "top",
    at_chosen: bool = False,
) -> xr.Dataset:
    """Effects on the trials outside ``selection``, and the settings that were chosen on those inside.

    ``after`` has the dims trial, ``sets`` and ``settings``. By ``criterion`` (dims of ``after``; None: ``after``
    itself) each entry of ``sets`` gets a setting of its own (``own_NAME``, see ``chosen_settings``); ``chosen_NAME`` is
    that of ``main``, and ``choosing`` the selection. Effects are those of every setting, as ``effects`` with a level of
    1 - ``alpha``; with ``at_chosen``, of the chosen ones alone. ``beside`` says what else there is.
    """
    criterion = after if criterion is None else criterion
    picked = chosen_settings(criterion.isel(trial=selection), settings, 1 - alpha, sets=sets, main=main)
    own = {name: picked[f"own_{name}"] for name in settings}
    chosen = {name: setting.sel({sets: main}, drop=True) for name, setting in own.items()}
    reported, labels = after.isel(trial=~selection), np.array(groups, dtype=np.str_)[~selection].tolist()
    alike, alone = (reported.sel(where).reset_coords(list(settings), drop=True) for where in (chosen, own))
    found = effects(before.isel(trial=~selection), alike if at_chosen else reported, labels, 1 - alpha)
    compared = beside(alike, alone, labels, 1 - alpha, sets=sets, main=main)
    return found.merge(compared, join="exact").assign(
        {
            **{f"chosen_{name}": setting for name, setting in chosen.items()},
            **picked.data_vars,
            "choosing": ("trial", selection),
        }
    )
