"""Activations of trials, unit by unit: the measurement that all representational analyses share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import xarray as xr

from finst.analysis.shuffles import PLAIN
from finst.engine.activations import Sampled, sampled
from finst.engine.precision import at_least_float32
from finst.errors import FinstError
from finst.experiments.example import trial_example
from finst.experiments.representations.roles import roles_of
from finst.experiments.representations.spec import TrialSpec
from finst.experiments.representations.trials import Trial, context_of, positions_of
from finst.experiments.units import documented
from finst.options import TensorName
from finst.report.example import TrialExample
from finst.runs.size import Size
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

    Also for the tensor ``z`` (single heads), unless ``heads`` states that the experiment takes it.
    """
    if spec.tensor == "z" and not heads:
        others = [name for name in get_args(TensorName) if name != "z"]
        raise FinstError(f"tensor is z: only rsa-stages takes heads one by one; expected {', '.join(others)}")
    spec.check()
    positions_of(context_of(reader, trial), trial)


def size_of(spec: TrialSpec, reader: Reader, trials: int, roles: int) -> Size:
    """The size of a run with so many trials, whose activations are kept at so many roles."""
    text = reader.config.get_text_config()
    return Size(
        trials,
        per_unit=spec.trials_per_unit,
        bytes_per_trial=4 * roles * text.num_hidden_layers * text.hidden_size,
        statistics=8 * min(trials, PLAIN) * getattr(spec, "permutations", 0),
        smaller="fewer trials or permutations",
    )


@dataclass(frozen=True, eq=False)
class RecordedTrials:
    """The trials of one unit after a pass through the model."""

    data: xr.Dataset
    """What a unit keeps: activations with dims trial, layer, role, d_model (for ``z``: head, d_head instead of
    d_model), and the predicted tokens."""
    contexts: Sequence[Encoded]
    passes: Sampled


def record_trials(vlm: VLM, spec: TrialSpec, trials: Mapping[int, Trial], roles: Sequence[str]) -> RecordedTrials:
    """Activations of trials (by their index in the design) at ``roles``, in all layers.

    They are kept in float32 (which holds the 16-bit formats without loss) or in float64, as the model computes, so that
    statistics of them are as exact as the run.
    """
    contexts = [context_of(vlm.reader, trial) for trial in trials.values()]
    positions = [_role_positions(*pair, roles) for pair in zip(contexts, trials.values(), strict=True)]
    passes = sampled(vlm, contexts, (spec.tensor,), np.array(positions), batch=spec.batch)
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
    return RecordedTrials(documented(data, DOCUMENTATION), contexts, passes)


def example_of(reader: Reader, trial: Trial, roles: Sequence[str] | None = None) -> TrialExample:
    """A trial for the report, with the tokens of ``roles`` (None: all roles) marked."""
    context = context_of(reader, trial)
    positions = _role_positions(context, trial, roles_of(len(trial.labels)) if roles is None else roles)
    staged = trial.staged
    return trial_example(reader, draw(staged.scene), context, trial.prompt.answer, positions, targets=staged.order[-1:])


def _role_positions(context: Encoded, trial: Trial, roles: Sequence[str]) -> list[int]:
    """The position of each role's token. Raises FinstError as ``positions_of`` does."""
    positions = dict(zip(roles_of(len(trial.labels)), positions_of(context, trial), strict=True))
    return [positions[role] for role in roles]
