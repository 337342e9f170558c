"""IDs of one task in another: what is written, and which pairs of tasks count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from finst.analysis.mediation import STAGES
from finst.errors import FinstError
from finst.experiments.interventions.heads import names_of
from finst.experiments.interventions.transfer.experiment import (
    ROLES,
    Transfer,
    all_trials,
    edit_rows,
    transfer_sets,
)
from finst.experiments.interventions.transfer.position_ids import slots_of
from finst.experiments.interventions.transfer.report import pooled
from finst.experiments.interventions.transfer.spec import TransferSpec
from finst.experiments.interventions.transfer.tasks import NAMES, PLACES, opposite
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments.interventions.small import TRANSFER, assert_first_tokens, maps_of

DESCRIBED = ("description-2x2", "description-3x3", "description-sided")


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("transfer") / "tiny")), dtype="float64", device="cpu")


def test_what_is_written_is_what_slow_hooks_write(vlm: VLM):
    """Both calls of a trial: some rows begin with what one whole edited pass predicts."""
    spec = replace(TRANSFER, tasks=("description-sided", "enumeration"))
    maps, ids = maps_of(vlm), Transfer().estimate(vlm, spec)
    sets = {stage: transfer_sets(spec, maps, stage) for stage in STAGES}
    assert names_of(sets["id_selection"]) == ["top", "shuffled 0", "random 0", "layer-matched 0"]
    (trial, *_) = all_trials(spec)["description-sided"].tests
    context = trial.encoded(vlm.reader)
    rows = edit_rows(spec, STAGES[1:], sets, ids, "description-sided", trial, context)
    assert rows.count == 1 + 2 * 2 * 4 * 2 * 2
    words = edit_rows(spec, STAGES[:1], sets, ids, "description-sided", trial, context)
    assert words.count == 1 + 4 * 2 * 2  # enumeration has no ID retrieval
    z = rows.blocks["z"]
    at = z.row == 1 + 16 + 1  # selection, IDs of enumeration, the strongest head, dose 4
    ((layer, head),) = sets["id_selection"][0].sets[0]
    assert (z.layer[at].tolist(), z.head[at].tolist(), z.pos[at].tolist()) == ([layer], [head], [context.tokens.last])
    step = ids["enumeration"]["id_selection"].step(trial.place, opposite(trial.place), rows=False)
    torch.testing.assert_close(z.value[torch.from_numpy(at)][0], 4 * step[layer, 0, head])
    assert set(words.blocks["z"].pos.tolist()) == set(slots_of("id_retrieval", trial, context))
    assert_first_tokens(vlm, context, rows.take(np.array([0, 3, 18, 37, 60])))


def answered(spec: TransferSpec) -> xr.Dataset:
    """A model in which selection IDs of one description work in both at K 3 and dose 4, other edits never.

    Enumeration has no retrieval. Random heads do as well in one pair.
    """
    names, sets = list(spec.tasks), ["top", "shuffled 0", "random 0", "layer-matched 0"]
    targets = np.repeat(names, spec.trials)
    places = [NAMES[PLACES[index % 4]] for index in range(len(targets))]
    coords: dict[str, Any] = {"stage": list(STAGES), "source": names, "set": sets}
    coords |= {"k": list(spec.ks), "dose": list(spec.doses)}
    shape = (len(targets), *map(len, coords.values()))
    answers = xr.DataArray(np.zeros(shape, np.int8), dims=("trial", *coords), coords=coords)
    works = np.isin(targets, DESCRIBED)
    strong = {"stage": "id_selection", "source": "description-2x2", "k": 3, "dose": 4.0}
    answers.loc[{"trial": works, "set": "top", **strong}] = ROLES.index("elsewhere")
    answers.loc[{"trial": targets == "description-3x3", "set": "random 0", **strong}] = ROLES.index("elsewhere")
    answers.loc[{"stage": "id_retrieval", "source": "enumeration"}] = -1
    answers.loc[{"stage": "id_retrieval", "trial": targets == "enumeration"}] = -1
    rest = {"target_task": ("trial", targets), "place": ("trial", places), "role": list(ROLES)}
    return xr.Dataset(
        {
            "said": answers,
            "said_before": ("trial", np.zeros(len(targets), np.int8)),
            "heads": (("stage", "set", "k"), np.full((3, 4, 2), "L0H0")),
            "warning": (("stage", "k"), np.full((3, 2), "")),
        },
        coords={"trial": np.arange(len(targets)), **rest},
    )


def test_a_pair_counts_when_it_beats_every_control():
    spec = replace(TRANSFER, tasks=("description-2x2", "description-3x3", "enumeration"), trials=32)
    found = Transfer().summarise(spec, [answered(spec)])
    at = found.sel(group="all", set="top", source="description-2x2", stage="id_selection")
    assert at["after"].values.tolist() == [1, 1, 0]
    assert at["n"].values.tolist() == [16, 16, 16]
    assert at["p"].values.tolist() == pytest.approx([2 / 2**16, 2 / 2**16, 1])
    assert at["p_all"].values.tolist() == pytest.approx([2 / 2**16, 1, 1])  # random heads do as well in the second
    assert (at["chosen_k"].values.tolist(), at["chosen_dose"].values.tolist()) == ([3, 3, 1], [4, 4, 1])
    there = np.isfinite(found["p_all"])
    assert int(there.sum()) == 9 + 9 + 4
    assert float(at["q"][0]) == pytest.approx(22 * 2 / 2**16)
    assert int(found["moved"].sum()) == 1
    own = pooled(found, "id_selection", "within")
    assert (float(own["after"].sel(set="top")), float(own["n"].sel(set="top"))) == (pytest.approx(1 / 3), 48)
    across = pooled(found, "id_selection", "across")
    assert float(across["after"].sel(set="top")) == pytest.approx(8 / 48)  # every other trial of one target of three
    assert float(pooled(found, "id_retrieval", "across")["n"].sel(set="top")) == 32
    findings = Transfer.report.findings(found)
    assert all(counts in findings.headline for counts in ("0 of 14", "1 of 8"))
    assert len(findings.rows) == 22
    rows = {row[:3]: row for row in findings.rows}
    assert rows["ID selection", "description-2x2", "description-3x3"][3:5] == ("3", "4")
    assert [row.n for row in Transfer.report.effects(found)] == [32, 32, 48, 48, 48, 48]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 7}, "trials is 7"),
        ({"estimation": 15}, "estimation is 15"),
        ({"ks": (10_000,)}, "ks holds 10000"),
        ({"tasks": ("colour",)}, "tasks is colour: expected two or more different ones"),
        ({"tasks": ("colour", "colour")}, "two or more different ones"),
        ({"tasks": ("colour", "chess")}, "unknown task 'chess'"),
    ],
)
def test_bad_input_is_refused_before_weights_load(vlm: VLM, changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        Transfer().check(replace(TRANSFER, **changes), vlm.reader)
