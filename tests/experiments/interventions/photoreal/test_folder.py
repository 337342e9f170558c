"""Photoreal on a folder of pictures: from files to a report, resumed, and refused before weights load."""

from __future__ import annotations

import io
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


@pytest.mark.parametrize("part", ["test", "estimation"])
def test_a_damaged_file_is_named_before_weights_load(part: str, spec: PhotorealSpec) -> None:
    split = split_of(pictures_of(spec), spec)
    file = Path(spec.pictures) / f"{getattr(split, part)[-1].two_things.name}.png"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(FinstError, match="cannot be read as a picture") as error:
        Photoreal().check(spec, open_reader(spec.model))
    assert str(file) in str(error.value)


def test_words_without_tokens_are_refused_with_those_that_have_some(tmp_path: Path) -> None:
    pictures = filed(tmp_path / "pictures", {"red": "white", "star": "polar-bear", "circle": "camel"})
    foreign = replace(SPEC, model="organism", pictures=str(pictures))
    with pytest.raises(FinstError, match=r"shows camel, polar bear, white, and the tokenizer of organism") as error:
        Photoreal().check(foreign, open_reader("organism"))
    assert "--colours blue, brown, cyan, gray, green, orange, pink, purple, red, yellow and" in str(error.value)
    assert "triangle" in str(error.value)
