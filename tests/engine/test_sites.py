"""Edits at every site: the same numbers as plain hooks and nnsight, and what follows from how a decoder is built."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

from finst.engine import hooks, nnsight
from finst.engine.counterfactuals import counterfactuals, observe
from finst.engine.edits import Edit, Rows, each_head, rows_from, unedited
from finst.engine.reads import Activations, Read, activations
from finst.engine.sites import HEAD_SITES, SITES, Site
from tests.engine.conftest import Case, OpenCase
from tests.engine.rows import edit_at, rows_at_all_sites
from tests.engine.test_counterfactuals import counted_tokens
from tests.tiny import Body

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def run(case: Case, rows: Rows) -> torch.Tensor:
    return counterfactuals(case.vlm, case.recording[0], rows, case.answers)


def whole(case: Case, site: Site) -> tuple[int, ...]:
    """All heads of a site."""
    if site not in HEAD_SITES:
        return ()
    return tuple(range(case.vlm.n_kv_heads if site in ("k", "v") else case.vlm.n_heads))


@pytest.fixture(scope="module")
def source(exact: Case) -> dict[Site, Activations]:
    """Everything inside the swapped context."""
    return activations(exact.vlm, [exact.contexts[1]], SITES)


@pytest.mark.parametrize("reference", [hooks, nnsight], ids=["hooks", "nnsight"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_one_kv_head(open_case: OpenCase, dtype: str, reference: ModuleType) -> None:
    case = open_case(Body(kv_heads=1, layers=2), dtype)
    rows = unedited() + rows_at_all_sites(case)
    ours = run(case, rows)
    theirs = reference.counterfactuals(case.vlm, case.clean, rows, case.answers)
    assert (ours - theirs).abs().max() < TOLERANCE[dtype]
    per_site = (theirs[1:] - theirs[0]).abs().amax(-1).view(len(SITES), -1).amax(-1)
    assert per_site.min() > 0.01


@pytest.mark.parametrize("site", SITES)
def test_zero_is_replacement_by_zeros_and_add_has_a_coefficient(
    exact: Case, source: dict[Site, Activations], site: Site
) -> None:
    clean = activations(exact.vlm, [exact.clean], [site])[site]
    positions, heads = exact.positions["described"], whole(exact, site)
    there, here = (x[0, 1, list(positions)] for x in (source[site], clean))
    alike = [
        [Edit(1, heads, positions, None, site, "zero"), Edit(1, heads, positions, torch.zeros(1), site)],
        [Edit(1, heads, positions, there, site), Edit(1, heads, positions, there - here, site, "add")],
        [
            Edit(1, heads, positions, there, site, "add", coefficient=-2.5),
            Edit(1, heads, positions, -2.5 * there, site, "add"),
        ],
    ]
    logits = run(exact, rows_from([(edit,) for pair in alike for edit in pair])).view(3, 2, -1)
    assert (logits[:, 0] - logits[:, 1]).abs().max() < 1e-9
    assert (logits - exact.recording.logits[0, list(exact.answers)]).abs().amax((1, 2)).min() > 1e-6


def test_kv_heads_one_row_each(exact: Case, source: dict[Site, Activations]) -> None:
    positions = exact.positions["patches"]
    for site in ("k", "v"):
        listed = rows_from(
            [
                (Edit(layer, (head,), positions, source[site][0, layer, list(positions)][:, [head]], site),)
                for layer in range(exact.vlm.n_layers)
                for head in range(exact.vlm.n_kv_heads)
            ]
        )
        assert (run(exact, each_head(source[site][0], positions, site)) - run(exact, listed)).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("site", "layer", "expected"),
    [
        *[(site, 1, [3, 3]) for site in SITES if site != "resid"],
        ("resid", 0, [3, 3]),
        ("resid", 1, [3]),
        ("resid", 2, []),
    ],
)
def test_no_work_before_the_first_edit(case: Case, site: Site, layer: int, expected: list[int]) -> None:
    row = (edit_at(case.vlm, np.random.default_rng(0), site, "add", layer, [case.clean.tokens.last - 2], 1),)
    with counted_tokens(case) as counts:
        run(case, rows_from([row]))
    assert counts == expected


def test_a_read_makes_its_rows_alone_begin_earlier(case: Case) -> None:
    last = case.clean.tokens.last
    rows = rows_from([(Edit(2, (0,), (last,), torch.zeros(1)),)] * 3)
    with counted_tokens(case) as counts:
        observe(case.vlm, case.recording[0], rows, [Read("mlp_out", (1,), (last - 4,), rows=(1,))], [0])
    assert counts == [5, 5 + 1 + 1]
