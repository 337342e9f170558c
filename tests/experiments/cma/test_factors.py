"""Causal mediation with the choices of a public reproduction: where logits are read, rounded logits, one pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from finst.analysis import mediation
from finst.engine import hooks
from finst.errors import FinstError
from finst.experiments.cma.design import CONDITIONS, colours_of, contexts_of, prompt_of
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.figures import mediation_figures
from finst.experiments.cma.reliability import map_reliability
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.verdict import mediation_findings, verdict_of
from finst.scenes.designs import mediation_pairs
from finst.vlm.encode import first_tokens
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments import synthetic

SPEC = CMASpec(pairs=2, pairs_per_unit=2, permutations=50, bootstraps=50)


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("cma") / "tiny")), dtype="float64", device="cpu")


def measured(vlm: VLM, spec: CMASpec) -> xr.Dataset:
    (unit,) = CMA().plan(spec)
    return CMA().measure(vlm, spec, unit)


def patched_with_a_hook(
    vlm: VLM, inputs: Mapping[str, torch.Tensor], layer: int, head: int, positions: list[int], z: torch.Tensor | None
) -> torch.Tensor:
    """Logits of all tokens from the head itself, with one head's output overwritten before ``o_proj``."""
    width = vlm.d_head

    def write(module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        x = args[0].clone()
        if z is not None:
            x[0, positions, head * width : (head + 1) * width] = z[layer, positions, head]
        return (x,)

    handle = vlm.layers[layer].get_submodule("self_attn.o_proj").register_forward_pre_hook(write)
    try:
        with torch.inference_mode(), hooks.arithmetic(vlm):
            output = vlm.decoder(**inputs, use_cache=False)
            return vlm.model.get_output_embeddings()(output.last_hidden_state)[0]
    finally:
        handle.remove()


def test_patched_tokens_are_where_id_retrieval_is_read_and_only_there(vlm: VLM):
    """Against the model's own logits at the described object's tokens, head by head, with a hook on ``o_proj``."""
    found = measured(vlm, replace(SPEC, readout="patched_tokens"))
    index = 1
    pair = mediation_pairs(SPEC.pairs, SPEC.seed)[index]
    contexts = contexts_of(vlm.reader, SPEC, pair)
    tokens = first_tokens(vlm.reader, prompt_of(SPEC, pair), colours_of(pair))
    positions = list(contexts[0].tokens.described(0))
    assert len(positions) > 1
    assert positions[-1] < contexts[0].tokens.last
    source = hooks.record_z(vlm, contexts[1])
    given = hooks.decoder_inputs(vlm, [contexts[0]])
    inputs = {"inputs_embeds": given.embeds, "position_ids": given.position_ids}
    clean = patched_with_a_hook(vlm, inputs, 0, 0, positions, None)[positions][:, tokens].mean(0)
    here = found.sel(pair=index, condition="id_retrieval")
    np.testing.assert_allclose(here["unedited_logits"], clean, atol=1e-9)
    np.testing.assert_allclose(here["recorded_logits"], clean, atol=1e-9)
    for layer in range(vlm.n_layers):
        for head in range(vlm.n_heads):
            logits = patched_with_a_hook(vlm, inputs, layer, head, positions, source)[positions][:, tokens].mean(0)
            np.testing.assert_allclose(here["patched_logits"].sel(layer=layer, head=head), logits, atol=1e-9)
            moved = (logits[0] - logits[1]) - (clean[0] - clean[1])  # from the target's to the described colour
            assert float(here["score"].sel(layer=layer, head=head)) == pytest.approx(float(moved), abs=1e-9)
    last = measured(vlm, SPEC)
    others = [name for name in CONDITIONS if name != "id_retrieval"]
    xr.testing.assert_allclose(found.sel(condition=others), last.sel(condition=others), rtol=0, atol=1e-9)
    assert abs(found["score"] - last["score"]).sel(condition="id_retrieval").max() > 1e-3
    assert float(found["noise"].max()) < 1e-9


def test_rounded_logits_lie_on_the_grid_of_bfloat16(vlm: VLM):
    exact = measured(vlm, SPEC)
    for readout in ("last", "patched_tokens"):
        rounded = measured(vlm, replace(SPEC, logits="bfloat16", readout=readout))
        for name in ("patched_logits", "context_logits"):
            values = torch.from_numpy(rounded[name].sel(pair=0).isel({rounded[name].dims[1]: -1}).values)
            assert torch.equal(values.bfloat16().double(), values)
        assert abs(rounded["patched_logits"] - exact["patched_logits"]).sel(condition="id_selection").max() > 1e-4
        steps = rounded["score"].sel(condition="id_selection", pair=0)
        assert len(np.unique(steps)) < len(np.unique(exact["score"].sel(condition="id_selection", pair=0)))
    xr.testing.assert_identical(rounded["correct"], exact["correct"])


def test_the_noise_floor_knows_of_the_rounding():
    logits = np.array([9.0, -3.0], dtype=np.float32)
    assert mediation.resolution(logits, mediation.BFLOAT16_DIGITS) == 4 * 2.0**-4
    assert mediation.resolution(logits) == 4 * float(np.spacing(np.float32(9)))
    spec = replace(SPEC, pairs=4, pairs_per_unit=4, logits="bfloat16")
    assert float(CMA().summarise(spec, synthetic.parts(spec))["noise_floor"]) == 4 * 2.0**-4


def test_one_pair_has_scores_and_ties_but_no_uncertainty():
    spec = replace(SPEC, pairs=1)
    data = synthetic.parts(spec)
    found = CMA().summarise(spec, data)
    np.testing.assert_array_equal(found["mean"], data[0]["score"].isel(pair=0).transpose("condition", "layer", "head"))
    for name in ("standard_error", "ci_low", "t", "reliability", "margin_error", "p_fwer"):
        assert np.isnan(found[name]).all()
    assert not found["above"].any()
    verdict = verdict_of(found)
    assert [(stage.n, stage.found) for stage in verdict.stages] == [(1, False)] * 3
    assert all("no standard error" in stage.detail for stage in verdict.stages)
    assert any("L5H2" in row for row in mediation_findings(found).rows)
    assert map_reliability(found, "id_selection").ties.startswith("none (top 5")
    assert all(figure.csv for figure in mediation_figures(found))


def test_pairs_answered_wrongly_count_when_asked_for():
    wrong = [(0, "clean"), (1, "changed")]
    spec = replace(SPEC, pairs=4, pairs_per_unit=4)
    kept = CMA().summarise(replace(spec, only_correct=False), synthetic.parts(spec, wrong=wrong))
    assert kept["n"].values.tolist() == [4, 4, 4]
    assert (kept["dropped_clean"] + kept["dropped_source"] == 0).all()
    left = CMA().summarise(spec, synthetic.parts(spec, wrong=wrong))
    assert (left["n"].values.tolist(), left["dropped_clean"].values.tolist()) == ([3, 3, 2], [1, 1, 1])


def test_one_pair_that_is_answered_wrongly_leaves_nothing():
    spec = replace(SPEC, pairs=1)
    data = synthetic.parts(spec, wrong=[(0, "clean")])
    with pytest.raises(FinstError, match="organism has no usable pair in any condition"):
        CMA().summarise(spec, data)
    assert CMA().summarise(replace(spec, only_correct=False), data)["n"].values.tolist() == [1, 1, 1]
