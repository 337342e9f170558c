"""Causal mediation as an experiment: plan, refusals, measurement and summary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from finst.analysis import mediation
from finst.engine import hooks
from finst.engine.edits import each_head
from finst.engine.record import record
from finst.errors import FinstError
from finst.experiments.cma import experiment as cma
from finst.experiments.cma.design import CONDITIONS, CONTEXTS, colours_of, contexts_of, patched_positions, prompt_of
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.runs.archive import pack, unpack
from finst.scenes.designs import mediation_pairs
from finst.vlm.encode import first_tokens
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments import synthetic
from tests.experiments.cma.slow import pair_by_pair

SPEC = CMASpec(pairs=7, pairs_per_unit=3, permutations=200, bootstraps=50)


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("cma") / "tiny")), dtype="float64", device="cpu")


def test_the_plan_covers_every_pair_once_in_units_of_the_size_asked_for():
    units = CMA().plan(SPEC)
    assert [unit.trials for unit in units] == [(0, 1, 2), (3, 4, 5), (6,)]
    assert units[-1].name == "pairs 6-6"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": 0}, "pairs is 0: expected at least 1"),
        ({"permutations": 0}, "permutations is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"alpha": 1.0}, "between 0 and 1"),
    ],
)
def test_specs_out_of_range_are_refused_before_weights_load(changes: dict[str, int], message: str):
    with pytest.raises(FinstError, match=message):
        CMA().check(replace(SPEC, **changes), synthetic.reader())


def test_a_good_spec_passes():
    CMA().check(SPEC, synthetic.reader())


def test_colours_with_the_same_first_token_are_refused():
    """The tiny tokenizer learned its words after a space; in the user's turn answers begin without one."""
    with pytest.raises(FinstError, match="begin with the same token"):
        CMA().check(replace(SPEC, placement="user_turn"), synthetic.reader())


def test_measured_scores_are_those_of_the_hook_loop(vlm: VLM):
    """The whole way through a real model, against one plain forward a head, in every condition."""
    (unit, *_) = CMA().plan(replace(SPEC, pairs_per_unit=1))
    measured = CMA().measure(vlm, SPEC, unit)
    pair = mediation_pairs(SPEC.pairs, SPEC.seed)[0]
    contexts = contexts_of(vlm.reader, SPEC, pair)
    tokens = first_tokens(vlm.reader, prompt_of(SPEC, pair), colours_of(pair))
    recording = record(vlm, contexts)
    clean = recording.logits[0, tokens].numpy()
    colours = list(measured["colour"].values)
    for name, condition in CONDITIONS.items():
        rows = each_head(recording.z[CONTEXTS.index(condition.source)], patched_positions(contexts[0], condition))
        logits = hooks.counterfactuals(vlm, contexts[0], rows, tokens).numpy()
        answers = [colours.index(condition.original), colours.index(condition.counterfactual)]
        expected = mediation.scores(logits[:, answers], clean[None, answers]).reshape(vlm.n_layers, vlm.n_heads)
        np.testing.assert_allclose(measured["score"].sel(condition=name, pair=0).values, expected, atol=1e-9)
        assert np.abs(expected).max() > 1e-6
    assert float(measured["noise"].max()) < 1e-9


def test_a_unit_is_what_its_pairs_are_alone(vlm: VLM, monkeypatch: pytest.MonkeyPatch):
    (unit, *_) = CMA().plan(SPEC)
    together = CMA().measure(vlm, SPEC, unit)
    monkeypatch.setattr(cma, "pair_logits", pair_by_pair)
    alone = CMA().measure(vlm, SPEC, unit)
    xr.testing.assert_identical(together.coords.to_dataset(), alone.coords.to_dataset())
    for name, twin in alone.items():
        assert (together[name].dims, together[name].attrs) == (twin.dims, twin.attrs)
    xr.testing.assert_allclose(together, alone, rtol=0, atol=1e-9)
    assert together.attrs == alone.attrs


def test_a_unit_does_not_depend_on_how_the_run_is_cut(vlm: VLM):
    whole = [CMA().measure(vlm, SPEC, unit) for unit in CMA().plan(replace(SPEC, pairs=3))]
    (first, *_) = CMA().plan(replace(SPEC, pairs_per_unit=1))
    xr.testing.assert_allclose(whole[0].isel(pair=[0]), CMA().measure(vlm, SPEC, first), rtol=0, atol=1e-9)


def test_predictions_and_their_correctness_are_the_models_own(vlm: VLM):
    (unit, *_) = CMA().plan(SPEC)
    measured = CMA().measure(vlm, SPEC, unit)
    pair = mediation_pairs(SPEC.pairs, SPEC.seed)[1]
    logits = record(vlm, contexts_of(vlm.reader, SPEC, pair)).logits
    tokens = first_tokens(vlm.reader, prompt_of(SPEC, pair), colours_of(pair))
    predicted = logits.argmax(-1)
    assert measured["predicted_token"].sel(pair=1).values.tolist() == predicted.tolist()
    right = torch.tensor([tokens[1], tokens[1], tokens[2]])
    assert measured["correct"].sel(pair=1).values.tolist() == (predicted == right).tolist()


def test_what_is_measured_carries_names_and_units():
    data = synthetic.parts(SPEC)[0]
    assert data["score"].dims == ("pair", "condition", "layer", "head")
    assert data["patched_logits"].dims == ("pair", "condition", "layer", "head", "colour")
    assert data["score"].attrs["units"] == "logits"
    assert "2506.15871" in data.attrs["paper"]
    pair = mediation_pairs(SPEC.pairs, SPEC.seed)[2]
    here = data.sel(pair=2)
    assert here["described_colour"].item() == pair.clean.objects[0].colour
    assert here["new_shape"].item() == pair.changed.objects[1].shape
    assert here["side"].item() == ("left", "right")[pair.clean.objects[0].box[0] > pair.clean.objects[1].box[0]]


def test_measured_data_survive_a_file(tmp_path: Path):
    data = synthetic.parts(SPEC)[0]
    (tmp_path / "unit.zarr.zip").write_bytes(pack(data))
    xr.testing.assert_identical(unpack(tmp_path / "unit.zarr.zip"), data)
    assert pack(data) == pack(synthetic.parts(SPEC)[0])
