"""The engine on the model that ships with finst: what the demo reports is what full forward passes give."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import pytest
from jaxtyping import Float
from torch import Tensor

from finst.engine import hooks, nnsight
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import Rows, each_head, unedited
from finst.engine.record import Recording, record
from finst.experiments.cma_design import (
    CONDITIONS,
    CONTEXTS,
    CMASpec,
    colours_of,
    contexts_of,
    patched_positions,
    prompt_of,
)
from finst.scenes.designs import mediation_pairs
from finst.vlm.encode import Encoded, first_tokens
from finst.vlm.open import VLM, open_vlm

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
HEADS = 80


@dataclass(frozen=True, eq=False, repr=False)
class Mapped:
    """One pair of the demo with the unedited row and all heads in all three conditions, by the engine."""

    vlm: VLM
    clean: Encoded
    sources: dict[str, Encoded]
    recording: Recording
    rows: Rows
    answers: list[int]
    logits: Float[Tensor, "row answer"]


@cache
def mapped(dtype: Any) -> Mapped:
    spec = CMASpec(dtype=dtype, device="cpu")
    vlm = open_vlm(spec.model, dtype=dtype, device="cpu")
    pair = mediation_pairs(spec.pairs, spec.seed)[0]
    contexts = dict(zip(CONTEXTS, contexts_of(vlm.reader, spec, pair), strict=True))
    answers = first_tokens(vlm.reader, prompt_of(spec, pair), colours_of(pair))
    recording = record(vlm, list(contexts.values()))
    rows = unedited()
    for condition in CONDITIONS.values():
        z = recording.z[CONTEXTS.index(condition.source)]
        rows = rows + each_head(z, patched_positions(contexts["clean"], condition))
    logits = counterfactuals(vlm, recording[0], rows, answers)
    return Mapped(vlm, contexts.pop("clean"), contexts, recording, rows, answers, logits)


@pytest.mark.parametrize("reference", [hooks, nnsight], ids=["hooks", "nnsight"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_head_in_every_condition(dtype: str, reference: ModuleType) -> None:
    case = mapped(dtype)
    assert (case.vlm.n_layers * case.vlm.n_heads, len(case.rows)) == (HEADS, 1 + 3 * HEADS)
    for name, source in case.sources.items():
        z = reference.record_z(case.vlm, source)
        assert (z - case.recording.z[CONTEXTS.index(name)]).abs().max() < TOLERANCE[dtype]
    expected = reference.counterfactuals(case.vlm, case.clean, case.rows, case.answers)
    assert (case.logits - expected).abs().max() < TOLERANCE[dtype]


def test_the_map_is_no_trivial_one() -> None:
    """Equality would prove little if patching changed nothing: in each condition some head moves the answer."""
    case = mapped("float32")
    effects = (case.logits[1:] - case.logits[0]).abs().amax(-1).view(3, HEADS).amax(-1)
    assert effects.min() > 0.5
