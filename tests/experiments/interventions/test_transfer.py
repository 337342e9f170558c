"""IDs of one task in another: the tasks, the IDs, what is written, and what is made of the answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from finst.analysis.mediation import STAGES
from finst.engine import hooks
from finst.engine.record import record
from finst.errors import FinstError
from finst.experiments.interventions.transfer import experiment as transfer
from finst.experiments.interventions.transfer.experiment import ROLES, Transfer
from finst.experiments.interventions.transfer.position_ids import IDs, context_of, ids_of, shuffled, slots_of, stages_of
from finst.experiments.interventions.transfer.report import pooled
from finst.experiments.interventions.transfer.spec import TransferSpec
from finst.experiments.interventions.transfer.tasks import NAMES, PLACES, TASKS, opposite, pictures_of
from finst.prompts import STEPS
from finst.scenes.sets import absolute
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments.interventions.test_interventions import maps_of

SPEC = TransferSpec(trials=8, estimation=16, ks=(1, 3), doses=(1.0, 4.0), draws=1, device="cpu", dtype="float64")
DESCRIBED = ("description-2x2", "description-3x3", "description-sided")


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(tiny.checkpoint(tmp_path_factory.mktemp("transfer") / "tiny")), dtype="float64", device="cpu")


@pytest.mark.parametrize("name", TASKS)
def test_what_is_asked_for_is_at_the_place_and_elsewhere_at_the_other_end(name: str):
    trials = pictures_of([name], 8, 0, 3, "prefill")[name].tests
    assert [one.place for one in trials] == [*PLACES, *PLACES]
    for one in trials:
        cells = [absolute(obj) for obj in one.scene.objects]
        rows, cols = (sorted({cell[axis] for cell in cells}) for axis in (0, 1))
        last = (one.place[0] if TASKS[name].rows else 0, one.place[1])
        assert cells[one.answer] == (rows[-last[0]], cols[-last[1]])
        assert cells[one.elsewhere] == (rows[-last[0]], cols[last[1] - 1])
        assert one.prompt.answer.startswith(one.scene.objects[one.answer].colour)
        assert list(one.roles.values()).count("answer") == list(one.roles.values()).count("elsewhere") == 1
        assert len(one.roles) == len(cells)


def test_what_a_described_object_is_told_makes_elsewhere_right():
    every = pictures_of(list(TASKS), 4, 0, 0, "prefill")
    for name in DESCRIBED:
        for one in every[name].tests:
            assert one.move is not None
            assert one.move == type(one.move)(one.elsewhere, opposite(one.place), one.place)
            assert {span.object for span in one.prompt.spans} == set(range(len(one.scene.objects))) - {one.answer}
    for one in every["spatial"].tests:
        assert one.move is not None
        step = STEPS["below" if "below" in one.prompt.sentence else "above"]
        assert (one.move.stop[0] + step[0], one.move.stop[1]) == absolute(one.scene.objects[one.elsewhere])
    assert all(one.move is not None and one.move.object == one.answer for one in every["colour"].tests)
    assert all(one.move is None for one in every["enumeration"].tests)


def test_a_list_is_in_reading_order_and_its_length_is_no_place():
    trials = pictures_of(["enumeration"], 40, 0, 0, "prefill")["enumeration"].tests
    for one in trials:
        cells = [absolute(obj) for obj in one.scene.objects]
        assert cells == sorted(cells)
        assert one.prompt.sentence.endswith(f"{one.answer + 1}. a")
    assert len({one.answer for one in trials if one.place == (1, 0)}) > 2


def test_no_picture_is_there_twice():
    every = pictures_of(list(TASKS), 8, 400, 0, "prefill")
    pictures = [one.picture for of in every.values() for one in (*of.tests, *of.estimation)]
    assert len(set(pictures)) == len(pictures)
    fewer = pictures_of(list(TASKS), 8, 16, 0, "prefill")
    assert all(fewer[name].tests == every[name].tests for name in TASKS)


def test_shuffled_places_are_spread_over_true_ones():
    of = np.arange(32) % 4
    other = shuffled(of, np.random.default_rng(0))
    assert all(((of == true) & (other == told)).sum() == 2 for true in range(4) for told in range(4))
    assert (other != shuffled(of, np.random.default_rng(1))).any()


@pytest.mark.parametrize("name", ["description-sided", "colour"])
def test_ids_are_means_by_place_at_the_tokens_of_a_stage(vlm: VLM, name: str):
    trials = pictures_of([name], 0, 16, 0, "prefill")[name].estimation
    found = ids_of(vlm, TASKS[name], trials, 1, batch=5, seed=0)
    assert tuple(found) == stages_of(TASKS[name]) == STAGES
    own = [context_of(vlm.reader, one) for one in trials]
    runs = [record(vlm, [context], sites=["q"]) for context in own]
    there = [index for index, one in enumerate(trials) if one.place == (1, 0)]
    last = [own[index].tokens.last for index in there]
    z = torch.stack([runs[index].z[0, :, pos] for index, pos in zip(there, last, strict=True)]).mean(0)
    q = torch.stack([runs[index].sites["q"][0, :, pos] for index, pos in zip(there, last, strict=True)]).mean(0)
    torch.testing.assert_close(found["id_selection"].values[1, 0, 0], z, rtol=0, atol=1e-9)
    torch.testing.assert_close(found["feature_retrieval"].values[1, 0, 0], q, rtol=0, atol=1e-9)
    told = [(i, one.move) for i, one in enumerate(trials) if one.move is not None and one.move.start == (0, 1)]
    for slot, kind in enumerate(("colour", "noun")):
        words = [own[i].tokens.positions(kind if name != "colour" else "noun", move.object)[-1] for i, move in told]
        mean = torch.stack([runs[i].z[0, :, pos] for (i, _), pos in zip(told, words, strict=True)]).mean(0)
        torch.testing.assert_close(found["id_retrieval"].values[0, 1, slot], mean, rtol=0, atol=1e-9)


def test_a_step_is_a_difference_of_places_and_its_shuffle_as_long():
    values, other = (torch.randn(2, 2, 1, 3, 4, 5, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    ids = IDs(values, (other,))
    step = ids.step((0, 0), (0, 1), rows=True)
    torch.testing.assert_close(step, (values[0, 1] - values[0, 0]).transpose(0, 1))
    over_rows = (values[:, 1] - values[:, 0]).mean(0).transpose(0, 1)
    torch.testing.assert_close(ids.step((0, 0), (0, 1), rows=False), over_rows)
    torch.testing.assert_close(ids.step((1, 0), (1, 1), rows=False), over_rows)
    mixed = ids.step((0, 0), (0, 1), rows=True, shuffle=0)
    torch.testing.assert_close(mixed.norm(dim=-1), step.norm(dim=-1))
    raw = (other[0, 1] - other[0, 0]).transpose(0, 1)
    assert torch.nn.functional.cosine_similarity(mixed, raw, dim=-1).min() > 0.999


def test_what_is_written_is_what_slow_hooks_write(vlm: VLM):
    """Both calls of a trial: every row of some begins with what one whole edited pass predicts."""
    spec = replace(SPEC, tasks=("description-sided", "enumeration"))
    maps, ids = maps_of(vlm), transfer.estimated(vlm, spec)
    sets = {stage: transfer._sets(spec, maps, stage) for stage in STAGES}
    assert [one.name for one in sets["id_selection"]] == ["top", "shuffled 0", "random 0", "layer-matched 0"]
    (asked, *_) = transfer.pictures(spec)["description-sided"].tests
    context = context_of(vlm.reader, asked)
    rows = transfer._rows(spec, STAGES[1:], sets, ids, "description-sided", asked, context)
    assert rows.count == 1 + 2 * 2 * 4 * 2 * 2
    words = transfer._rows(spec, STAGES[:1], sets, ids, "description-sided", asked, context)
    assert words.count == 1 + 4 * 2 * 2  # enumeration has no ID retrieval
    z = rows.blocks["z"]
    at = z.row == 1 + 16 + 1  # selection, IDs of enumeration, the strongest head, dose 4
    ((layer, head),) = sets["id_selection"][0].sets[0]
    assert (z.layer[at].tolist(), z.head[at].tolist(), z.pos[at].tolist()) == ([layer], [head], [context.tokens.last])
    step = ids["enumeration"]["id_selection"].step(asked.place, opposite(asked.place), rows=False)
    torch.testing.assert_close(z.value[torch.from_numpy(at)][0], 4 * step[layer, 0, head])
    assert set(words.blocks["z"].pos.tolist()) == set(slots_of("id_retrieval", asked, context))
    some = rows.take(np.array([0, 3, 18, 37, 60]))
    slow = hooks.counterfactuals(vlm, context, some, None).argmax(-1)
    (texts,) = transfer.decode_with_edits(vlm, [context], [some], batch=1, new_tokens=1)
    assert texts == [vlm.reader.tokenizer.decode([int(token)], skip_special_tokens=True) for token in slow]


def answers(spec: TransferSpec) -> xr.Dataset:
    """Of a model in which selection IDs of one description work in both at K 3 and dose 4, other edits never.

    Enumeration has no retrieval. Random heads do as well in one pair.
    """
    names, sets = list(spec.tasks), ["top", "shuffled 0", "random 0", "layer-matched 0"]
    targets = np.repeat(names, spec.trials)
    places = [NAMES[PLACES[index % 4]] for index in range(len(targets))]
    coords: dict[str, Any] = {"stage": list(STAGES), "source": names, "set": sets}
    coords |= {"k": list(spec.ks), "dose": list(spec.doses)}
    shape = (len(targets), *map(len, coords.values()))
    said = xr.DataArray(np.zeros(shape, np.int8), dims=("trial", *coords), coords=coords)
    works = np.isin(targets, DESCRIBED)
    strong = {"stage": "id_selection", "source": "description-2x2", "k": 3, "dose": 4.0}
    said.loc[{"trial": works, "set": "top", **strong}] = ROLES.index("elsewhere")
    said.loc[{"trial": targets == "description-3x3", "set": "random 0", **strong}] = ROLES.index("elsewhere")
    said.loc[{"stage": "id_retrieval", "source": "enumeration"}] = -1
    said.loc[{"stage": "id_retrieval", "trial": targets == "enumeration"}] = -1
    rest = {"target_task": ("trial", targets), "place": ("trial", places), "role": list(ROLES)}
    return xr.Dataset(
        {
            "said": said,
            "said_before": ("trial", np.zeros(len(targets), np.int8)),
            "heads": (("stage", "set", "k"), np.full((3, 4, 2), "L0H0")),
            "warning": (("stage", "k"), np.full((3, 2), "")),
        },
        coords={"trial": np.arange(len(targets)), **rest},
    )


def test_a_pair_counts_when_it_beats_every_control():
    spec = replace(SPEC, tasks=("description-2x2", "description-3x3", "enumeration"), trials=32)
    found = Transfer().summarise(spec, [answers(spec)])
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
    told = Transfer().account(found)
    assert "in 0 of 14 cases" in told.headline
    assert "within a task in 1 of 8" in told.headline
    assert [row.n for row in Transfer().effects(found)] == [32, 32, 48, 48, 48, 48]


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
def test_bad_input_is_told_before_weights_load(vlm: VLM, changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        Transfer().check(replace(SPEC, **changes), vlm.reader)
