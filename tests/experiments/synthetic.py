"""Causal mediation of a model with planted effects: real design, prompts and tokens, synthetic logits."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import xarray as xr

from finst.experiments.cma import experiment as cma
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.walk import PairContexts, PairLogits
from finst.vlm.open import VLM, Reader, open_reader
from tests import tiny

Effects = Mapping[str, Mapping[tuple[int, int], float]]
"""The mean score of some (layer, head) of each stage."""

LAYERS, HEADS = 10, 8

STAGED: Effects = {
    "id_retrieval": {(2, 1): 0.35, (2, 5): 0.2, (3, 4): 0.6},
    "id_selection": {(4, 4): 0.9, (5, 2): 2.4, (5, 6): -0.5},
    "feature_retrieval": {(6, 0): 1.2, (7, 3): 3.0, (8, 3): 1.0, (5, 2): 0.8},
}


@cache
def reader() -> Reader:
    """The reader of a tiny checkpoint; only its words and pictures are used."""
    with tempfile.TemporaryDirectory() as folder:
        return open_reader(str(tiny.checkpoint(Path(folder) / "tiny")))


class FakeVLM(VLM):
    """A model without weights."""

    @property
    def n_layers(self) -> int:
        return LAYERS

    @property
    def n_heads(self) -> int:
        return HEADS


class FakeModel:
    """Gives the planted logits; pairs come in the order of the design."""

    def __init__(self, spec: CMASpec, effects: Effects, wrong: Collection[tuple[int, str]], spread: float) -> None:
        self.pairs: Iterator[int] = iter(range(spec.pairs))
        self.effects, self.wrong, self.spread, self.seed = effects, wrong, spread, spec.seed

    def pair_logits(self, vlm: VLM, pairs: Sequence[PairContexts]) -> list[PairLogits]:
        return [self._pair(next(self.pairs), pair.tokens, len(vlm.reader.tokenizer)) for pair in pairs]

    def _pair(self, index: int, tokens: Sequence[int], vocab: int) -> PairLogits:
        contexts = torch.zeros(3, vocab)
        described, target, new = tokens
        for context, name in enumerate(("clean", "swapped", "changed")):
            right = new if name == "changed" else target
            contexts[context, described if (index, name) in self.wrong else right] = 9.0
        return PairLogits(contexts, self._rows(index, contexts[0, list(tokens)].numpy()))

    def _rows(self, index: int, clean: np.ndarray) -> torch.Tensor:
        rng = np.random.default_rng([self.seed, index])
        unedited = clean + rng.normal(0, 2e-6, 3)
        logits = np.tile(unedited, (3, LAYERS, HEADS, 1))
        raised = {"id_retrieval": 0, "id_selection": 0, "feature_retrieval": 2}
        for condition, (stage, answer) in enumerate(raised.items()):
            score = rng.normal(0, self.spread, (LAYERS, HEADS))
            for (layer, head), effect in self.effects.get(stage, {}).items():
                score[layer, head] += effect * rng.lognormal(0, 0.25)
            logits[condition, ..., answer] += score
        return torch.tensor(np.concatenate([unedited[None], logits.reshape(-1, 3)]), dtype=torch.float32)


def parts(
    spec: CMASpec, effects: Effects = STAGED, *, wrong: Collection[tuple[int, str]] = (), spread: float = 0.06
) -> list[xr.Dataset]:
    """All units of a run with these effects of heads; ``wrong`` lists (pair, context) with incorrect answers."""
    model = FakeModel(spec, effects, wrong, spread)
    vlm = FakeVLM(reader(), cast(Any, None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cma, "pair_logits", model.pair_logits)
        return [CMA().measure(vlm, spec, unit) for unit in CMA().plan(spec)]


def summary(effects: Effects = STAGED, *, pairs: int = 20, seed: int = 0, **how: Any) -> xr.Dataset:
    spec = CMASpec(pairs=pairs, seed=seed, permutations=500, bootstraps=200)
    return CMA().summarise(spec, parts(spec, effects, **how))
