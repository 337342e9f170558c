"""Recorded values are those at each site, and only requested sites and positions are kept."""

from __future__ import annotations

import pytest
import torch
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb

from finst.engine import hooks
from finst.engine.counterfactuals import observe
from finst.engine.edits import unedited
from finst.engine.reads import Read, activations
from finst.engine.record import Recording, record
from finst.engine.sites import SITES
from tests.engine.conftest import Case
from tests.engine.rows import rows_at_all_sites


@pytest.fixture(scope="module")
def recording(exact: Case) -> Recording:
    return record(exact.vlm, exact.contexts, sites=SITES)


def test_recorded_sites_fit_together(exact: Case, recording: Recording) -> None:
    sites = recording.sites
    assert set(sites) == set(SITES)
    assert torch.equal(sites["z"], recording.z)
    after = torch.stack([*recording.inputs[1:], recording.output], dim=1)
    assert torch.equal(sites["resid"], after)
    parts = torch.stack(recording.inputs, dim=1) + sites["attn_out"] + sites["mlp_out"]
    assert (sites["resid"] - parts).abs().max() < 1e-12
    for layer in range(exact.vlm.n_layers):
        assert torch.equal(sites["v"][:, layer].transpose(1, 2), recording.values[layer])
        q, k = (x[:, layer].transpose(1, 2) for x in (sites["q"], sites["k"]))
        _, rotated = apply_rotary_pos_emb(q, k, *recording.layer_kwargs[layer]["position_embeddings"])
        assert (rotated - recording.keys[layer]).abs().max() < 1e-12


def test_key_and_value_axes_are_kv_heads(exact: Case, recording: Recording) -> None:
    assert (exact.vlm.n_heads, exact.vlm.n_kv_heads) == (4, 2)
    heads = {"q": 4, "k": 2, "v": 2, "z": 4}
    for site, values in recording.sites.items():
        assert values.shape == (3, 3, recording.length, *((heads[site], 8) if site in heads else (32,)))


def test_one_context_of_a_recording(exact: Case, recording: Recording) -> None:
    alone = record(exact.vlm, [exact.contexts[2]], sites=SITES)
    for site in SITES:
        assert (recording[2].sites[site] - alone.sites[site]).abs().max() < 1e-9
    assert (recording[2].output - alone.output).abs().max() < 1e-9


def test_only_requested_sites_and_positions_are_kept(exact: Case, recording: Recording) -> None:
    positions = [exact.clean.tokens.last, *exact.positions["patches"]]
    for taken in (
        activations(exact.vlm, exact.contexts, ["k", "mlp_out"], positions),
        record(exact.vlm, exact.contexts, sites=["k", "mlp_out"], positions=positions).sites,
    ):
        assert set(taken) == {"k", "mlp_out"}
        for site, values in taken.items():
            assert (values - recording.sites[site][:, :, positions]).abs().max() < 1e-12
            assert values.untyped_storage().nbytes() == values.numel() * 8
    assert exact.recording.sites == {}


def test_unedited_rows_read_what_was_recorded(exact: Case, recording: Recording) -> None:
    layers, positions = tuple(range(exact.vlm.n_layers)), tuple(range(recording.length))
    reads = [Read(site, layers, positions) for site in SITES]
    observed = observe(exact.vlm, exact.recording[0], unedited(2), reads, exact.answers)
    for site, values in zip(SITES, observed.reads, strict=True):
        assert (values - recording.sites[site][:1]).abs().max() < 1e-9


def test_reads_come_after_the_rows_edits(exact: Case) -> None:
    """Every site of every layer in rows with edits at every site, as plain hooks see it."""
    rows = rows_at_all_sites(exact)
    positions = tuple({pos: None for places in exact.positions.values() for pos in places})
    reads = [Read(site, (0, 1, 2), positions) for site in SITES]
    ours = observe(exact.vlm, exact.recording[0], rows, reads, exact.answers)
    theirs = hooks.observe(exact.vlm, exact.clean, rows, reads, exact.answers)
    for mine, other in zip(ours.reads, theirs.reads, strict=True):
        assert (mine - other).abs().max() < 1e-9


def test_reads_choose_rows_layers_and_positions_in_the_order_given(exact: Case) -> None:
    rows = rows_at_all_sites(exact, ["zero"])
    every = observe(exact.vlm, exact.recording[0], rows, [Read("q", (0, 1, 2), tuple(range(20)))], [0]).reads[0]
    some = observe(exact.vlm, exact.recording[0], rows, [Read("q", (2, 0), (7, 3, 19), rows=(5, 1))], [0]).reads[0]
    assert some.shape == (2, 2, 3, 4, 8)
    assert (some - every[[5, 1]][:, [2, 0]][:, :, [7, 3, 19]]).abs().max() < 1e-9
    nothing = observe(exact.vlm, exact.recording[0], rows, [Read("q", (), (7,))], [0]).reads[0]
    assert nothing.shape == (rows.count, 0, 1, 4, 8)
