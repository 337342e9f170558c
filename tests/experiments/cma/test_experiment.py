"""Causal mediation as an experiment: plan, refusals, measurement and summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from finst.analysis import mediation
from finst.engine import hooks
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import each_head, unedited
from finst.engine.record import Recording, record
from finst.errors import FinstError
from finst.experiments.cma import experiment as cma
from finst.experiments.cma import walk
from finst.experiments.cma.design import CONDITIONS, CONTEXTS, colours_of, contexts_of, patched_positions, prompt_of
from finst.experiments.cma.example import pair_example
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.walk import PairContexts, PairLogits
from finst.runs.archive import pack, unpack
from finst.scenes.designs import mediation_pairs
from finst.vlm.encode import Encoded, first_tokens
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments import synthetic

SPEC = CMASpec(pairs=7, pairs_per_unit=3, permutations=200, bootstraps=50)


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("cma") / "tiny")), dtype="float64", device="cpu")


def test_the_plan_covers_every_pair_once_in_units_of_the_size_asked_for():
    units = CMA().plan(SPEC)
    assert [unit.trials for unit in units] == [(0, 1, 2), (3, 4, 5), (6,)]
    assert units[-1].name == "pairs 6-6"


def test_the_conditions_are_the_stages_in_order():
    assert tuple(CONDITIONS) == mediation.STAGES


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


def pair_by_pair(vlm: VLM, pairs: Sequence[PairContexts]) -> list[PairLogits]:
    """The slow twin of ``pair_logits``: a recording and a walk for each pair, and for no other token than its own."""
    logits = []
    for pair in pairs:
        recording = record(vlm, pair.contexts)
        rows = unedited()
        for condition in CONDITIONS.values():
            source = recording.z[CONTEXTS.index(condition.source)]
            rows = rows + each_head(source, patched_positions(pair.contexts[0], condition))
        logits.append(PairLogits(recording.logits, counterfactuals(vlm, recording[0], rows, pair.tokens)))
    return logits


def test_pairs_of_any_lengths_have_the_logits_that_they_have_alone(vlm: VLM, monkeypatch: pytest.MonkeyPatch):
    """A unit of two placements, whose contexts differ in length, and with no answer in common: two recordings."""
    recorded: list[int] = []

    def counted(vlm: VLM, contexts: list[Encoded]) -> Recording:
        recorded.append(len(contexts))
        return record(vlm, contexts)

    monkeypatch.setattr(walk, "record", counted)
    other = replace(SPEC, placement="user_turn")
    pairs = mediation_pairs(SPEC.pairs, SPEC.seed)
    contexts = [
        contexts_of(vlm.reader, spec, pair) for spec, pair in zip((SPEC, other, SPEC, SPEC), pairs[:4], strict=True)
    ]
    inputs = [PairContexts(each, (9 - index, 20 + index, 1)) for index, each in enumerate(contexts)]
    together, alone = walk.pair_logits(vlm, inputs), pair_by_pair(vlm, inputs)
    assert sorted(recorded) == [3, 9]
    for mine, twin in zip(together, alone, strict=True):
        assert (mine.contexts - twin.contexts).abs().max() < 1e-9
        assert (mine.rows - twin.rows).abs().max() < 1e-9
    assert min((other.rows - alone[0].rows).abs().max() for other in together[1:]) > 1e-3


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


def test_planted_heads_are_found_and_nothing_else():
    found = synthetic.summary(pairs=40)
    for stage, effects in synthetic.STAGED.items():
        above = np.argwhere(found["above"].sel(condition=stage).values)
        assert {(int(layer), int(head)) for layer, head in above} == {
            at for at, effect in effects.items() if effect > 0
        }
    assert np.argwhere(found["below"].sel(condition="id_selection").values).tolist() == [[5, 6]]
    assert found["order_holds"].values.all()
    assert found["order_difference"].values.tolist() == pytest.approx([2.2, 1.9], abs=0.2)
    assert found["median_layer"].values.tolist() == [3, 5, 7]
    assert (found["centre_low"] <= found["centre_mean"]).all()
    assert (found["centre_mean"] <= found["centre_high"]).all()
    assert found["margin"].values.tolist() == pytest.approx([9.0, 9.0, 9.0], abs=1e-4)


def test_nothing_is_found_where_nothing_is():
    found = synthetic.summary({}, pairs=40)
    assert not found["above"].any()
    assert found["order_untestable"].values.tolist() == [
        "no head above the noise in id_retrieval and id_selection",
        "no head above the noise in id_selection and feature_retrieval",
    ]


def test_wrongly_answered_pairs_are_dropped_and_counted():
    wrong = [(0, "clean"), (1, "swapped"), (2, "changed"), (3, "changed")]
    found = synthetic.summary(wrong=wrong)
    assert found["n"].values.tolist() == [18, 18, 17]
    assert found["dropped_clean"].values.tolist() == [1, 1, 1]
    assert found["dropped_source"].values.tolist() == [1, 1, 2]
    used = found["score"].sel(condition="feature_retrieval").values[4:]
    expected = np.concatenate([found["score"].sel(condition="feature_retrieval", pair=[1]).values, used]).mean(0)
    np.testing.assert_allclose(found["mean"].sel(condition="feature_retrieval"), expected)


def test_a_condition_without_pairs_is_no_obstacle_to_the_others():
    found = synthetic.summary(wrong=[(pair, "changed") for pair in range(20)])
    assert found["n"].values.tolist() == [20, 20, 0]
    assert found["above"].sum(["layer", "head"]).values.tolist() == [3, 2, 0]
    assert np.isnan(found["mean"].sel(condition="feature_retrieval")).all()
    assert found["order_untestable"].values.tolist() == ["", "no head above the noise in feature_retrieval"]


def test_without_usable_pairs_the_error_states_what_the_model_predicted():
    wrong = [(pair, "clean") for pair in range(7)]
    data = synthetic.parts(SPEC, wrong=wrong)
    word = str(data[0]["predicted_word"].sel(pair=1, context="clean").item())
    with pytest.raises(FinstError, match="organism has no two usable pairs") as error:
        CMA().summarise(SPEC, data)
    assert repr(word) in str(error.value)


def test_the_noise_floor_is_the_largest_noise_seen_and_no_less_than_the_resolution():
    found = synthetic.summary()
    assert float(found["noise_floor"]) >= float(found["noise"].max()) > 0
    assert float(found["noise_floor"]) >= 4 * float(np.spacing(np.float32(9.0)))


def test_a_summary_is_the_same_in_any_order_of_units():
    data = synthetic.parts(SPEC)
    xr.testing.assert_identical(CMA().summarise(SPEC, data), CMA().summarise(SPEC, data[::-1]))


def test_the_example_shows_what_is_patched_where():
    shown = pair_example(SPEC, synthetic.reader(), pair=1)
    pair = mediation_pairs(SPEC.pairs, SPEC.seed)[1]
    described, target = pair.clean.objects
    patched = {name: "".join(token.text for token in shown.tokens if name in token.marks) for name in CONDITIONS}
    assert patched == {"id_retrieval": f" {described.name}", "id_selection": " a", "feature_retrieval": " a"}
    assert [view.answer for view in shown.views] == [target.colour, target.colour, pair.changed.objects[1].colour]
    assert shown.contrasts["id_selection"] == (target.colour, described.colour)
    assert sum(token.tokens for token in shown.tokens) == len(contexts_of(synthetic.reader(), SPEC, pair)[0].tokens)
    left, top, *_ = described.box
    assert (top // 28, left // 28) in shown.views[0].cells[0].patches


def test_an_example_outside_of_the_design_is_refused():
    with pytest.raises(FinstError, match="expected 0 to 6"):
        pair_example(SPEC, synthetic.reader(), pair=7)


def test_measured_data_survive_a_file(tmp_path: Path):
    data = synthetic.parts(SPEC)[0]
    (tmp_path / "unit.zarr.zip").write_bytes(pack(data))
    xr.testing.assert_identical(unpack(tmp_path / "unit.zarr.zip"), data)
    assert pack(data) == pack(synthetic.parts(SPEC)[0])
