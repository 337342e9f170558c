"""Sets of heads built as one block: equal to the same edits written out one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import Edit, Op, Rows, rows_from, unedited
from finst.engine.head_sets import each_layer, head_sets
from finst.engine.record import record
from finst.engine.sites import HEAD_SITES, SITES, Site
from finst.errors import FinstError
from tests.engine.conftest import Case

RANKING = np.array([(2, 1), (0, 3), (1, 0), (0, 0), (2, 0)])


def logits_of(case: Case, rows: Rows) -> torch.Tensor:
    return counterfactuals(case.vlm, case.recording[0], rows, case.answers)


@pytest.mark.parametrize("site", SITES)
def test_each_layer(exact: Case, site: Site) -> None:
    recorded = record(exact.vlm, [exact.contexts[1]], sites=[site]).sites[site][0]
    source = recorded + torch.randn(recorded.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positions = exact.positions["described"]
    heads = tuple(range(source.shape[2])) if site in HEAD_SITES else ()
    one_by_one = [(Edit(layer, heads, positions, source[layer, list(positions)], site),) for layer in range(3)]
    ours = logits_of(exact, each_layer(source, positions, site))
    assert (ours - logits_of(exact, rows_from(one_by_one))).abs().max() < 1e-12
    assert (ours - logits_of(exact, unedited())).abs().max() > 1e-3


@pytest.mark.parametrize("coefficients", [None, [0.5, 3.0]])
@pytest.mark.parametrize("site", ["z", "q"])
def test_top_k_and_grids(exact: Case, site: Site, coefficients: list[float] | None) -> None:
    positions = exact.positions["described"]
    values = torch.randn(3, len(positions), 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ks = [0, 1, 4, 5]
    op: Op = "replace" if coefficients is None else "add"
    one_by_one = [
        tuple(
            Edit(layer, (head,), positions, values[layer, :, [head]], site, op, factor)
            for layer, head in RANKING[:k].tolist()
        )
        for k in ks
        for factor in coefficients or [1.0]
    ]
    rows = head_sets(values, positions, RANKING, ks, coefficients, site)
    assert rows.count == len(ks) * len(coefficients or [1])
    ours = logits_of(exact, rows)
    assert (ours - logits_of(exact, rows_from(one_by_one))).abs().max() < 1e-12
    assert (ours[-1] - ours[0]).abs().max() > 1e-3
    assert (ours[0] - logits_of(exact, unedited())[0]).abs().max() < 1e-12


def test_refusals() -> None:
    values = torch.zeros(3, 2, 4, 8)
    with pytest.raises(FinstError, match=r"K must be in 0\.\.5, the number of ranked heads; got 6"):
        head_sets(values, (3, 4), RANKING, [2, 6])
    with pytest.raises(FinstError, match="holds a head twice"):
        head_sets(values, (3, 4), np.array([(0, 1), (0, 1)]), [1])
    with pytest.raises(FinstError, match="3 positions need as many values per head; got 2"):
        head_sets(values, (3, 4, 5), RANKING, [1])
    with pytest.raises(FinstError, match=r"a site with heads, one of q, k, v, z; got 'resid'"):
        head_sets(values, (3, 4), RANKING, [1], site="resid")
