"""The order of naming: splits, what is written where, photographs, and a model in which the order is known."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from finst.analysis.mediation import STAGES
from finst.builtin.planted.mechanism import NAMES_SHAPE, SELECTS
from finst.builtin.planted.space import STREAM
from finst.engine.record import record
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.interventions.coco.experiment import Coco, edit_rows, run_photos, sets_of, sources_of
from finst.experiments.interventions.coco.first_pass import NamedThings, prompts_of
from finst.experiments.interventions.coco.report import SECOND
from finst.experiments.interventions.coco.spec import CocoSpec
from finst.experiments.interventions.heads import names_of
from finst.experiments.interventions.shown_pictures import reading_lines
from finst.prompts import begun_list
from finst.runs.archive import pack, unpack
from finst.runs.executor import run
from finst.scenes.designs import features
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid
from finst.vlm.encode import encode
from finst.vlm.open import VLM, open_vlm
from tests.experiments.interventions.small import assert_first_tokens, maps_of, measured
from tests.scenes.test_photos import write_coco

DRAWN = CocoSpec(pictures=8, ks=(1, 3), draws=1, splits=2, device="cpu")


@pytest.fixture(scope="module")
def vlm() -> VLM:
    return open_vlm("organism", device="cpu")


def test_half_of_the_pictures_are_sources_in_every_split():
    found = sources_of(replace(DRAWN, splits=3), 9)
    assert found.sum(axis=1).tolist() == [4, 4, 4]
    assert len(np.unique(found, axis=0)) == 3


def test_the_prompt_is_the_papers_or_the_one_that_the_organism_knows():
    assert begun_list(()).sentence == "In this image there is 1. a"
    assert begun_list(("dog", "cat"), "user_turn").user == "In this image there is 1. a dog 2. a cat 3. a"
    known = begun_list(("dog",), "prefill", "enumeration")
    assert known.prefill == "1. a dog 2. a"
    assert known.user.startswith("List all unique colored objects")
    assert prompts_of(DRAWN).wording == "enumeration"
    assert prompts_of(replace(DRAWN, photos="folder")).wording == "paper"
    with pytest.raises(FinstError, match="expected placement prefill"):
        begun_list((), "user_turn", "enumeration")


def test_means_are_of_each_splits_own_sources_and_written_as_slow_hooks_write_them(vlm: VLM):
    spec = replace(DRAWN, pictures=5, batch=2, naming_tokens=6)
    found, photos, sources = Coco().estimate(vlm, spec), run_photos(spec), sources_of(spec, 5)
    assert all(things.kept and things.listed for things in found.named)
    assert found.counts == (2, 2)
    for split, members in enumerate(sources):
        for slot, second in enumerate((False, True)):
            alone = []
            for index in np.flatnonzero(members).tolist():
                words = (found.named[index].first,) if second else ()
                prompt = begun_list(words, "prefill", "enumeration")
                alone.append(record(vlm, [encode(vlm.reader, photos[index].picture(), prompt)]).z[0, :, -1])
            torch.testing.assert_close(found.means[split, slot, :, 0], torch.stack(alone).mean(0), rtol=0, atol=1e-4)
    sets = sets_of(maps_of(vlm), spec)
    assert names_of(sets) == ["top", SECOND, "random 0", "layer-matched 0"]
    assert sets[0].sets == sets[1].sets
    context = prompts_of(spec).second(vlm.reader, photos[0].picture(), found.named[0].first)
    rows = edit_rows(sets, found, np.array([False, True]), context)
    assert rows.count == 1 + len(sets) * len(spec.ks)
    block = rows.blocks["z"]
    for row, slot in ((2, 0), (4, 1)):  # K = 3 of the strongest heads
        inside = block.row == row
        heads = list(zip(block.layer[inside].tolist(), block.head[inside].tolist(), strict=True))
        assert heads == list(sets[0].sets[1])
        expected = torch.stack([found.means[1, slot, layer, 0, head] for layer, head in heads])
        torch.testing.assert_close(block.value[torch.from_numpy(inside)], expected)
    assert not block.adds.any()
    assert set(block.pos.tolist()) == {context.tokens.last}
    assert_first_tokens(vlm, context, rows.take(np.array([0, 2, 4, 6])))


def test_photographs_with_annotations_and_a_damaged_one(vlm: VLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A model that names two things in every photograph, since none that is built in knows any."""
    folder = write_coco(tmp_path / "coco")
    Image.new("RGB", (4000, 12)).save(folder / "val2017/91.jpg")
    shutil.copy(folder / "val2017/2.jpg", folder / "val2017/92.jpg")
    for name in "678":
        turned = Image.open(folder / "val2017/2.jpg").rotate(int(name))
        turned.save(folder / "val2017" / f"{name}.jpg")
    file = folder / "annotations/instances_val2017.json"
    more = ', {"image_id": 1, "category_id": 2}'
    text = file.read_text().replace('"annotations": [', f'"annotations": [{more[2:]}, ')
    for name in ("6", "7", "8", "91", "92"):
        text = text.replace('"images": [', f'"images": [{{"id": {name}, "file_name": "{name}.jpg"}}, ')
        for category in (2, 3):
            text = text.replace(
                '"annotations": [', f'"annotations": [{{"image_id": {name}, "category_id": {category}}}, '
            )
    file.write_text(text)
    monkeypatch.setattr(
        "finst.experiments.interventions.coco.first_pass.things_of",
        lambda *_: NamedThings("", "wooden table with cups", "red circle", True),
    )
    spec = replace(DRAWN, photos=str(folder), px=256, tokens=2, naming_tokens=2, trials_per_unit=4, pictures=50)
    out, maps = tmp_path / "run", maps_of(vlm)
    first = run(Coco(), spec, out, console=Console(file=io.StringIO()), vlm=vlm, inputs=maps)
    summary = first.summary
    assert summary["picture"].values.tolist() == [f"{n}.jpg" for n in (1, 2, 3, 6, 7, 8, 91, 92)]
    assert summary["reason"].values.tolist() == ["", "", "unreadable", "", "", "", "unsuited", "copy"]
    assert summary["annotated"].values.tolist() == [1, 1, -1, 1, 1, 1, -1, -1]
    said = reading_lines(summary)
    assert said[0].startswith("1 of 8 pictures are left out, as they cannot be shown: 3.jpg (it is damaged")
    assert said[1].startswith("1 of 8 pictures are left out, as they do not suit the model: 91.jpg (a picture of ")
    assert said[2].endswith("92.jpg (of 2.jpg)")
    assert said[3] == "2 photographs are of fewer than two annotated categories"
    assert {*said} <= {*Coco.report.findings(summary).sentences}
    assert all(name in first.report.read_text() for name in ("91.jpg", "92.jpg"))
    (damaged,) = [text for text in Coco.report.findings(summary).sentences if "3.jpg" in text]
    assert damaged[1:] in first.report.read_text()
    assert any(text.endswith("in 100.0% of 5") for text in Coco.report.findings(summary).sentences)
    assert {path.stem for path in out.glob("figures/*.csv")} == {"coco", "coco-pictures"}
    units = sorted(out.glob("units/*"))
    assert len(units) == 2
    assert pack(measured(Coco(), vlm, spec, maps, Coco().plan(spec)[-1])) == pack(unpack(units[-1]))
    assert pack(Coco().summarise(spec, [unpack(unit) for unit in units])) == pack(unpack(out / "summary.zarr.zip"))


