"""Rows of edits at every site, with values of the right size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from finst.engine.edits import Edit, Op, Row, Rows, rows_from
from finst.engine.sites import HEAD_SITES, SITES, Site, heads_and_width
from finst.vlm.open import VLM
from tests.engine.conftest import Case

OPS: tuple[Op, ...] = ("replace", "add", "zero")


def edit_at(
    vlm: VLM, rng: np.random.Generator, site: Site, op: Op, layer: int, positions: Sequence[int], heads: int
) -> Edit:
    """Random values for ``heads`` random heads (at most all)."""
    count, width = heads_and_width(vlm, site)
    chosen = rng.choice(count, min(heads, count), replace=False).tolist() if site in HEAD_SITES else []
    size = (len(positions), len(chosen), width) if chosen else (len(positions), width)
    value = None if op == "zero" else torch.from_numpy(rng.standard_normal(size))
    return Edit(layer, tuple(chosen), tuple(positions), value, site, op, 0.5 if op == "add" else 1.0)


def rows_at_all_sites(case: Case, ops: Sequence[Op] = OPS) -> Rows:
    """One row for each site, layer and op; kinds of position take turns, image tokens among them."""
    rng = np.random.default_rng(0)
    kinds = list(case.positions.values())
    rows: list[Row] = []
    for site in SITES:
        for layer in range(case.vlm.n_layers):
            for op in ops:
                positions = kinds[len(rows) % len(kinds)]
                rows.append((edit_at(case.vlm, rng, site, op, layer, positions, 1 + len(rows) % 2),))
    return rows_from(rows)


def mixed_row(case: Case, rng: np.random.Generator) -> Row:
    """Up to four edits at any sites, layers, heads and positions; no two of them replace at one site."""
    last = case.clean.tokens.last
    row: list[Edit] = []
    for _ in range(rng.integers(5)):
        site = SITES[rng.integers(len(SITES))]
        first = all(edit.site != site for edit in row)
        op = OPS[rng.integers(3)] if first else "add"
        places = rng.choice((0, 1, 9, last - 6, last - 3, last - 1, last), rng.integers(1, 4), replace=False).tolist()
        row.append(
            edit_at(case.vlm, rng, site, op, int(rng.integers(case.vlm.n_layers)), places, int(rng.integers(1, 5)))
        )
    return tuple(row)
