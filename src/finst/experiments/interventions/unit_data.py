"""The data of one unit: the role of every answer, and the dataset that every intervention writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from jaxtyping import Int8, Shaped

from finst.experiments.interventions.decoding import role_of
from finst.experiments.interventions.heads import HeadSets
from finst.experiments.units import documented
from finst.runs.experiment import Unit

COLOUR_ANSWERS = {
    "said": ("1", "whose colour is named, as an index of role"),
    "said_before": ("1", "the same without an edit"),
}
"""Documentation of answers that are colours."""

TIES = {"warning": ("1", "what is arbitrary about the K strongest heads; empty if nothing")}
EDITED_HEADS = {"heads": ("1", "the heads that are edited"), **TIES}
"""Documentation of the edited heads."""


@runtime_checkable
class ColourTrial(Protocol):
    """A trial whose answer is a colour of its scene."""

    @property
    def roles(self) -> Mapping[str, str]:
        """Roles by colour word."""
        ...


def role_indices(
    texts: Iterable[Sequence[str]], trials: Sequence[ColourTrial], roles: Sequence[str]
) -> Int8[np.ndarray, "trial row"]:
    """Whose colour every text begins with, as an index into ``roles``; ``texts`` are those of every trial's rows."""
    named = [[role_of(text, trial.roles) for text in row] for row, trial in zip(texts, trials, strict=True)]
    return np.array([[roles.index(role) for role in row] for row in named], np.int8)


def edited_rows(
    name: str, values: Shaped[np.ndarray, "trial row *score"], edits: Mapping[str, Sequence[Any]], *scores: str
) -> dict[str, Any]:
    """The variables ``NAME`` and ``NAME_before`` of values by row.

    Row 0 is unedited; the others run over all combinations of the coordinates ``edits``, the last one fastest. The axes
    of ``values`` that follow are the dims ``scores``.
    """
    shape = (len(values), *map(len, edits.values()), *values.shape[2:])
    return {
        name: (("trial", *edits, *scores), values[:, 1:].reshape(shape)),
        f"{name}_before": (("trial", *scores), values[:, 0]),
    }


def head_variables(sets: Sequence[HeadSets], warnings: Sequence[Any], *dims: str) -> dict[str, Any]:
    """The heads of every set and K, and what is arbitrary about sets; ``warnings`` have the ``dims``, k by default."""
    return {
        "heads": (("set", "k"), np.array([each.texts for each in sets])),
        "warning": (dims or ("k",), np.array(warnings)),
    }


def staged_head_variables(
    sets: Mapping[str, Sequence[HeadSets]], warnings: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """As ``head_variables``, of sets and warnings by stage."""
    return {
        "heads": (("stage", "set", "k"), np.array([[each.texts for each in some] for some in sets.values()])),
        "warning": (("stage", "k"), np.array([*warnings.values()])),
    }


def trial_dataset(
    unit: Unit,
    edits: Mapping[str, Sequence[Any]],
    variables: Mapping[str, Any],
    coords: Mapping[str, Any],
    *,
    attrs: Mapping[str, str],
    documentation: Mapping[str, tuple[str, str]],
) -> xr.Dataset:
    """A unit's dataset: its trials, the coordinates of its ``edits``, and units and long names of its variables.

    ``variables`` and ``coords`` are as ``xr.Dataset`` takes them.
    """
    lists = {name: list(values) for name, values in edits.items()}
    data = xr.Dataset({**variables}, {"trial": list(unit.trials), **lists, **coords}, {**attrs})
    return documented(data, documentation)
