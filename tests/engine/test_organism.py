"""The engine on the model that ships with finst: the demo's numbers are those of full forward passes."""

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
from finst.engine.edits import Edit, Rows, each_head, rows_from, unedited
from finst.engine.reads import activations
from finst.engine.record import Recording, record
from finst.engine.sites import HEAD_SITES, SITES
from finst.experiments.cma.design import CONDITIONS, CONTEXTS, colours_of, contexts_of, patched_positions, prompt_of
from finst.experiments.cma.spec import CMASpec
from finst.scenes.designs import mediation_pairs
from finst.vlm.encode import Encoded, first_tokens
from finst.vlm.open import VLM, open_vlm

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
HEADS = 48


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


def test_the_map_is_not_trivial() -> None:
    """Equality would prove little if patching changed nothing: in each condition some head changes the answer."""
    case = mapped("float32")
    effects = (case.logits[1:] - case.logits[0]).abs().amax(-1).view(3, HEADS).amax(-1)
    assert effects.min() > 0.1  # a thousand times the tolerance


@pytest.mark.parametrize("reference", [hooks, nnsight], ids=["hooks", "nnsight"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_site_from_the_swapped_context(dtype: str, reference: ModuleType) -> None:
    """The described object's image tokens and words, and the last token, in an early and in a late layer."""
    case = mapped(dtype)
    tokens = case.clean.tokens
    source = activations(case.vlm, [case.sources["swapped"]], SITES)
    rows = []
    for site in SITES:
        heads = () if site not in HEAD_SITES else (0, case.vlm.n_kv_heads - 1)
        for layer, positions in ((1, tokens.object_patches(0)), (3, tokens.described(0)), (5, (tokens.last,))):
            value = source[site][0, layer, list(positions)]
            rows.append((Edit(layer, heads, positions, value[:, list(heads)] if heads else value, site),))
    rows.append(tuple(edit for row in rows for edit in row))
    ours = counterfactuals(case.vlm, case.recording[0], rows_from(rows), case.answers)
    theirs = reference.counterfactuals(case.vlm, case.clean, rows_from(rows), case.answers)
    assert (ours - theirs).abs().max() < TOLERANCE[dtype]
    assert (theirs - case.logits[0]).abs().amax(-1).max() > 1
