"""COCO's JSON of other tools: encodings, names of files, what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finst.errors import FinstError
from finst.scenes.coco_annotations import matched, read_categories

DATA: dict[str, Any] = {
    "info": {},
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog", "supercategory": "animal"}],
    "images": [{"id": 7, "file_name": "a.png", "width": 4}, {"id": 8, "file_name": "b.png"}],
    "annotations": [
        {"image_id": 7, "category_id": 2, "iscrowd": 1, "segmentation": {"counts": "RLE", "size": [4, 4]}},
        {"image_id": 7, "category_id": 1, "bbox": [-5, -5, 1e9, 1e9], "segmentation": [[0, 0, 1, 1]]},
    ],
}
FOUND = {"a.png": ("cat", "dog"), "b.png": ()}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_any_encoding_of_unicode_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(DATA), encoding=encoding)
    assert read_categories(file) == FOUND


def test_ids_may_be_words_or_whole_floats(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    text = (
        json.dumps(DATA).replace('"image_id": 7', '"image_id": 7.0').replace('"category_id": 2', '"category_id": 2.0')
    )
    file.write_text(text)
    assert read_categories(file) == FOUND


def without(key: str, field: str | None = None, value: Any = None) -> Any:
    data = json.loads(json.dumps(DATA))
    if field is None:
        del data[key]
    elif value is None:
        del data[key][0][field]
    else:
        data[key][0][field] = value
    return data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "it holds a list"),
        ("text", "it holds a str"),
        (without("images"), "its 'images' are missing"),
        ({**DATA, "categories": {}}, "its 'categories' are a dict"),
        ({**DATA, "annotations": None}, "its 'annotations' are a NoneType"),
        ({**DATA, "images": [3]}, r"images\[0\] has no id that is a number or a word"),
        (without("images", "file_name"), r"images\[0\] has no file_name"),
        (without("categories", "name"), r"categories\[0\] has no name"),
        (without("annotations", "image_id", [7]), r"annotations\[0\] has no image_id that is a number or a word"),
        (without("annotations", "image_id", "7"), r"annotations\[0\] has the image_id '7', which is nowhere else"),
        (without("annotations", "category_id", 99), r"annotations\[0\] has the category_id 99, which is nowhere else"),
        (without("images", "id", 8), "two of its images have the id 8"),
        (without("categories", "id", 2), "two of its categories have the id 2"),
    ],
)
def test_the_true_reason_of_a_refusal(tmp_path: Path, data: Any, reason: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(data))
    with pytest.raises(FinstError, match=rf"x\.json is not COCO's JSON of instances: expected .*, but {reason}"):
        read_categories(file)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 200_000])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(FinstError, match="but it is no JSON"):
        read_categories(file)
    with pytest.raises(FinstError, match="cannot be read"):
        read_categories(tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("val2017/a.png", "a.png"),
        ("/data/coco/val2017/a.png", "a.png"),
        ("sub\\a.png", "sub/a.png"),
        ("sub//a.png", "sub/a.png"),
        ("val2017\\sub\\a.png", "sub/a.png"),
        ("https://images.cocodataset.org/val2017/a.png", "a.png"),
        ("A.PNG", "a.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
    ],
)
def test_names_of_other_tools_find_their_files(name: str, file: str) -> None:
    assert matched([file, "z.png"], {name: ("cat",), "y.png": ()}, "val2017") == {file: ("cat",)}


def test_names_are_never_guessed() -> None:
    two = {"train2017/a.png": ("cat",), "val2017/a.png": ("dog",)}
    assert matched(["a.png"], two, "val2017") == {"a.png": ("dog",)}
    assert matched(["x/a.png", "y/a.png"], {"a.png": ("cat",)}, "val2017") == {}
    assert matched(["a.png"], {"1/a.png": ("cat",), "2/a.png": ("dog",)}, "val2017") == {}
    assert matched(["a.png"], {"a.png": ("cat",), "./a.png": ("dog",)}, "val2017") == {"a.png": ("cat", "dog")}
