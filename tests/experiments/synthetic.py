"""Causal mediation on an engine that answers as planted: real design, prompts and tokens, made-up logits."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import xarray as xr

from finst.experiments import cma
from finst.experiments.cma import CMA, CMASpec
from finst.vlm.open import VLM, Reader, open_reader
from tests import tiny

Effects = Mapping[str, Mapping[tuple[int, int], float]]
"""Of each stage, the mean score of some (layer, head)."""

LAYERS, HEADS = 10, 8

STAGED: Effects = {
    "id_retrieval": {(2, 1): 0.35, (2, 5): 0.2, (3, 4): 0.6},
    "id_selection": {(4, 4): 0.9, (5, 2): 2.4, (5, 6): -0.5},
    "feature_retrieval": {(6, 0): 1.2, (7, 3): 3.0, (8, 3): 1.0, (5, 2): 0.8},
}


@cache
def reader() -> Reader:
    """Of a tiny checkpoint; only its words and pictures are used."""
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


@dataclass
class FakeRecording:
    z: torch.Tensor
    logits: torch.Tensor

    def __getitem__(self, index: int) -> FakeRecording:
        return FakeRecording(self.z[index : index + 1], self.logits[index : index + 1])


class FakeEngine:
    """``record`` and ``counterfactuals`` by decree; pairs are met in the order of the design."""

    def __init__(self, spec: CMASpec, effects: Effects, wrong: Collection[tuple[int, str]], spread: float) -> None:
        self.pairs: Iterator[int] = iter(range(spec.pairs))
        self.effects, self.wrong, self.spread, self.seed = effects, wrong, spread, spec.seed
        self.tokens: list[int] = []
        self.index = -1

    def first_tokens(self, *arguments: Any) -> list[int]:
        self.tokens = cma_first_tokens(*arguments)
        return self.tokens

    def record(self, vlm: VLM, contexts: list[Any]) -> FakeRecording:
        self.index = next(self.pairs)
        logits = torch.zeros(3, len(vlm.reader.tokenizer))
        described, target, new = self.tokens
        for context, name in enumerate(("clean", "swapped", "changed")):
            right = new if name == "changed" else target
            logits[context, described if (self.index, name) in self.wrong else right] = 9.0
        return FakeRecording(torch.zeros(3, LAYERS, len(contexts[0].tokens), HEADS, 2), logits)

    def counterfactuals(self, vlm: VLM, clean: FakeRecording, rows: Any, answers: list[int]) -> torch.Tensor:
        rng = np.random.default_rng([self.seed, self.index])
        unedited = clean.logits[0, answers].numpy() + rng.normal(0, 2e-6, 3)
        logits = np.tile(unedited, (3, LAYERS, HEADS, 1))
        raised = {"id_retrieval": 0, "id_selection": 0, "feature_retrieval": 2}
        for condition, (stage, answer) in enumerate(raised.items()):
            score = rng.normal(0, self.spread, (LAYERS, HEADS))
            for (layer, head), effect in self.effects.get(stage, {}).items():
                score[layer, head] += effect * rng.lognormal(0, 0.25)
            logits[condition, ..., answer] += score
        assert len(rows) == 1 + 3 * LAYERS * HEADS
        return torch.tensor(np.concatenate([unedited[None], logits.reshape(-1, 3)]), dtype=torch.float32)


cma_first_tokens = cma.first_tokens


def parts(
    spec: CMASpec, effects: Effects = STAGED, *, wrong: Collection[tuple[int, str]] = (), spread: float = 0.06
) -> list[xr.Dataset]:
    """All units of a run whose heads do as ``effects`` says; ``wrong`` lists (pair, context) answered wrongly."""
    engine = FakeEngine(spec, effects, wrong, spread)
    vlm = FakeVLM(reader(), cast(Any, None))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("first_tokens", "record", "counterfactuals"):
            patch.setattr(cma, name, getattr(engine, name))
        return [CMA().measure(vlm, spec, unit) for unit in CMA().plan(spec)]


def summary(effects: Effects = STAGED, *, pairs: int = 20, seed: int = 0, **how: Any) -> xr.Dataset:
    spec = CMASpec(pairs=pairs, seed=seed, permutations=500, bootstraps=200)
    return CMA().summarise(spec, parts(spec, effects, **how))