def test_a_model_that_names_nothing_is_refused_with_the_reasons(vlm: VLM):
    with pytest.raises(FinstError, match=r"split 1 has no source .* \(4 of 4 pictures left out: 4 no first thing\)"):
        Coco().estimate(vlm, replace(DRAWN, pictures=4, wording="paper", naming_tokens=1))


@pytest.fixture(scope="module")
def upper_first() -> VLM:
    """The planted model of absolute places; ID selection leans towards the upper third, and that names shapes alone.

    As planted, the sum of all IDs that it selects before anything is named prefers none of them; and of a name of two
    words it selects the object anew for the second one, which an edit at the prompt's last token does not reach.
    """
    vlm = open_vlm("planted-absolute", device="cpu")
    layer, head = SELECTS
    attention: Any = vlm.layers[layer].self_attn
    own = slice(head * vlm.d_head, (head + 1) * vlm.d_head)
    towards = torch.zeros(STREAM.width)
    towards[list(STREAM.dims("next place"))[:2]] = -0.4
    precedes, vocabulary = STREAM.dims("precedes"), vlm.reader.tokenizer.get_vocab()
    first: Any = vlm.layers[NAMES_SHAPE[0]].self_attn
    at = NAMES_SHAPE[1] * vlm.d_head
    with torch.no_grad():
        word: Any = vlm.model.get_input_embeddings().weight[vocabulary[" a"]]
        word[list(precedes)] = word[list(precedes)].roll(2)  # a shape comes after " a", not a colour
        first.o_proj.weight[:, at : at + vlm.d_head] *= 2  # a shape alone is found, as colour and shape together are
        attention.v_proj.bias[own] += torch.linalg.pinv(attention.o_proj.weight[:, own]) @ towards
    return vlm


