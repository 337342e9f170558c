"""Many pairs in one recording and one walk have the logits that each has alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finst.engine.record import Recording, record
from finst.experiments.cma import walk
from finst.experiments.cma.design import contexts_of
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.walk import PairContexts
from finst.scenes.designs import mediation_pairs
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments.cma.slow import pair_by_pair

SPEC = CMASpec(pairs=7)


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("walk") / "tiny")), dtype="float64", device="cpu")


def test_pairs_of_any_lengths_have_the_logits_that_they_have_alone(vlm: VLM, monkeypatch: pytest.MonkeyPatch):
    """A unit of two placements, whose contexts differ in length, and with no answer in common: two recordings."""
    recorded: list[int] = []

    def counted(vlm: VLM, contexts: list[Encoded]) -> Recording:
        recorded.append(len(contexts))
        return record(vlm, contexts)

    monkeypatch.setattr(walk, "record", counted)
    other = replace(SPEC, placement="user_turn")
    pairs = mediation_pairs(SPEC.pairs, SPEC.seed)
    contexts = [
        contexts_of(vlm.reader, spec, pair) for spec, pair in zip((SPEC, other, SPEC, SPEC), pairs[:4], strict=True)
    ]
    inputs = [PairContexts(each, (9 - index, 20 + index, 1)) for index, each in enumerate(contexts)]
    together, alone = walk.pair_logits(vlm, inputs), pair_by_pair(vlm, inputs)
    assert sorted(recorded) == [3, 9]
    for mine, twin in zip(together, alone, strict=True):
        assert (mine.contexts - twin.contexts).abs().max() < 1e-9
        assert (mine.rows - twin.rows).abs().max() < 1e-9
    assert min((other.rows - alone[0].rows).abs().max() for other in together[1:]) > 1e-3
