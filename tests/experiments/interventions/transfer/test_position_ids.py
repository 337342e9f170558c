"""IDs as means by place at the tokens of a stage, the steps between places, and shuffled places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finst.analysis.mediation import STAGES
from finst.engine.record import record
from finst.experiments.interventions.transfer.position_ids import PositionIDs, ids_of, shuffled, stages_of
from finst.experiments.interventions.transfer.tasks import TASKS, trials_of
from finst.vlm.open import VLM, open_vlm
from tests import tiny


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("ids") / "tiny")), dtype="float64", device="cpu")


def test_shuffled_places_are_spread_over_true_ones():
    places = np.arange(32) % 4
    other = shuffled(places, np.random.default_rng(0))
    assert all(((places == true) & (other == given)).sum() == 2 for true in range(4) for given in range(4))
    assert (other != shuffled(places, np.random.default_rng(1))).any()


@pytest.mark.parametrize("name", ["description-sided", "colour"])
def test_ids_are_means_by_place_at_the_tokens_of_a_stage(vlm: VLM, name: str):
    trials = trials_of([name], 0, 16, 0, "prefill")[name].estimation
    found = ids_of(vlm, TASKS[name], trials, 1, batch=5, seed=0)
    assert tuple(found) == stages_of(TASKS[name]) == STAGES
    contexts = [trial.encoded(vlm.reader) for trial in trials]
    runs = [record(vlm, [context], sites=["q"]) for context in contexts]
    there = [index for index, trial in enumerate(trials) if trial.place == (1, 0)]
    last = [contexts[index].tokens.last for index in there]
    z = torch.stack([runs[index].z[0, :, pos] for index, pos in zip(there, last, strict=True)]).mean(0)
    q = torch.stack([runs[index].sites["q"][0, :, pos] for index, pos in zip(there, last, strict=True)]).mean(0)
    torch.testing.assert_close(found["id_selection"].values[1, 0, 0], z, rtol=0, atol=1e-9)
    torch.testing.assert_close(found["feature_retrieval"].values[1, 0, 0], q, rtol=0, atol=1e-9)
    moves = [(i, trial.move) for i, trial in enumerate(trials) if trial.move is not None and trial.move.start == (0, 1)]
    for slot, kind in enumerate(("colour", "noun")):
        words = [
            contexts[i].tokens.positions(kind if name != "colour" else "noun", move.object)[-1] for i, move in moves
        ]
        mean = torch.stack([runs[i].z[0, :, pos] for (i, _), pos in zip(moves, words, strict=True)]).mean(0)
        torch.testing.assert_close(found["id_retrieval"].values[0, 1, slot], mean, rtol=0, atol=1e-9)


def test_a_step_is_a_difference_of_places_and_its_shuffle_as_long():
    values, other = (torch.randn(2, 2, 1, 3, 4, 5, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    ids = PositionIDs(values, (other,))
    step = ids.step((0, 0), (0, 1), rows=True)
    torch.testing.assert_close(step, (values[0, 1] - values[0, 0]).transpose(0, 1))
    over_rows = (values[:, 1] - values[:, 0]).mean(0).transpose(0, 1)
    torch.testing.assert_close(ids.step((0, 0), (0, 1), rows=False), over_rows)
    torch.testing.assert_close(ids.step((1, 0), (1, 1), rows=False), over_rows)
    mixed = ids.step((0, 0), (0, 1), rows=True, shuffle=0)
    torch.testing.assert_close(mixed.norm(dim=-1), step.norm(dim=-1))
    raw = (other[0, 1] - other[0, 0]).transpose(0, 1)
    assert torch.nn.functional.cosine_similarity(mixed, raw, dim=-1).min() > 0.999
