"""Folders of photographs: which files are read, rotation and scaling, and annotations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from finst.errors import FinstError
from finst.scenes.photos import DRAWN, drawn_photos, photo_set, photos_of, read_photos

SAMPLES = Path(skimage.__file__).parent / "data"
"""Photographs that come with scikit-image itself."""


def write_coco(folder: Path) -> Path:
    """COCO's layout: photographs of which one is damaged, one has a single category, and one has no annotations."""
    pictures = folder / "val2017"
    pictures.mkdir(parents=True)
    for name, sample in {
        "1.jpg": "astronaut.png",
        "2.jpg": "coffee.png",
        "4.jpg": "rocket.jpg",
        "5.jpg": "chelsea.png",
    }.items():
        Image.open(SAMPLES / sample).convert("RGB").save(pictures / name)
    (pictures / "3.jpg").write_bytes((pictures / "1.jpg").read_bytes()[:2000])
    names = {1: "person", 2: "cup", 3: "dining table", 17: "cat"}
    there = {1: [1, 1, 3], 2: [2, 3], 3: [1, 2], 4: [1, 1]}
    data = {
        "categories": [{"id": key, "name": name} for key, name in names.items()],
        "images": [{"id": key, "file_name": f"{key}.jpg"} for key in (1, 2, 3, 4, 5)],
        "annotations": [
            {"image_id": key, "category_id": category} for key, every in there.items() for category in every
        ],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_val2017.json").write_text(json.dumps(data))
    return folder


def test_photographs_of_any_folder_are_taken_by_name(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    for name in ("b.PNG", "deep/a.webp"):
        Image.open(SAMPLES / "coffee.png").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photograph")
    (tmp_path / "._b.png").write_bytes(b"a copy's shadow")
    photos = read_photos(tmp_path, 100)
    assert [(photo.name, photo.categories) for photo in photos] == [("b.PNG", None), ("deep/a.webp", None)]
    picture = photos[0].picture()
    assert picture.image.shape == (67, 100, 3)  # of 400x600
    assert (picture.scene.width, picture.scene.height, picture.scene.objects) == (100, 67, ())
    assert picture.masks.shape == (0, 67, 100)


def test_pictures_are_turned_as_their_camera_was_and_never_enlarged(tmp_path: Path):
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, :20] = 255
    turned = Image.Exif()
    turned[0x0112] = 6  # the top is on the right
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=turned)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "y.png")
    x, y = (photo.picture().image for photo in read_photos(tmp_path, 448))
    assert x.shape == (40, 20, 3)
    assert (x[:20].min(), x[20:].max()) == (255, 0)
    assert (y == pixels).all()


def test_annotated_photographs_have_two_categories_or_more(tmp_path: Path):
    photos = read_photos(write_coco(tmp_path), 64)
    assert [(photo.name, photo.categories) for photo in photos] == [
        ("1.jpg", ("dining table", "person")),
        ("2.jpg", ("cup", "dining table")),
        ("3.jpg", ("cup", "person")),
    ]
    assert photos[1].picture().image.shape[1] == 64
    with pytest.raises(FinstError, match=r"^3\.jpg cannot be read as a picture: it is damaged"):
        photos[2].picture()
    assert [photo.name for photo in read_photos(tmp_path / "val2017", 64)] == [f"{key}.jpg" for key in range(1, 6)]


@pytest.mark.parametrize("text", ["[]", "{", '{"categories": [{}], "images": [], "annotations": []}'])
def test_annotations_of_another_kind_are_refused(tmp_path: Path, text: str):
    write_coco(tmp_path)
    (tmp_path / "annotations/instances_val2017.json").write_text(text)
    with pytest.raises(FinstError, match=r"instances_val2017.json is not COCO's JSON of instances: expected"):
        read_photos(tmp_path, 64)


