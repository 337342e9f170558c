"""The engine in every supported architecture: the same numbers as plain hooks and nnsight, at every site."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

from finst.engine import hooks, nnsight
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import Edit, each_head, rows_from, unedited
from finst.engine.precision import arithmetic
from finst.engine.record import record
from finst.engine.sites import SITES
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid
from finst.vlm.encode import encode
from tests.engine.conftest import Case, OpenCase
from tests.engine.rows import rows_at_all_sites
from tests.engine.test_generate import assert_same, ours, plain, rows_everywhere, transformers_own
from tests.tiny import FAMILIES, token_types

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


@pytest.mark.parametrize("reference", [hooks, nnsight], ids=["hooks", "nnsight"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_layer_and_op(open_case: OpenCase, family: str, dtype: str, reference: ModuleType) -> None:
    case = open_case(FAMILIES[family], dtype)
    rows = unedited() + rows_at_all_sites(case)
    ours = counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    theirs = reference.counterfactuals(case.vlm, case.clean, rows, case.answers)
    assert (ours - theirs).abs().max() < TOLERANCE[dtype]
    per_site = (theirs[1:] - theirs[0]).abs().amax(-1).view(len(SITES), -1).amax(-1)
    assert per_site.min() > 0.01


def test_resid_is_what_transformers_calls_hidden_states(family_case: Case) -> None:
    """``hidden_states`` of every layer except the last (its entry is normed), without additions between layers."""
    vlm, ids = family_case.vlm, family_case.clean.input_ids[None]
    with arithmetic(vlm), torch.inference_mode():
        given = {**family_case.clean.image_inputs, **token_types(vlm, ids), "output_hidden_states": True}
        theirs = vlm.model(input_ids=ids, **given).hidden_states
    recorded = record(vlm, [family_case.clean], sites=["resid"])
    assert len(theirs) == vlm.n_layers + 1
    for layer in range(vlm.n_layers - 1):
        assert (recorded.sites["resid"][:, layer] - theirs[layer + 1]).abs().max() < 1e-9
        assert torch.equal(recorded.inputs[layer + 1], recorded.sites["resid"][:, layer])
    assert torch.equal(recorded.inputs[0], theirs[0])


def test_maps_of_heads(family_case: Case) -> None:
    """Patching a run into itself changes nothing; patching another run's heads does what hooks do."""
    recording, last = family_case.recording, family_case.positions["last"]
    same, other = (each_head(recording.z[source], last) for source in (0, 1))
    ours = counterfactuals(family_case.vlm, recording[0], same + other, family_case.answers)
    assert (ours[: len(same)] - recording.logits[0, list(family_case.answers)]).abs().max() < 1e-9
    theirs = hooks.counterfactuals(family_case.vlm, family_case.clean, other, family_case.answers)
    assert (ours[len(same) :] - theirs).abs().max() < 1e-9
    assert (ours[len(same) :] - ours[0]).abs().max() > 1e-3


@pytest.mark.parametrize("grid", [Grid(2, 1), Grid(2, 2), Grid(3, 3)], ids=lambda grid: f"{grid.rows}x{grid.cols}")
def test_pictures_of_other_sizes(family_case: Case, grid: Grid) -> None:
    """The reused part of the clean run is right for any picture size: edits late in the prompt, and no edits."""
    scene = on_grid([("red", "square"), ("blue", "circle")], grid.cells[:: len(grid.cells) - 1], grid)
    context = encode(family_case.vlm.reader, draw(scene), scene_description(scene, [0], 1))
    described, last = context.tokens.described(0), (context.tokens.last,)
    value, width = np.random.default_rng(0).standard_normal, family_case.recording.output.shape[-1]
    rows = unedited() + rows_from(
        [
            (Edit(layer, (), positions, torch.from_numpy(value((len(positions), width))), "resid", "add"),)
            for layer, positions in ((0, described), (1, described), (2, last))
        ]
    )
    ours = counterfactuals(family_case.vlm, record(family_case.vlm, [context])[0], rows, None)
    theirs = hooks.counterfactuals(family_case.vlm, context, rows, None)
    assert (ours - theirs).abs().max() < 1e-9
    assert (ours[1:] - ours[0]).abs().amax(-1).min() > 1e-3


def test_generation(family_case: Case) -> None:
    """Unedited rows generate what transformers generates; edited rows, at every site, what full passes give.

    Every fourth of the rows everywhere: all sites, layers, ops and kinds of position are among them.
    """
    rows = rows_everywhere(family_case).take(np.arange(0, 63, 4))
    assert_same(ours(family_case, rows), plain(family_case, rows))
    generated = ours(family_case, unedited(), stop=None)
    assert generated.tokens[0, : generated.lengths[0]].tolist() == transformers_own(
        family_case.vlm, family_case.clean, generated.tokens.shape[1]
    )
