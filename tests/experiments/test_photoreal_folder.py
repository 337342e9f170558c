"""Photoreal on a folder of pictures: from files to a report, taken up again, and refused before weights load."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from finst.commands import told_page
from finst.errors import FinstError
from finst.experiments.photoreal import Photoreal
from finst.experiments.photoreal_design import DRAWN, PhotorealSpec, drawn, sided_of, split_of
from finst.runs.archive import unpack
from finst.runs.executor import run
from finst.vlm.open import open_reader, open_vlm
from tests import tiny
from tests.experiments.test_interventions import STEER, maps_of

SPEC = replace(STEER, trials=8, trials_per_unit=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("photoreal-folder") / "tiny")


@pytest.fixture
def spec(model: Path, tmp_path: Path) -> PhotorealSpec:
    """Drawings in a folder, called by the rule."""
    return replace(SPEC, model=str(model), pictures=str(filed(tmp_path / "pictures")))


def filed(folder: Path, words: Mapping[str, str] | None = None) -> Path:
    folder.mkdir()
    for index, one in enumerate(drawn(16, seed=0)):
        (left, first), (right, second) = ([(words or {}).get(word, word) for word in thing] for thing in one.things)
        Image.fromarray(one.picture().image).save(folder / f"desk_{left}-{first}_{right}-{second}_{index}.png")
    return folder


def test_a_folder_is_measured_and_taken_up_again(spec: PhotorealSpec, tmp_path: Path) -> None:
    vlm = open_vlm(spec.model, dtype="float64", device="cpu")
    experiment = Photoreal(maps_of(vlm))

    def go() -> bytes:
        done = run(experiment, spec, tmp_path / "run", told_page(experiment), console=Console(file=io.StringIO()))
        assert spec.pictures in done.report.read_text()
        return (done.folder / "summary.zarr.zip").read_bytes()

    whole = go()
    first, last = sorted((tmp_path / "run" / "units").iterdir())
    kept = first.stat().st_mtime_ns
    last.unlink()
    assert go() == whole
    assert (first.stat().st_mtime_ns, last.exists()) == (kept, True)
    summary = unpack(tmp_path / "run" / "summary.zarr.zip")
    assert (int(summary["estimated_from"]), int(summary["unmirrored"])) == (spec.estimation, 0)
    assert summary.sizes["trial"] == spec.trials


def test_files_give_what_the_same_drawings_give(spec: PhotorealSpec) -> None:
    """Only the environment's name and the masks differ, and neither is looked at."""
    vlm = open_vlm(spec.model, dtype="float64", device="cpu")
    asked = split_of(sided_of(spec), spec).test
    by_words = {one.things: one for one in drawn(16, seed=0)}
    for question in asked:
        _, prompt, context = question.seen(vlm.reader, spec)
        same = replace(question, sided=by_words[question.sided.things])
        _, expected, drawing = same.seen(vlm.reader, replace(spec, pictures=DRAWN))
        assert (prompt.prefill, prompt.answer) == (expected.prefill, expected.answer)
        assert all((context.image_inputs[name] == value).all() for name, value in drawing.image_inputs.items())


@pytest.mark.parametrize("part", ["test", "estimation"])
def test_a_damaged_file_is_named_before_weights_load(part: str, spec: PhotorealSpec) -> None:
    split = split_of(sided_of(spec), spec)
    file = Path(spec.pictures) / f"{getattr(split, part)[-1].sided.name}.png"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(FinstError, match="cannot be read as a picture") as error:
        Photoreal().check(spec, open_reader(spec.model))
    assert str(file) in str(error.value)


def test_words_that_the_model_cannot_say_are_refused_with_those_that_it_can(tmp_path: Path) -> None:
    pictures = filed(tmp_path / "pictures", {"red": "white", "star": "polar-bear", "circle": "camel"})
    asked = replace(SPEC, model="organism", pictures=str(pictures))
    with pytest.raises(FinstError, match=r"shows camel, polar bear, white, and the tokenizer of organism") as error:
        Photoreal().check(asked, open_reader("organism"))
    assert "--colours black, blue" in str(error.value) or "--colours blue" in str(error.value)
    assert "triangle" in str(error.value)
