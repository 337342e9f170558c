"""Interventions as experiments: which heads, which halves, what is written where, and what is made of the answers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from rich.console import Console

from finst.analysis.mediation import STAGES
from finst.cli.commands import told_page
from finst.engine import hooks
from finst.engine.record import record
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.counting.experiment import Counting
from finst.experiments.interventions.counting.spec import CountingSpec
from finst.experiments.interventions.decoding import decode_with_edits, role_of
from finst.experiments.interventions.effects import argmax_setting, effects, selection_split
from finst.experiments.interventions.estimates import Prototypes, check_disjoint, prototypes
from finst.experiments.interventions.frame_patch import experiment as frame_patch
from finst.experiments.interventions.frame_patch.experiment import FramePatch
from finst.experiments.interventions.frame_patch.spec import FramePatchSpec
from finst.experiments.interventions.heads import head_sets_of, warnings_of
from finst.experiments.interventions.key_swap import experiment as key_swap
from finst.experiments.interventions.key_swap.experiment import KeySwap
from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.experiments.interventions.photoreal.experiment import Photoreal
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.experiments.interventions.protocol import require_identical
from finst.experiments.interventions.rescue.experiment import Rescue
from finst.experiments.interventions.rescue.spec import RescueSpec
from finst.experiments.interventions.reuse import experiment as reuse
from finst.experiments.interventions.reuse.experiment import MODES, ROLES, Reuse, edits, questions
from finst.experiments.interventions.reuse.spec import ReuseSpec
from finst.experiments.interventions.transfer.experiment import Transfer
from finst.experiments.interventions.transfer.spec import TransferSpec
from finst.prompts import scene_description
from finst.runs.archive import pack, unpack
from finst.runs.executor import run
from finst.scenes.draw import draw
from finst.scenes.sets import absolute, unique_objects
from finst.vlm.encode import encode
from finst.vlm.open import VLM, open_vlm
from tests import tiny

REUSE = ReuseSpec(trials=2, estimation=1, ks=(1, 3), doses=(1.0, 4.0), draws=1, device="cpu", dtype="float64")
SWAP = KeySwapSpec(trials=8, estimation=4, k=3, doses=(2.0,), draws=1, device="cpu", dtype="float64")
STEER = PhotorealSpec(trials=4, estimation=4, ks=(1, 3), doses=(1.0, 4.0), draws=1, device="cpu", dtype="float64")
FRAMES = FramePatchSpec(trials=2, ks=(1, 3), draws=1, device="cpu", dtype="float64")
LITTLE = TransferSpec(trials=8, estimation=16, ks=(1,), doses=(1.0,), draws=1, device="cpu", dtype="float64")
RESCUE = RescueSpec(grids=("2x2",), trials=(1,), estimation=(1,), ks=(1, 3), draws=1, device="cpu", dtype="float64")
COUNTING = CountingSpec(trials=6, ks=(1, 3), draws=2, new_tokens=4, device="cpu", dtype="float64")

EVERY: Mapping[str, tuple[Any, Any, set[str]]] = {
    "reuse": (Reuse, REUSE, {"reuse-relations", "reuse-grid"}),
    "photoreal": (Photoreal, STEER, {f"photoreal-{name}" for name in ("sides", "grid", "dose", "k")}),
    "key-swap": (KeySwap, SWAP, {"key-swap-dose", "key-swap-sides"}),
    "frame-patch": (FramePatch, FRAMES, {"frame-patch"}),
    "transfer": (Transfer, replace(LITTLE, tasks=("description-sided", "enumeration")), {"transfer"}),
    "rescue": (Rescue, RESCUE, {"rescue"}),
    "counting": (Counting, COUNTING, {"counting"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("interventions") / "tiny")


@pytest.fixture(scope="module")
def vlm(folder: Path) -> VLM:
    return open_vlm(str(folder), dtype="float64", device="cpu")


def maps_of(vlm: VLM, seed: int = 0) -> HeadMaps:
    shape = (len(STAGES), vlm.n_layers, vlm.n_heads)
    mean = np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape) / 10
    return HeadMaps(vlm.weights_hash, mean, mean > 1, noise=0.01)


@pytest.fixture(scope="module")
def ids(vlm: VLM) -> Prototypes:
    shape = (9, vlm.n_layers, vlm.n_heads, vlm.d_head)
    return Prototypes(torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64), (9,) * 9)


def test_sets_of_heads_and_their_controls():
    mean = np.zeros((3, 4, 5))
    mean[1, 2, 3], mean[1, 3, 0], mean[1, 0, 1] = 3, 2, 1
    maps = HeadMaps("x", mean, mean > 1.5, noise=0.1)
    top, *controls = head_sets_of(maps, "id_selection", (1, 2, 5), 2, seed=0)
    assert top.sets[:2] == (((2, 3),), ((2, 3), (3, 0)))
    assert top.texts[:2] == ("L2H3", "L2H3 L3H0")
    assert set(top.sets[1]) < set(top.sets[2])
    assert [one.name for one in controls] == ["random 0", "random 1", "layer-matched 0", "layer-matched 1"]
    assert all([len(heads) for heads in one.sets] == [1, 2, 5] for one in controls)
    for matched in controls[2:]:
        assert [layer for layer, _ in matched.sets[1]] == [2, 3]
        assert not set(matched.sets[1]) & set(top.sets[1])
    told = warnings_of(maps, "id_selection", (1, 2, 5), seed=0)
    assert told[:2] == ("", "")
    assert "17 heads tie at the cut, 2 of them taken at random" in told[2]
    assert "only 2 heads are above the noise, 5 were asked for" in told[2]


def test_halves_take_half_of_every_group():
    groups = ["a", "b", "c"] * 7
    half = selection_split(groups, seed=1)
    assert [int(half[np.array(groups) == name].sum()) for name in "abc"] == [3, 3, 3]
    assert (half == selection_split(groups, seed=1)).all()
    assert (half != selection_split(groups, seed=2)).any()


def test_the_largest_share_is_the_smallest_edit_among_equals():
    shares = xr.DataArray(
        [[0.1, 0.5, 0.5], [0.5, 0.2, 0.5]], dims=("k", "dose"), coords={"k": [1, 2], "dose": [1, 2, 4]}
    )
    assert argmax_setting(shares) == {"k": 1, "dose": 2}


def test_effects_are_of_the_same_trials_by_group():
    before = xr.DataArray([True, True, False, False, False, False], dims="trial")
    after = xr.DataArray(
        [[True, False, True, True, True, True], [True, True, False, False, False, False]], dims=("set", "trial")
    )
    found = effects(before, after, ["a", "a", "a", "b", "b", "b"], 0.95)
    assert found["group"].values.tolist() == ["all", "a", "b"]
    first = found.isel(set=0)
    assert first["before"].values.tolist() == [2 / 6, 2 / 3, 0]
    assert first["after"].values.tolist() == [5 / 6, 2 / 3, 1]
    assert (first["gained"].values.tolist(), first["lost"].values.tolist()) == ([4, 1, 3], [1, 1, 0])
    assert float(first["p"].sel(group="all")) == pytest.approx(12 / 32)
    assert found["p"].isel(set=1).values.tolist() == [1, 1, 1]
    assert effects(before, after, (), 0.95).identical(found.sel(group=["all"]))


def test_questions_are_balanced_and_about_other_cells():
    asked = questions(replace(REUSE, trials=12))
    for relation in ("above", "below", "left", "right"):
        mine = [question for question in asked if question.relation == relation]
        pairs = [(question.reference, question.answer) for question in mine]
        assert len(set(pairs)) == 6
        assert all(pairs.count(pair) == 2 for pair in pairs)
    for question in asked:
        assert len({question.answer, question.reference, question.elsewhere}) == 3
        assert question.scene.objects[question.answer].colour == question.prompt.answer
        assert question.roles[question.prompt.answer] == "answer"
        assert sorted(question.roles.values()).count("other") == 6


def test_prototypes_are_means_by_index(vlm: VLM):
    contexts = [encode(vlm.reader, draw(one.scene), one.prompt, "red") for one in questions(REUSE)[:4]]
    found = prototypes(vlm, contexts, [0, 1, 1, 0], batch=3)
    last = contexts[0].tokens.last
    alone = [record(vlm, [context.prompt]).z[0, :, context.tokens.last] for context in contexts]
    assert last == contexts[0].prompt.tokens.last
    torch.testing.assert_close(found.values[1], (alone[1] + alone[2]) / 2, rtol=0, atol=1e-9)
    assert found.counts == (2, 2)
    with pytest.raises(FinstError, match="no trial of index 0 is left"):
        prototypes(vlm, contexts, [0, 1, 1, 0], batch=3, exact=True)


def test_splits_that_share_a_picture_are_refused():
    scenes = [question.scene for question in questions(REUSE)]
    check_disjoint(scenes[:4], scenes[4:])
    turned = replace(scenes[5], objects=scenes[5].objects[::-1])
    with pytest.raises(FinstError, match="1 pictures are in both splits"):
        check_disjoint([turned], scenes)


def test_units_of_other_heads_are_refused(vlm: VLM):
    parts = [xr.Dataset({"heads": ("k", [name])}) for name in ("L0H1", "L0H1", "L1H0")]
    assert require_identical(parts[:2], ["heads"]) == parts[:2]
    with pytest.raises(FinstError, match="measured with different heads"):
        require_identical(parts, ["heads"])
    with pytest.raises(FinstError, match="measured other weights"):
        Reuse(replace(maps_of(vlm), weights="0" * 64)).measure(vlm, REUSE, Reuse().plan(REUSE)[0])
    with pytest.raises(FinstError, match="expected a run"):
        Reuse().measure(vlm, REUSE, Reuse().plan(REUSE)[0])


def test_what_is_written_is_what_slow_hooks_write(vlm: VLM, ids: Prototypes):
    """Every mode, set, K and dose: the first token said is that of one whole edited pass a row."""
    question = questions(REUSE)[3]
    context = encode(vlm.reader, draw(question.scene), question.prompt)
    sets = head_sets_of(maps_of(vlm), "id_selection", REUSE.ks, REUSE.draws, 0)
    rows = edits(REUSE, sets, ids, question, context)
    assert rows.count == 1 + len(MODES) * len(sets) * len(REUSE.ks) * len(REUSE.doses)
    block = rows.blocks["z"]
    fifth = block.row == 1 + 2  # mode answer, the strongest heads, K = 3, dose 1
    heads = list(zip(block.layer[fifth].tolist(), block.head[fifth].tolist(), strict=True))
    assert heads == list(sets[0].sets[1])
    expected = torch.stack([ids.values[question.answer, layer, head] for layer, head in heads])
    torch.testing.assert_close(block.value[torch.from_numpy(fifth)], expected)
    assert block.adds.all()
    some = rows.take(np.array([0, 2, 7, 16]))
    slow = hooks.counterfactuals(vlm, context, some, None).argmax(-1)
    (texts,) = decode_with_edits(vlm, [context], [some], batch=1, new_tokens=1)
    assert texts == [vlm.reader.tokenizer.decode([int(token)], skip_special_tokens=True) for token in slow]


@pytest.mark.parametrize("name", EVERY)
def test_a_run_ends_with_a_report_and_would_go_on_with_equal_bytes(
    name: str, folder: Path, vlm: VLM, ids: Prototypes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(frame_patch, "PAIRS", frame_patch.PAIRS[:3])
    kind, asked, names = EVERY[name]
    spec = replace(asked, model=str(folder), trials_per_unit=8 if name == "transfer" else 4)
    few = {"2x2": Prototypes(ids.values[:4], ids.counts[:4])}
    estimates = {"reuse": [lambda vlm, spec: ids], "rescue": [lambda vlm, spec: few]}
    experiment = kind(maps_of(vlm), *estimates.get(name, []))
    first = run(experiment, spec, tmp_path / "run", told_page(experiment), console=Console(file=io.StringIO()))
    html = first.report.read_text()
    assert experiment.account(first.summary).headline[:30] in html
    assert all(row.n and 0 <= row.p <= 1 for row in experiment.effects(first.summary))
    figures = {path.stem for path in first.folder.glob("figures/*.csv")}
    assert figures == names
    assert all(f'id="figure-{name}"' in html for name in figures)
    units = sorted(first.folder.glob("units/*"))
    again = experiment.measure(open_vlm(str(folder), dtype="float64", device="cpu"), spec, experiment.plan(spec)[-1])
    assert pack(again) == units[-1].read_bytes()
    summary = experiment.summarise(spec, [unpack(unit) for unit in units])
    assert pack(summary) == (first.folder / "summary.zarr.zip").read_bytes()


def planted(spec: ReuseSpec, hits: Mapping[str, tuple[int, float]]) -> xr.Dataset:
    """Answers of a model that heeds what is written into the strongest heads at one K and dose a mode alone."""
    asked = questions(spec)
    sets = ("top", "random 0", "layer-matched 0")
    coords: dict[str, Any] = {"mode": list(MODES), "set": list(sets), "k": list(spec.ks), "dose": list(spec.doses)}
    shape = (len(asked), *map(len, coords.values()))
    before = np.arange(len(asked)) % 2  # of every other question another cell's colour is named
    answers = xr.DataArray(np.full(shape, before.reshape(-1, 1, 1, 1, 1)), dims=("trial", *coords), coords=coords)
    answers = answers * ROLES.index("other")
    for mode, (k, dose) in hits.items():
        answers.loc[{"mode": mode, "set": "top", "k": k, "dose": dose}] = ROLES.index(mode)
    return xr.Dataset(
        {
            "said": answers,
            "said_before": ("trial", before * ROLES.index("other")),
            "heads": (("set", "k"), np.full((len(sets), len(spec.ks)), "L0H0")),
            "warning": ("k", np.full(len(spec.ks), "")),
            "estimated_from": ("cell", np.full(9, 9)),
        },
        coords={"trial": np.arange(len(asked)), "relation": ("trial", [one.relation for one in asked])},
    )


def test_the_setting_is_chosen_on_one_half_and_told_of_the_other():
    spec = replace(REUSE, trials=8)
    found = Reuse().summarise(spec, [planted(spec, {"answer": (3, 1.0), "elsewhere": (1, 4.0)})])
    assert found["chosen_k"].values.tolist() == [3, 1]
    assert found["chosen_dose"].values.tolist() == [1.0, 4.0]
    at = found.sel(group="all")
    assert at["n"].values.max() == 16
    assert at["after"].sel(set="top").values.tolist() == [1.0, 1.0]
    assert at["before"].sel(mode="elsewhere").values.max() == 0
    assert at["after"].sel(mode="elsewhere", set="random 0") == 0
    assert 0 < float(at["after"].sel(mode="answer", set="random 0")) < 1
    assert (at["after"].sel(set="random 0") == at["before"].sel(set="random 0")).all()
    assert float(at["p"].sel(mode="elsewhere", set="top")) == pytest.approx(2 / 2**16)
    assert "elsewhere in at most 0.0%" in " ".join(Reuse().account(found).findings)


def test_words_have_roles():
    roles = {"red": "answer", "blue": "other"}
    assert [role_of(text, roles) for text in ("Red.", "blue star", "reddish", "")] == [
        "answer",
        "other",
        "none",
        "none",
    ]


def test_ids_are_estimated_from_descriptions_by_the_targets_cell(vlm: VLM, monkeypatch: pytest.MonkeyPatch):
    staged = unique_objects(reuse.GRID, "high", 1, 5, "fresh")[:9]
    monkeypatch.setattr(reuse, "unique_objects", lambda *_: staged)
    found = reuse.estimated(vlm, REUSE)
    assert found.counts == (1,) * 9
    prompt = scene_description(staged[3].scene, staged[3].order[:-1], staged[3].order[-1])
    alone = record(vlm, [encode(vlm.reader, draw(staged[3].scene), prompt)])
    cell = reuse.GRID.cells.index(absolute(staged[3].target))
    torch.testing.assert_close(found.values[cell], alone.z[0, :, -1], rtol=0, atol=1e-9)


def test_keys_are_means_over_all_patches_of_a_side(vlm: VLM):
    found = key_swap.estimated(vlm, SWAP).values
    patches: dict[int, list[torch.Tensor]] = {0: [], 1: []}
    for pair in key_swap.estimation_of(SWAP):
        context = encode(vlm.reader, draw(pair.scene), pair.prompt)
        keys = record(vlm, [context], sites=["k"]).sites["k"][0]
        for index, obj in enumerate(pair.scene.objects):
            assert obj.cell is not None
            patches[obj.cell[1]] += [keys[:, pos] for pos in context.tokens.object_patches(index)]
    for side, each in patches.items():
        torch.testing.assert_close(found[side], torch.stack(each).mean(0), rtol=0, atol=1e-9)


def test_keys_of_both_objects_move_towards_the_other_side(vlm: VLM):
    maps, keys = maps_of(vlm), key_swap.Keys(torch.randn(2, vlm.n_layers, vlm.n_kv_heads, vlm.d_head).double())
    reaches = key_swap.edits_of(maps, SWAP, keys)
    assert [one.name for one in reaches][:6:5] == ["one KV head, queried", "layers, both"]
    top = maps.top("feature_retrieval", 3, 0).heads
    group = vlm.n_heads // vlm.n_kv_heads
    assert {(layer, kv) for layer, heads in reaches[2].heads.items() for kv in heads} == {
        (a, b // group) for a, b in top
    }
    assert reaches[5].heads == dict.fromkeys(sorted({a for a, _ in top}), tuple(range(vlm.n_kv_heads)))
    noise = next(one for one in reaches if one.name == "random direction 0").direction
    torch.testing.assert_close(noise.norm(dim=-1), keys.to_right.norm(dim=-1))
    question = key_swap.questions(SWAP)[0]
    context = encode(vlm.reader, draw(question.scene), question.prompt)
    rows = key_swap.rows_of(reaches, (2.0,), question, context)
    block = rows.blocks["k"]
    for row, sides in ((1 + 4, [question.queried]), (1 + 5, [0, 1])):
        inside = block.row == row
        where = {pos for index in sides for pos in context.tokens.object_patches(index)}
        assert set(block.pos[inside].tolist()) == where
        for index in sides:
            cell = question.scene.objects[index].cell
            assert cell is not None
            pos = context.tokens.object_patches(index)[0]
            (at,) = np.flatnonzero(inside & (block.pos == pos) & (block.layer == top[0][0]) & (block.head == 0))
            moved = keys.values[1 - cell[1]] - keys.values[cell[1]]
            torch.testing.assert_close(block.value[at], 2 * moved[top[0][0], 0])
    some = rows.take(np.array([0, 6]))
    slow = hooks.counterfactuals(vlm, context, some, None).argmax(-1)
    (texts,) = decode_with_edits(vlm, [context], [some], batch=1, new_tokens=1)
    assert texts == [vlm.reader.tokenizer.decode([int(token)], skip_special_tokens=True) for token in slow]


def test_a_swap_of_one_dose_is_found_on_either_side():
    spec = replace(SWAP, trials=16, doses=(1.0, 2.0))
    asked = key_swap.questions(spec)
    names = [f"{reach}, {of}" for reach in ("one KV head", "KV heads", "layers") for of in ("queried", "both")]
    names += ["random layers 0", "random direction 0"]
    shape = (16, len(names), 2)
    answers = xr.DataArray(
        np.full(shape, 1), dims=("trial", "edit", "dose"), coords={"edit": names, "dose": [1.0, 2.0]}
    )
    answers.loc[{"edit": key_swap.PAPER, "dose": 2.0}] = 0
    sides = ["left" if one.scene.objects[one.queried].cell[1] == 0 else "right" for one in asked]  # pyright: ignore
    assert sides.count("left") == 8
    coords: dict[str, Any] = {"trial": np.arange(16), "side": ("trial", sides), "k": [3]}
    rest = {"said_before": ("trial", np.full(16, 1)), "heads": ("edit", names), "warning": ("k", ["told"])}
    found = KeySwap().summarise(spec, [xr.Dataset({"said": answers, **rest}, coords=coords)])
    assert float(found["chosen_dose"]) == 2
    assert found["after"].sel(edit=key_swap.PAPER, dose=2).values.tolist() == [1, 1, 1]
    assert found["n"].sel(edit=key_swap.PAPER, dose=2).values.tolist() == [8, 4, 4]
    assert float(found["after"].sum()) == 3
    assert float(found["right_before"]) == 1
    said_ = KeySwap().account(found)
    assert "100.0% of colour questions" in said_.headline
    assert "of the heads: top 3: told" in said_.findings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 1}, "trials is 1"),
        ({"ks": (2, 2)}, "expected one or more different numbers of heads"),
        ({"ks": (10_000,)}, "ks holds 10000: .* has .* heads"),
        ({"doses": ()}, "doses is .*: expected one or more"),
        ({"alpha": 1.0}, "between 0 and 1"),
        ({"draws": 0}, "draws is 0"),
    ],
)
def test_bad_input_is_told_before_weights_load(vlm: VLM, changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        Reuse().check(replace(REUSE, **changes), vlm.reader)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"trials": 7}, "trials is 7"), ({"k": 10_000}, "k holds 10000"), ({"estimation": 3}, "estimation is 3")],
)
def test_bad_input_of_a_swap_is_told_before_weights_load(vlm: VLM, changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        KeySwap().check(replace(SWAP, **changes), vlm.reader)
