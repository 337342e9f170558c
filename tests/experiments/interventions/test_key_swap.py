"""The control of other layers when a key swap edits many layers, or all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from finst.analysis.mediation import STAGES
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.key_swap.experiment import PAPER, ROLES, KeyEdit, Keys, KeySwap, edits_of
from finst.experiments.interventions.key_swap.spec import KeySwapSpec

LAYERS, SPEC = 6, KeySwapSpec(trials=8, doses=(2.0,), draws=5)


def reaches(held: Sequence[int]) -> tuple[KeyEdit, ...]:
    """Of a model whose strongest heads of feature retrieval lie in the layers that are given, one in each."""
    mean = np.zeros((len(STAGES), LAYERS, 4))
    mean[STAGES.index("feature_retrieval"), list(held), 1] = 1
    maps = HeadMaps("x", mean, mean > 0, noise=0.01)
    spec = KeySwapSpec(k=len(held), draws=SPEC.draws)
    return edits_of(maps, spec, Keys(torch.randn(2, LAYERS, 2, 3, generator=torch.Generator().manual_seed(0))))


@pytest.mark.parametrize("held", [(0, 2), (1, 2, 5), (0, 2, 3, 4), (0, 1, 2, 3, 4)])
def test_layers_are_drawn_from_those_without_strong_heads_as_far_as_they_reach(held: tuple[int, ...]):
    others = [set(one.heads) for one in reaches(held) if one.name.startswith("random layers")]
    assert len(others) == SPEC.draws
    for other in others:
        assert len(other) == len(held)
        assert len(other - set(held)) == min(len(held), LAYERS - len(held))


def test_without_other_layers_there_is_no_such_control():
    names = [one.name for one in reaches(range(LAYERS))]
    assert names[5:] == [PAPER, *(f"random direction {draw}" for draw in range(SPEC.draws))]


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ((0, 2), "at most 0.0% with as many other layers"),
        (
            (0, 2, 3, 4),
            "at most 0.0% with as many other layers (up to 2 of 4 are edited ones, as there are not enough others)",
        ),
        (
            tuple(range(LAYERS)),
            "every layer holds one of the strongest heads, so that there are no other layers to compare with",
        ),
    ],
)
def test_other_layers_that_are_edited_ones_or_missing_are_told(held: tuple[int, ...], told: str):
    edits = reaches(held)
    answers = np.full((8, len(edits), 1), ROLES.index("queried"))
    coords: dict[str, Any] = {"trial": np.arange(8), "side": ("trial", ["left", "right"] * 4), "k": [len(held)]}
    part = xr.Dataset(
        {
            "said": (("trial", "edit", "dose"), answers),
            "said_before": ("trial", answers[:, 0, 0]),
            "heads": ("edit", [one.text for one in edits]),
            "warning": ("k", [""]),
        },
        coords={**coords, "edit": [one.name for one in edits], "dose": [2.0]},
    )
    found = KeySwap().summarise(SPEC, [part])
    assert told in KeySwap().account(found).findings
    caption = KeySwap().draw(found)[0].caption
    assert ("as many whole layers at random" in caption) == (len(held) < LAYERS)
    assert [row.n for row in KeySwap().effects(found)] == [4]
