"""Recorded activations: those of a whole recording, however the run is divided, without loss of precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from finst.engine.record import record
from finst.experiments.representations import stages
from finst.experiments.representations.frame import RSAFrame
from finst.experiments.representations.stages import RSAStages
from finst.experiments.representations.trials import context_of, positions_of
from finst.vlm.open import VLM, open_vlm
from tests.experiments.representations.specs import FRAME, STAGES


def test_measured_activations_are_those_of_a_whole_recording(vlm: VLM):
    unit = RSAStages().plan(STAGES)[1]
    measured = RSAStages().measure(vlm, STAGES, unit)
    assert measured["activations"].dims == ("trial", "layer", "role", "d_model")
    assert measured["activations"].dtype == np.float64
    assert measured["trial"].values.tolist() == list(unit.trials)
    trials = stages.trials_of(STAGES, STAGES.trials)
    for index in (unit.trials[0], unit.trials[-1]):
        context = context_of(vlm.reader, trials[index])
        resid = record(vlm, [context.prompt], sites=["resid"]).sites["resid"][0]
        expected = resid[:, positions_of(context, trials[index])].numpy()
        np.testing.assert_allclose(measured["activations"].sel(trial=index).values, expected, atol=1e-9)


def test_a_unit_does_not_depend_on_how_the_run_is_divided(vlm: VLM):
    whole = RSAStages().measure(vlm, STAGES, RSAStages().plan(replace(STAGES, trials_per_unit=32))[0])
    part = RSAStages().measure(vlm, STAGES, RSAStages().plan(STAGES)[2])
    xr.testing.assert_allclose(whole.sel(trial=part["trial"]), part, rtol=0, atol=1e-9)


def test_sixteen_bit_activations_are_kept_without_loss(folder: Path):
    small = open_vlm(str(folder), dtype="bfloat16", device="cpu")
    (unit, *_) = RSAFrame().plan(replace(FRAME, trials_per_unit=2))
    kept = RSAFrame().measure(small, replace(FRAME, dtype="bfloat16"), unit)["activations"].values
    assert kept.dtype == np.float32
    assert (kept.view(np.uint32) & 0xFFFF == 0).all()
