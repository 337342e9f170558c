"""Photoreal on a folder of pictures: from files to a report, resumed, and refused before weights load."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr
from PIL import Image
from rich.console import Console

from finst.errors import FinstError
from finst.experiments.interventions.photoreal.design import DRAWN, drawn, pictures_of, split_of
from finst.experiments.interventions.photoreal.experiment import Photoreal
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.experiments.interventions.protocol import Prepared
from finst.experiments.interventions.shown_pictures import reading_lines
from finst.runs.executor import run
from finst.runs.experiment import Unit
from finst.vlm.open import VLM, open_reader, open_vlm
from tests import tiny
from tests.experiments.interventions.small import STEER, maps_of

SPEC = replace(STEER, trials=4, trials_per_unit=2, ks=(1,), doses=(4.0,))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("photoreal-folder") / "tiny")


@pytest.fixture
def spec(model: Path, tmp_path: Path) -> PhotorealSpec:
    """Drawings in a folder, named by the rule."""
    return replace(SPEC, model=str(model), pictures=str(filed(tmp_path / "pictures")))


def filed(folder: Path, words: Mapping[str, str] | None = None) -> Path:
    folder.mkdir()
    for index, one in enumerate(drawn(16, seed=0)):
        (left, first), (right, second) = ([(words or {}).get(word, word) for word in thing] for thing in one.things)
        Image.fromarray(one.picture().image).save(folder / f"desk_{left}-{first}_{right}-{second}_{index}.png")
    return folder


class Stopped(Photoreal):
    """Interrupted in the last unit."""

    def measure(self, vlm: VLM, spec: PhotorealSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        if unit == self.plan(spec)[-1]:
            raise KeyboardInterrupt
        return super().measure(vlm, spec, unit, prepared)


def test_a_folder_is_measured_and_resumed(spec: PhotorealSpec, tmp_path: Path) -> None:
    vlm = open_vlm(spec.model, dtype="float64", device="cpu")
    maps, out, quiet = maps_of(vlm), tmp_path / "run", Console(file=io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        run(Stopped(), spec, out, console=quiet, vlm=vlm, inputs=maps)
    (kept,) = (out / "units").iterdir()
    written = kept.stat().st_mtime_ns
    done = run(Photoreal(), spec, out, console=quiet, vlm=vlm, inputs=maps)
    assert len(list((out / "units").iterdir())) == 2
    assert kept.stat().st_mtime_ns == written
    assert spec.pictures in done.report.read_text()
    assert (done.summary["estimated_from"].values.tolist(), int(done.summary["unmirrored"])) == ([spec.estimation], 0)
    assert done.summary.sizes["trial"] == spec.trials


def test_files_give_what_the_same_drawings_give(spec: PhotorealSpec) -> None:
    """Only the environment's name and the masks differ, and neither is looked at."""
    vlm = open_vlm(spec.model, dtype="float64", device="cpu")
    by_words = {picture.things: picture for picture in drawn(16, seed=0)}
    for trial in split_of(pictures_of(spec), spec).test:
        _, prompt, context = trial.encoded(vlm.reader, spec)
        same = replace(trial, two_things=by_words[trial.two_things.things])
        _, expected, drawing = same.encoded(vlm.reader, replace(spec, pictures=DRAWN))
        assert (prompt.prefill, prompt.answer) == (expected.prefill, expected.answer)
        assert all((context.image_inputs[name] == value).all() for name, value in drawing.image_inputs.items())


def test_what_cannot_be_shown_is_left_out_and_named_on_the_page(spec: PhotorealSpec, tmp_path: Path) -> None:
    """Damaged, a copy, and too thin for the model; mirrored pairs are made of the others."""
    split, folder = split_of(pictures_of(spec), spec), Path(spec.pictures)
    names = [f"{trial.two_things.name}.png" for trial in (split.test[0], *split.estimation[::2])]
    (folder / names[0]).write_bytes((folder / names[0]).read_bytes()[:200])
    Image.new("RGB", (4000, 12)).save(folder / names[1])
    shutil.copy(folder / names[2], folder / "desk_red-star_blue-heart_99.png")
    vlm = open_vlm(spec.model, dtype="float64", device="cpu")
    done = run(Photoreal(), spec, tmp_path / "run", console=Console(file=io.StringIO()), vlm=vlm, inputs=maps_of(vlm))
    said = "; ".join(reading_lines(done.summary))
    copies = sorted([names[2][:-4], "desk_red-star_blue-heart_99"])
    assert f"1 of 17 pictures are left out, as they cannot be shown: {names[0][:-4]} (it is damaged" in said
    assert f"1 of 17 pictures are left out, as they do not suit the model: {names[1][:-4]} (" in said
    assert f"left out, as they are copies of others, pixel by pixel: {copies[1]} (of {copies[0]})" in said
    assert names[0][:-4] in done.report.read_text()
    assert any(names[0][:-4] in sentence for sentence in Photoreal.report.findings(done.summary).sentences)


@pytest.mark.parametrize("part", ["test", "estimation"])
def test_too_few_whole_files_are_refused_by_name_before_weights_load(part: str, spec: PhotorealSpec) -> None:
    large = replace(spec, estimation=8, trials=8)
    split = split_of(pictures_of(large), large)
    file = Path(spec.pictures) / f"{getattr(split, part)[-1].two_things.name}.png"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(FinstError, match=r"expected at least 8|needs 4 pairs") as error:
        Photoreal().check(large, open_reader(spec.model))
    assert f"cannot be shown: {file.stem} (it is damaged" in str(error.value)


def test_words_without_tokens_are_refused_with_those_that_have_some(tmp_path: Path) -> None:
    pictures = filed(tmp_path / "pictures", {"red": "white", "star": "polar-bear", "circle": "camel"})
    foreign = replace(SPEC, model="organism", pictures=str(pictures))
    with pytest.raises(FinstError, match=r"shows camel, polar bear, white, and the tokenizer of organism") as error:
        Photoreal().check(foreign, open_reader("organism"))
    assert "--colours blue, brown, cyan, gray, green, orange, pink, purple, red, yellow and" in str(error.value)
    assert "triangle" in str(error.value)