def test_the_first_slots_selection_makes_a_model_with_an_order_repeat(upper_first: VLM, tmp_path: Path):
    """An upper and a lower object in the middle column: the output of one selection head decides everything."""
    rng = np.random.default_rng(0)
    for index in range(12):
        scene = on_grid(features(rng, 2, "high"), [(0, 1), (2, 1)], Grid(3, 3))
        Image.fromarray(draw(scene).image).save(tmp_path / f"{index:02} {scene.objects[0].shape}.png")
    mean = np.zeros((len(STAGES), upper_first.n_layers, upper_first.n_heads))
    mean[1][SELECTS] = 40
    maps = HeadMaps(upper_first.weights_hash, mean, mean > 1, noise=0.0)
    spec = CocoSpec("planted-absolute", photos=str(tmp_path), ks=(1, 2), splits=2, device="cpu", tokens=4)
    found = Coco().summarise(spec, [measured(Coco(), upper_first, spec, maps)])
    assert not any(found["reason"].values)
    assert not found["listed"].values.any()
    assert [name[3:-4] for name in found["picture"].values] == found["first"].values.tolist()
    assert SELECTS not in [head for sets in sets_of(maps, spec)[2:] for heads in sets.sets for head in heads]
    assert float(found["before"].max()) == 0
    assert float(found["after"].sel(set="top").min()) == 1
    assert float(found["after"].sel(set=[name for name in found["set"].values if name != "top"]).max()) == 0
    assert found["n"].sel(set="top", k=1, match="exact", group=["split 1", "split 2"]).values.tolist() == [6, 6]
    assert found["stays"].sel(k=1).values.tolist() == [0, 1, 1, 1, 1, 1]
    assert found["chosen_k"].values.tolist() == [1, 1]
    rows = Coco.report.effects(found)
    assert [(row.setting, row.before.value, row.after.value, row.control.share.value) for row in rows] == [
        ("K = 1", 0, 1, 0)
    ] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pictures": 3}, "pictures is 3"),
        ({"splits": 0}, "splits is 0"),
        ({"ks": (10_000,)}, "ks holds 10000: .* has 48 heads"),
        ({"photos": "no/where"}, "no/where is no folder: expected 'drawn'"),
        ({"placement": "user_turn"}, "expected placement prefill"),
    ],
)
def test_bad_input_is_refused_before_weights_load(vlm: VLM, changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        Coco().check(replace(DRAWN, **changes), vlm.reader)


def test_folders_without_enough_whole_pictures_are_refused(vlm: VLM, tmp_path: Path):
    spec = replace(DRAWN, photos=str(tmp_path))
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(b"no picture")
    with pytest.raises(FinstError, match="gives 0 pictures that can be shown: expected at least 4"):
        Coco().check(spec, vlm.reader)
    (tmp_path / "d.jpg").write_bytes(b"no picture")
    with pytest.raises(
        FinstError,
        match=r"gives 0 .*; 4 of 4 pictures are left out, .*: a\.jpg, b\.jpg, c\.jpg, d\.jpg \(it is in no",
    ):
        Coco().check(spec, vlm.reader)
