"""Prototypes, random directions, and splits that share no picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from finst.engine.record import record
from finst.errors import FinstError
from finst.experiments.interventions.estimates import by_cell, check_disjoint, prototypes, random_like
from finst.experiments.interventions.reuse.design import GRID, questions
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.sets import absolute, unique_objects
from finst.vlm.encode import encode
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments.interventions.small import REUSE


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("estimates") / "tiny")), dtype="float64", device="cpu")


def test_prototypes_are_means_by_index(vlm: VLM):
    contexts = [encode(vlm.reader, draw(one.scene), one.prompt, "red") for one in questions(REUSE)[:4]]
    found = prototypes(vlm, contexts, [0, 1, 1, 0], batch=3)
    last = contexts[0].tokens.last
    alone = [record(vlm, [context.prompt]).z[0, :, context.tokens.last] for context in contexts]
    assert last == contexts[0].prompt.tokens.last
    torch.testing.assert_close(found.values[1], (alone[1] + alone[2]) / 2, rtol=0, atol=1e-9)
    assert found.counts == (2, 2)
    assert found.layers.shape == (2, vlm.n_layers, 1, vlm.n_heads, vlm.d_head)
    with pytest.raises(FinstError, match="no trial of index 0 is left"):
        prototypes(vlm, contexts, [0, 1, 1, 0], batch=3, exact=True)


def test_prototypes_of_descriptions_are_by_the_targets_cell(vlm: VLM):
    staged = unique_objects(GRID, "high", 1, 5, "fresh")[:9]
    found = by_cell(vlm, GRID, staged, "prefill", batch=4)
    assert found.counts == (1,) * 9
    prompt = scene_description(staged[3].scene, staged[3].order[:-1], staged[3].order[-1])
    alone = record(vlm, [encode(vlm.reader, draw(staged[3].scene), prompt)])
    cell = GRID.cells.index(absolute(staged[3].target))
    torch.testing.assert_close(found.values[cell], alone.z[0, :, -1], rtol=0, atol=1e-9)


def test_random_directions_are_as_long():
    direction = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = random_like(direction, np.random.default_rng(0))
    torch.testing.assert_close(noise.norm(dim=-1), direction.norm(dim=-1))
    assert torch.nn.functional.cosine_similarity(noise, direction, dim=-1).abs().max() < 0.999


def test_splits_that_share_a_picture_are_refused():
    scenes = [question.scene for question in questions(REUSE)]
    check_disjoint(scenes[:4], scenes[4:])
    turned = replace(scenes[5], objects=scenes[5].objects[::-1])
    with pytest.raises(FinstError, match="1 pictures are in both splits"):
        check_disjoint([turned], scenes)
