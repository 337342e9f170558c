"""Folders of pictures of two things: renders stored here, files named by the rule, and damaged files."""

from __future__ import annotations

import colorsys
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finst import read_sided
from finst.errors import FinstError
from finst.scenes.renders.folder import NAMES, FiledSided, box, unread
from finst.scenes.side_by_side_pairs import TwoThingPicture
from tests.fuzz.made import TURNED

RENDERED = Path(__file__).with_name("rendered")
HUES = {"red": (-0.06, 0.06), "green": (0.25, 0.45)}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RENDERED, tmp_path / "copy"))


def named(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (10, 6), (200, 90, 10)).save(folder / name)
    return folder


def test_the_stored_renders_are_small() -> None:
    sizes = [file.stat().st_size for file in RENDERED.rglob("*") if file.is_file()]
    assert max(sizes) < 100_000
    assert sum(sizes) < 400_000


@pytest.mark.parametrize("filed", read_sided(RENDERED), ids=lambda filed: filed.name)
def test_renders_match_their_record(filed: FiledSided) -> None:
    pair: TwoThingPicture = filed
    picture = pair.picture()
    left, right = picture.scene.objects
    assert filed.exact_masks
    assert [(obj.colour, obj.shape) for obj in picture.scene.objects] == list(pair.things)
    assert [obj.cell for obj in picture.scene.objects] == [(0, 0), (0, 1)]
    assert left.box[2] <= right.box[0]
    entries = json.loads((RENDERED / "renders.json").read_text())["pictures"]
    boxes = {entry["name"]: entry["boxes"] for entry in entries}[filed.name]
    assert boxes == [list(left.box), list(right.box)]
    for obj, mask in zip(picture.scene.objects, picture.masks, strict=True):
        hue, lightness, saturation = colorsys.rgb_to_hls(*np.median(picture.image[mask], axis=0) / 255)
        if obj.colour == "white":
            assert lightness > 0.5
            assert saturation < 0.35
        else:
            low, high = HUES[obj.colour]
            assert low < (hue + 0.5) % 1 - 0.5 < high
            assert saturation > 0.4


def test_the_stored_renders_are_of_all_environments_and_kinds() -> None:
    pictures = read_sided(RENDERED)
    assert {picture.environment for picture in pictures} == {"beach", "salt desert", "museum"}
    assert {kind for picture in pictures for _, kind in picture.things} == {"camel", "dolphin", "elephant"}


def test_boxes_are_tight() -> None:
    mask = np.zeros((9, 7), dtype=bool)
    mask[2, 3] = mask[5, 4] = True
    assert box(mask) == (3, 2, 5, 6)


def test_files_named_by_the_rule(tmp_path: Path) -> None:
    folder = named(
        tmp_path / "pug",
        "salt_desert_red-polar-bear_white-dolphin_17.png",
        "beach_green-camel_red-camel_0.jpg",
        "salt-desert_red-elephant_green-dolphin_3.jpeg",
    )
    (folder / "notes.txt").write_text("not a picture")
    pictures = {picture.name: picture for picture in read_sided(folder)}
    bear = pictures["salt_desert_red-polar-bear_white-dolphin_17"]
    assert bear.environment == pictures["salt-desert_red-elephant_green-dolphin_3"].environment == "salt desert"
    assert bear.things == (("red", "polar bear"), ("white", "dolphin"))
    assert pictures["beach_green-camel_red-camel_0"].things == (("green", "camel"), ("red", "camel"))
    picture = bear.picture()
    assert not bear.exact_masks
    assert [obj.box for obj in picture.scene.objects] == [(0, 0, 5, 6), (5, 0, 10, 6)]
    assert (picture.masks.sum((1, 2)) == 30).all()
    assert not picture.masks.all(0).any()


@pytest.mark.parametrize(
    "name",
    ["beach_red-camel_0.png", "beach_red-camel_red-dolphin_0.png", "beach_redcamel_green-dolphin_0.png", "holiday.png"],
)
def test_other_names_are_refused_with_the_rule(name: str, tmp_path: Path) -> None:
    folder = named(tmp_path / "pug", "beach_green-camel_red-camel_0.png", name)
    with pytest.raises(FinstError) as error:
        read_sided(folder)
    assert name in str(error.value)
    assert NAMES in str(error.value)
    assert "1 of 2 pictures" in str(error.value)
    assert "beach_green-camel_red-camel_0.png" not in str(error.value)


