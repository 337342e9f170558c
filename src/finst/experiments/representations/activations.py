"""Activations of trials, unit by unit: the measuring half of every representational analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import xarray as xr

from finst.engine.activations import Sampled, sampled
from finst.engine.precision import at_least_float32
from finst.errors import FinstError
from finst.experiments.example import trial_example
from finst.experiments.representations.spec import TrialSpec
from finst.experiments.representations.trials import Trial, context_of, positions_of, roles_of
from finst.experiments.units import check_numbers, documented
from finst.options import TensorName
from finst.report.example import TrialExample
from finst.scenes.draw import draw
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM, Reader

DOCUMENTATION = {
    "activations": ("1", "the spec's tensor at the role's token, after or in each layer"),
    "predicted_token": ("1", "most probable token after the prompt"),
    "exact": ("1", "greedy decoding gives exactly the answer's tokens"),
}


def check_trials(spec: TrialSpec, reader: Reader, trial: Trial, *, heads: bool = False) -> None:
    """Raises FinstError for numbers out of range, an unsuitable picture, and a tokenizer that joins commas to words.

    So it does for single heads, unless these are what the experiment can take (``heads``).
    """
    if spec.tensor == "z" and not heads:
        others = [name for name in get_args(TensorName) if name != "z"]
        raise FinstError(f"tensor is z: only rsa-stages takes heads one by one; expected {', '.join(others)}")
    check_numbers(spec, {"trials": 1, "seed": 0, "batch": 1, "trials_per_unit": 1})
    positions_of(context_of(reader, trial), trial)


@dataclass(frozen=True, eq=False)
class Recorded:
    """One unit's trials as the model met them."""

    data: xr.Dataset
    """Dims trial, layer, role, d_model (single heads: head, d_head in its place): what is kept."""
    contexts: Sequence[Encoded]
    passes: Sampled


def recorded(vlm: VLM, spec: TrialSpec, trials: Mapping[int, Trial], roles: Sequence[str]) -> Recorded:
    """Activations of trials (by their index in the design) at ``roles``, all layers.

    They are kept as the model gives them, in float32 (16-bit formats fit into it) or float64, so that whatever is
    computed of them is as exact as the run.
    """
    every = roles_of(len(next(iter(trials.values())).labels))
    contexts = [context_of(vlm.reader, trial) for trial in trials.values()]
    chosen = [every.index(role) for role in roles]
    places = [positions_of(context, trial) for context, trial in zip(contexts, trials.values(), strict=True)]
    passes = sampled(vlm, contexts, (spec.tensor,), np.array(places)[:, chosen], batch=spec.batch)
    values = passes.values[spec.tensor].to(at_least_float32(vlm.dtype)).numpy()
    width = ("head", "d_head") if spec.tensor == "z" else ("d_model",)
    data = xr.Dataset(
        {
            "activations": (("trial", "layer", "role", *width), values),
            "predicted_token": ("trial", passes.predicted.numpy()),
            "exact": ("trial", passes.exact.numpy()),
        },
        coords={"trial": list(trials), "layer": np.arange(vlm.n_layers), "role": list(roles)},
    )
    documented(data, DOCUMENTATION)
    return Recorded(data, contexts, passes)


def shown_trial(reader: Reader, trial: Trial, roles: Sequence[str] | None = None) -> TrialExample:
    """A trial, and where ``roles`` (None: all) are read."""
    context = context_of(reader, trial)
    every = dict(zip(roles_of(len(trial.labels)), positions_of(context, trial), strict=True))
    read = [every[role] for role in (every if roles is None else roles)]
    return trial_example(reader, draw(trial.staged.scene), context, trial.prompt.answer, read)
