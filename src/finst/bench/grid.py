"""The cost of a whole grid of K and dose, relative to one unedited pass over the same picture."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import numpy as np
import torch

from finst.bench.clock import timed
from finst.bench.spec import BenchGrid
from finst.bench.subject import Subject, conditions_of, described, open_subject
from finst.engine import hooks
from finst.engine.edits import Rows, unedited
from finst.engine.generate import generate
from finst.engine.head_sets import head_sets
from finst.engine.record import record
from finst.errors import FinstError
from finst.experiments.cma.design import CONDITIONS, Condition, patched_positions
from finst.experiments.interventions.decoding import COLOUR_TOKENS
from finst.experiments.interventions.heads import SITES
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM


def grid(spec: BenchGrid) -> dict[str, Any]:
    """Seconds a picture of one unedited pass and of each stage's grid, and their ratios (``inputs`` pictures in turn).

    The unedited pass is the model's own, from pixels to the first word. A grid is the recording, all rows of edits and
    the decoding of each row. Raises FinstError as ``open_subject`` does, and for numbers out of range.
    """
    if spec.repeats < 1:
        raise FinstError(f"repeats must be at least 1, not {spec.repeats}")
    if not spec.doses or not spec.ks:
        raise FinstError("ks and doses need at least one number each")
    return measured(open_subject(spec, spec.inputs), spec)


def measured(subject: Subject, spec: BenchGrid) -> dict[str, Any]:
    """The result of ``grid`` for an open subject."""
    vlm = subject.vlm
    pairs = [subject.pair(index) for index in range(spec.inputs)]
    chosen = conditions_of(spec.condition)
    stages = {name: condition for name, condition in CONDITIONS.items() if condition in chosen}
    work = {"unedited": partial(hooks.counterfactuals, vlm, rows=unedited(), answers=None)}
    work |= {
        name: partial(decoded_grid, vlm, stage=name, condition=condition, spec=spec)
        for name, condition in stages.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(1 + spec.repeats):  # the first warms up
        for name, job in work.items():
            each = [timed(partial(job, clean=pair[0]), vlm.device)[1] for pair in pairs]
            seconds[name].append(sum(each) / len(each))
    median = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    return {
        **described(subject, spec, pairs[0]),
        "rows": len(spec.ks) * len(spec.doses),
        "new_tokens": COLOUR_TOKENS,
        "repeats": spec.repeats,
        "seconds": median,
        "ratios": {name: median[name] / median["unedited"] for name in stages},
    }


def decoded_grid(vlm: VLM, clean: Encoded, stage: str, condition: Condition, spec: BenchGrid) -> torch.Tensor:
    """The decoded tokens of every row of a grid, [row, step]."""
    recording = record(vlm, [clean])
    rows = rows_of_grid(vlm, stage, patched_positions(clean, condition), spec)
    return generate(vlm, recording, rows, COLOUR_TOKENS).tokens


def rows_of_grid(vlm: VLM, stage: str, positions: tuple[int, ...], spec: BenchGrid) -> Rows:
    """A grid of edits that write small random values into random heads: the time hardly depends on the values."""
    rng = np.random.default_rng(spec.seed)
    ranking = np.stack(np.divmod(rng.permutation(vlm.n_layers * vlm.n_heads), vlm.n_heads), axis=1)
    noise = torch.from_numpy(rng.normal(size=(vlm.n_layers, len(positions), vlm.n_heads, vlm.d_head)))
    values = (0.01 * noise).to(vlm.device, vlm.dtype)
    return head_sets(values, positions, ranking, spec.ks, spec.doses, SITES[stage])