def test_the_public_reproductions_names(tmp_path: Path) -> None:
    folder = named(
        tmp_path / "pug",
        "pug_red_camel_white_polar-bear_salt_desert_12.png",
        "pug_green_elephant_red_sea-lion_salt-desert_3.png",
        "pug_red-camel_white-dolphin_0.png",
    )
    pictures = {picture.name: picture for picture in read_sided(folder)}
    bear = pictures["pug_red_camel_white_polar-bear_salt_desert_12"]
    assert (bear.environment, bear.things) == ("salt desert", (("red", "camel"), ("white", "polar bear")))
    lion = pictures["pug_green_elephant_red_sea-lion_salt-desert_3"]
    assert (lion.environment, lion.things) == ("salt desert", (("green", "elephant"), ("red", "sea lion")))
    assert pictures["pug_red-camel_white-dolphin_0"].environment == "pug"
    named(folder, "pug_red_camel_red_dolphin_beach_1.png")
    with pytest.raises(FinstError, match=r"1 of 4 pictures .*pug_red_camel_red_dolphin_beach_1\.png.* or pug_\{"):
        read_sided(folder)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_and_masks_are_turned_upright(orientation: int, copy: Path) -> None:
    """Stored turned, with the EXIF data that turn it back: things stay under their masks."""
    filed = read_sided(copy)[0]
    before = filed.picture()
    back = {6: 8, 8: 6}.get(orientation, orientation)
    stored = TURNED[back - 1](before.image)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(filed.file, exif=exif)
    after = filed.picture()
    assert np.array_equal(after.image, before.image)
    assert np.array_equal(after.masks, before.masks)
    assert filed.mask_file is not None
    labels = TURNED[back - 1](before.masks[0] + 2 * before.masks[1])
    Image.fromarray(np.ascontiguousarray(labels.astype(np.uint8))).save(filed.mask_file, exif=exif)
    assert np.array_equal(filed.picture().masks, before.masks)


def test_linked_and_nested_folders_and_other_formats_are_read_and_masks_are_not(tmp_path: Path) -> None:
    folder = named(tmp_path / "set", "beach_red-camel_white-dolphin_0.png", "beach_red-camel_white-dolphin_0.jpg")
    named(folder / "masks", "beach_red-camel_white-dolphin_0.png")
    named(folder / "more", "beach_red-camel_green-dolphin_1.GIF")
    (folder / "linked").symlink_to(named(tmp_path / "out", "beach_white-camel_red-dolphin_2.jfif"))
    (folder / ".hidden_red-camel_white-dolphin_0.png").touch()
    assert [one.name for one in read_sided(folder)] == [
        "beach_red-camel_white-dolphin_0.jpg",
        "beach_red-camel_white-dolphin_0.png",
        "linked/beach_white-camel_red-dolphin_2",
        "more/beach_red-camel_green-dolphin_1",
    ]
    assert unread(folder) == ("1 hidden file is not read: .hidden_red-camel_white-dolphin_0.png",)


def test_masks_with_other_numbers_are_refused(copy: Path) -> None:
    filed = read_sided(copy)[0]
    assert filed.mask_file is not None
    labels = np.asarray(Image.open(filed.mask_file))
    Image.fromarray(labels * 127).save(filed.mask_file)
    with pytest.raises(FinstError, match=r"holds 127, 254: expected 0 \(neither thing\), 1 .* and 2"):
        filed.picture()


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FinstError, match="there is no folder"):
        read_sided(tmp_path / "none")
    with pytest.raises(FinstError, match="there are no pictures"):
        read_sided(tmp_path)


def test_an_unfinished_set_is_refused_with_the_way_to_resume(copy: Path) -> None:
    gone = read_sided(copy)[2]
    gone.file.unlink()
    with pytest.raises(FinstError, match=rf"1 of \d+ pictures .*{gone.name}.*again, which resumes"):
        read_sided(copy)


@pytest.mark.parametrize("content", ["", "{}", '{"pictures": [{"name": "x"}]}', '{"pictures": [1]}', "[]"])
def test_a_damaged_record_is_named(content: str, copy: Path) -> None:
    (copy / "renders.json").write_text(content)
    with pytest.raises(FinstError, match=r"renders\.json is damaged"):
        read_sided(copy)


@pytest.mark.parametrize("part", ["file", "mask_file"])
def test_damaged_files_are_named(part: str, copy: Path) -> None:
    picture = read_sided(copy)[0]
    file: Path = getattr(picture, part)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FinstError, match="cannot be read as a picture") as error:
        picture.picture()
    assert str(file) in str(error.value)


def test_pictures_without_two_things_and_masks_of_other_sizes_are_refused(copy: Path) -> None:
    picture = read_sided(copy)[0]
    assert picture.mask_file is not None
    labels = np.asarray(Image.open(picture.mask_file))
    Image.fromarray(np.where(labels == 2, 0, labels).astype(np.uint8)).save(picture.mask_file)
    with pytest.raises(FinstError, match="shows no right thing"):
        picture.picture()
    Image.fromarray(labels[:-1]).save(picture.mask_file)
    with pytest.raises(FinstError, match="same size"):
        picture.picture()
