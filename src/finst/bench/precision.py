"""Errors of number formats in the scores of a map of heads: each compared with float32, on the same weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from finst.analysis import mediation
from finst.bench.maps import maps
from finst.bench.spec import BenchPrecision
from finst.bench.subject import Pair, Subject, conditions_of, described, open_subject
from finst.engine.graphs import forget
from finst.errors import FinstError, choice
from finst.experiments.cma.design import Condition
from finst.vlm.open import DTYPES, PARTS, placement

REFERENCE = "float32"

Scores = Float[np.ndarray, "row"]
"""The score of each row, in logits."""


def precision(spec: BenchPrecision) -> dict[str, Any]:
    """The largest and the root mean square difference of a score from float32's, in logits, by format.

    All formats use weights that bfloat16 holds exactly. A row's score is the change of the difference between the
    logits of the first two answers. Raises FinstError as ``open_subject`` does, and for formats that cannot be
    compared.
    """
    if spec.dtype != REFERENCE:
        raise FinstError(f"dtype is {spec.dtype!r}: formats are compared with {REFERENCE}; name them by formats")
    for name in spec.formats:
        if name in ("float16", REFERENCE):
            raise choice("format to compare", name, [known for known in DTYPES if known not in ("float16", REFERENCE)])
        placement(name, spec.device)
    return measured(open_subject(replace(spec, dtype="bfloat16"), spec.inputs), spec)


def measured(subject: Subject, spec: BenchPrecision) -> dict[str, Any]:
    """The result of ``precision`` for an open subject in bfloat16."""
    pairs, conditions = [subject.pair(index) for index in range(spec.inputs)], conditions_of(spec.condition)
    # From short to long formats: narrowing would also round a model's tables of angles.
    names = sorted({*spec.formats, REFERENCE}, key=lambda name: DTYPES[name].itemsize)
    scores = {name: _scores(_in_format(subject, name), pairs, conditions) for name in names}
    reference = scores.pop(REFERENCE)
    return {
        **described(subject, spec, pairs[0]),
        "scores": len(reference),
        "largest_score": float(np.abs(reference).max()),
        "differences": {name: _difference(values - reference) for name, values in scores.items()},
    }


def _in_format(subject: Subject, name: str) -> Subject:
    """The subject with its weights in another number format."""
    for module in (subject.vlm.model, subject.vlm.decoder):
        forget(module)
    model = subject.vlm.model.to(DTYPES[name])
    return replace(subject, vlm=replace(subject.vlm, model=model, parts=PARTS.get(name, 0)))


def _scores(subject: Subject, pairs: list[Pair], conditions: tuple[Condition, ...]) -> Scores:
    logits = [rows[:, :2].double().cpu().numpy() for rows in maps(subject, pairs, conditions)]
    return np.concatenate([mediation.scores(rows[1:], rows[:1]) for rows in logits])


def _difference(difference: Scores) -> dict[str, float]:
    return {"largest": float(np.abs(difference).max()), "root_mean_square": float(np.sqrt(np.mean(difference**2)))}
