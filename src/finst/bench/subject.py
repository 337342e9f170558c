"""The subject of a benchmark: a model or a shape, its pairs of contexts, and the conditions of causal mediation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from finst.bench.clock import device_name
from finst.bench.contexts import SUFFIX, synthetic_contexts
from finst.bench.random_vlm import random_vlm
from finst.bench.spec import SubjectSpec
from finst.errors import FinstError, choice
from finst.experiments.cma.design import (
    CONDITIONS,
    CONTEXTS,
    Condition,
    colours_of,
    contexts_of,
    patched_positions,
    prompt_of,
)
from finst.experiments.cma.spec import CMASpec
from finst.scenes.designs import mediation_pairs
from finst.vlm.encode import Encoded, first_tokens
from finst.vlm.open import PARTS, VLM, Reader, open_reader, open_vlm, placement
from finst.vlm.published import Shape, shape_named

_STAGES = {"retrieval": "id_retrieval", "selection": "id_selection", "feature": "feature_retrieval"}

Pair = tuple[Encoded, ...]
"""Contexts in the order of ``CONTEXTS``."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with pairs of contexts."""

    name: str
    vlm: VLM
    answers: tuple[int, ...]
    """Tokens whose logits are computed, the same for all pairs."""
    pair: Callable[[int], Pair]
    """Gives the pair of an index."""


def conditions_of(name: str) -> tuple[Condition, ...]:
    """The condition of this name, or all three for ``all``. Raises FinstError for another name."""
    if name == "all":
        return tuple(CONDITIONS.values())
    if name not in _STAGES:
        raise choice("condition", name, ("all", *_STAGES))
    return (CONDITIONS[_STAGES[name]],)


def contexts_needed(conditions: Sequence[Condition]) -> tuple[str, ...]:
    """Names of the contexts that must be recorded, the clean one first."""
    used = {"clean", *(condition.source for condition in conditions)}
    return tuple(name for name in CONTEXTS if name in used)


def patched(pair: Pair, conditions: Sequence[Condition]) -> tuple[tuple[int, ...], ...]:
    """The edited positions of each condition."""
    return tuple(patched_positions(pair[0], condition) for condition in conditions)


def open_subject(spec: SubjectSpec, pairs: int) -> Subject:
    """The model and up to ``pairs`` pairs of contexts.

    Raises FinstError for an unknown model, shape, device or number format, for options that exclude each other, and for
    contexts without room for a picture and a suffix.
    """
    for name, value in (("inputs", spec.inputs), ("pairs", pairs)):
        if value < 1:
            raise FinstError(f"{name} must be at least 1, not {value}")
    conditions_of(spec.condition)
    if spec.shape is None:
        return _of_model(spec, pairs)
    if spec.model != SubjectSpec.model or spec.revision is not None:
        raise FinstError(f"both the shape {spec.shape} and a model were given: expected one of the two")
    return of_shape(shape_named(spec.shape), spec)


def _of_model(spec: SubjectSpec, pairs: int) -> Subject:
    if (spec.tokens, spec.suffix, spec.picture_px) != (None, None, None):
        raise FinstError(
            "tokens, suffix and picture-px belong to a shape: the contexts of a model have the length of its prompts"
        )
    placement(spec.dtype, spec.device)
    reader = open_reader(spec.model, revision=spec.revision)
    design, scenes = CMASpec(model=spec.model, seed=spec.seed), mediation_pairs(pairs, spec.seed)
    colours = sorted({colour for pair in scenes for colour in colours_of(pair)})
    answers = first_tokens(reader, prompt_of(design, scenes[0]), colours)

    def pair(index: int) -> Pair:
        return tuple(contexts_of(reader, design, scenes[index]))

    pair(0)  # raises before weights load if the pairs do not suit the model
    return Subject(spec.model, open_vlm(reader, dtype=spec.dtype, device=spec.device), tuple(answers), pair)


def of_shape(shape: Shape, spec: SubjectSpec) -> Subject:
    """A subject with random weights of any shape, synthetic contexts, and three random tokens as answers."""
    reader = shape.reader()
    dtype, device = placement(spec.dtype, spec.device)
    pair = partial(_synthetic_pair, reader, spec)
    pair(0)  # raises before weights are created if the contexts have no room
    vlm = replace(random_vlm(shape, dtype, device, spec.seed), parts=PARTS.get(spec.dtype, 0))
    answers = np.random.default_rng(spec.seed).choice(reader.config.image_token_id, 3, replace=False)
    return Subject(shape.name, vlm, tuple(answers.tolist()), pair)


def _synthetic_pair(reader: Reader, spec: SubjectSpec, index: int) -> Pair:
    suffix = SUFFIX if spec.suffix is None else spec.suffix
    rng, px = np.random.default_rng([spec.seed, index]), spec.picture_px
    return synthetic_contexts(reader, tokens=spec.tokens, suffix=suffix, count=len(CONTEXTS), rng=rng, picture_px=px)


def described(subject: Subject, spec: SubjectSpec, pair: Pair) -> dict[str, Any]:
    """The entries of a result that say what was measured."""
    return {
        "model": subject.name,
        "random_weights": subject.vlm.reader.tokenizer is None,
        "device": device_name(subject.vlm.device),
        "dtype": spec.dtype,
        "condition": spec.condition,
        "inputs": spec.inputs,
        "tokens": len(pair[0].tokens),
        "heads": subject.vlm.n_layers * subject.vlm.n_heads,
    }


def weights_bytes(vlm: VLM) -> int:
    """Memory of all parameters and buffers, in bytes."""
    tensors: Sequence[torch.Tensor] = [*vlm.model.parameters(), *vlm.model.buffers()]
    return sum(tensor.nbytes for tensor in tensors)