@pytest.mark.parametrize("prefix", ["./", "val2017/", "/data/val2017/", "val2017\\\\"])
def test_annotations_of_other_tools_find_their_photographs(tmp_path: Path, prefix: str):
    write_coco(tmp_path)
    file = tmp_path / "annotations/instances_val2017.json"
    text = file.read_text().replace('"file_name": "', f'"file_name": "{prefix}')
    file.write_text(text, encoding="utf-8-sig")
    found = photo_set(str(tmp_path), 9, 64, 0)
    assert [photo.name for photo in found.photos] == ["1.jpg", "2.jpg", "3.jpg"]
    assert found.notes == ("2 photographs are of fewer than two annotated categories",)


def test_annotations_of_other_photographs_are_refused_with_the_reason(tmp_path: Path):
    write_coco(tmp_path)
    file = tmp_path / "annotations/instances_val2017.json"
    file.write_text(file.read_text().replace(".jpg", ".other"))
    with pytest.raises(FinstError, match=r"none of the 5 .* 0 have fewer, and 5 are not named there, such as '.\.jpg'"):
        read_photos(tmp_path, 64)


def test_photographs_are_shown_as_a_person_sees_them_and_say_what_was_done(tmp_path: Path):
    hidden = np.zeros((64, 64, 4), np.uint8)
    hidden[16:48, 16:48] = (0, 0, 0, 255)
    Image.fromarray(hidden).save(tmp_path / "a.png")
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(64, 0)
    Image.fromarray(ramp).save(tmp_path / "b.tif")
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "c.gif", save_all=True, append_images=frames[1:])
    a, b, c = (photo.picture() for photo in read_photos(tmp_path, 448))
    assert (a.image[0, 0].tolist(), a.image[30, 30].tolist()) == ([255] * 3, [0] * 3)
    assert len(np.unique(b.image)) == 256
    assert (a.notes, b.notes, c.notes) == (("transparent parts are white",), (), ("frame 1 of 2",))


def test_linked_photographs_are_read_and_the_rest_is_said(tmp_path: Path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
    (inside / "linked").symlink_to(outside)
    for index in range(6):
        Image.new("RGB", (9, 9)).save(inside / f"{index}.png")
    for index in range(16):
        Image.new("RGB", (9, 9)).save(outside / f"{index}.GIF")
    (inside / ".x.png").touch()
    (inside / "notes.txt").touch()
    found = photo_set(str(inside), 99, 64, 0)
    assert len(found.photos) == 22
    assert found.notes == ("1 hidden file is not read: .x.png", "1 other file is not read (1 .txt)")


def test_what_is_no_folder_of_photographs_is_refused(tmp_path: Path):
    with pytest.raises(FinstError, match="is no folder: expected 'drawn', a folder of photographs"):
        read_photos(tmp_path / "nowhere", 64)
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(FinstError, match=r"holds no photographs: expected files that end with \.jpg"):
        read_photos(tmp_path, 64)


def test_pictures_are_drawn_by_seed_in_the_order_of_names(tmp_path: Path):
    for name in range(9):
        (tmp_path / f"{name}.png").touch()
    drawn = {seed: [photo.name for photo in photos_of(str(tmp_path), 4, 64, seed)] for seed in range(5)}
    assert drawn[0] == sorted(drawn[0])
    assert drawn[0] == [photo.name for photo in photos_of(str(tmp_path), 4, 64, 0)]
    assert len(set(map(tuple, drawn.values()))) > 1
    assert len(photos_of(str(tmp_path), 100, 64, 0)) == 9


def test_drawn_scenes_know_what_is_there():
    photos = drawn_photos(12, 0)
    assert {len(photo.categories) for photo in photos} == {2, 3, 4}
    assert photos_of(DRAWN, 12, 64, 0) == photos
    assert drawn_photos(12, 1) != photos
    for photo in photos:
        assert len({name.split()[1] for name in photo.categories}) == len(photo.categories)
        assert len(photo.picture().masks) == len(photo.categories)
