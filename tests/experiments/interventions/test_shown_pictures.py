"""Pictures that a model is shown: whole, suitable, once; and what is said about the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from finst.errors import FinstError
from finst.experiments.interventions.coco.first_pass import prompts_of, suits
from finst.experiments.interventions.coco.spec import CocoSpec
from finst.experiments.interventions.shown_pictures import lines_of, once_a_size, reading_lines, sifted
from finst.prompts import Prompt
from finst.scenes.object import Picture, Scene
from finst.scenes.photos import read_photos
from finst.vlm.encode import encode
from finst.vlm.open import open_reader
from tests.tiny import FAMILIES, checkpoint


def noise(seed: int, width: int = 60, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


def blank(width: int, height: int) -> Picture:
    return Picture(Scene(width, height, ()), np.zeros((height, width, 3), np.uint8), np.zeros((0, height, width), bool))


def test_the_same_picture_sixteen_times_is_shown_once_and_said(tmp_path: Path) -> None:
    for index in range(16):
        noise(0).save(tmp_path / f"{index:02}.{('png', 'bmp', 'tif')[index % 3]}")
    noise(1).save(tmp_path / "other.png")
    found = list(sifted(read_photos(tmp_path, 448), lambda _: None))
    assert [one.name for one in found if one.reason is None] == ["00.png", "other.png"]
    (line,) = lines_of(found)
    assert line.startswith(
        "15 of 17 pictures are left out, as they are copies of others, pixel by pixel: 01.bmp, 02.tif"
    )
    assert line.endswith("15.png (of 00.png)")


def test_every_reason_is_said_with_names(tmp_path: Path) -> None:
    for index in range(4):
        noise(index).save(tmp_path / f"good{index}.png")
    noise(9, 4000, 12).save(tmp_path / "thin.png")
    noise(9, 1, 1).save(tmp_path / "dot.png")
    noise(0).save(tmp_path / "same.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "phone.heic").write_bytes(b"heic")
    noise(5).convert("RGBA").save(tmp_path / "clear.png")
    with Image.open(tmp_path / "clear.png") as image:
        image.putalpha(9)
        image.save(tmp_path / "clear.png")
    reader = open_reader(str(checkpoint(tmp_path / "model", FAMILIES["llava"])))
    found = list(sifted(read_photos(tmp_path, 448), suits(reader, prompts_of(CocoSpec("m", photos="folder")))))
    lines = lines_of(found, ("1 other file is not read (1 .txt)",))
    assert [one.name for one in found if one.reason is None] == ["clear.png", *(f"good{n}.png" for n in range(4))]
    assert lines[0].startswith(
        "2 of 10 pictures are left out, as they cannot be shown: empty.jpg (the file is empty); "
    )
    assert "phone.heic (it is in no format that is read)" in lines[0]
    assert lines[1].startswith(
        "2 of 10 pictures are left out, as they do not suit the model: dot.png (a picture of 1x1 px"
    )
    assert "thin.png (a picture of 448x2 px does not suit LLaVA-1.5)" in lines[1]
    assert lines[2:] == (
        "1 of 10 pictures are left out, as they are copies of others, pixel by pixel: same.png (of good0.png)",
        "1 picture is shown so: transparent parts are white (clear.png)",
        "1 other file is not read (1 .txt)",
    )


def test_a_size_is_judged_once() -> None:
    sizes = []

    def check(picture: Picture) -> None:
        sizes.append(picture.scene.width)
        if picture.scene.width > 5:
            raise FinstError("too wide: expected less")

    judged = once_a_size(check)
    for width in (3, 9, 3, 9):
        if width > 5:
            with pytest.raises(FinstError, match="too wide"):
                judged(blank(width, 4))
        else:
            judged(blank(width, 4))
    assert sizes == [3, 9]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_of_any_size_suits_a_family_or_is_refused(family: str, tmp_path: Path) -> None:
    reader = open_reader(str(checkpoint(tmp_path / "model", FAMILIES[family])))
    for size in ((1, 1), (448, 1), (1, 448), (2, 300), (4000, 12), (30, 29)):
        fault = ""
        try:
            encode(reader, blank(*size), Prompt("What is this?", (), "user_turn", ""))
        except FinstError as error:
            fault = str(error)
        assert not fault or f"a picture of {size[0]}x{size[1]} px does not suit" in fault


def test_runs_made_before_say_nothing() -> None:
    assert reading_lines(xr.Dataset()) == ()
    assert reading_lines(xr.Dataset({"reading": ((), "a\nb")})) == ("a", "b")
    assert reading_lines(xr.Dataset({"reading": ((), "")})) == ()
