"""COCO's JSON of instances: the categories in each picture, whoever wrote the file."""

from __future__ import annotations

import json
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from finst.errors import FinstError

FIELDS = {"categories": ("id", "name"), "images": ("id", "file_name"), "annotations": ("image_id", "category_id")}
"""What is read of each list; segmentations (polygons, RLE, crowds) and boxes are not."""


def read_categories(annotations: Path) -> Mapping[str, tuple[str, ...]]:
    """Names of the categories in every picture, by the picture's file name; empty for one without annotations.

    Any encoding of Unicode is read, with a byte order mark or without. Raises FinstError with the reason for a file
    that cannot be read, is no JSON, lacks a list or a field, or names a picture or a category that it does not have.
    """
    data = _json(annotations)
    try:
        lists = {key: _entries(data, key) for key in FIELDS}
        names = _by_id(lists["categories"], "categories", "name")
        files = _by_id(lists["images"], "images", "file_name")
        by_file: defaultdict[str, set[str]] = defaultdict(set)
        for file in files.values():
            by_file[file] |= set()
        for place, instance in enumerate(lists["annotations"]):
            for field, known in (("image_id", files), ("category_id", names)):
                if instance[field] not in known:
                    raise ValueError(f"annotations[{place}] has the {field} {instance[field]!r}, which is nowhere else")
            by_file[files[instance["image_id"]]].add(names[instance["category_id"]])
    except ValueError as cause:
        raise _refusal(annotations, str(cause)) from cause
    return {file: tuple(sorted(categories)) for file, categories in by_file.items()}


def _refusal(annotations: Path, reason: str) -> FinstError:
    return FinstError(
        f"{annotations} is not COCO's JSON of instances: expected categories, images and annotations that name each "
        f"other, but {reason}"
    )


def _json(annotations: Path) -> Any:
    try:
        return json.loads(annotations.read_bytes())
    except OSError as cause:
        raise FinstError(
            f"{annotations} cannot be read ({cause.strerror}): expected COCO's JSON of instances"
        ) from cause
    except (ValueError, RecursionError) as cause:
        raise _refusal(annotations, f"it is no JSON ({cause})") from cause


def _entries(data: Any, key: str) -> list[dict[str, Any]]:
    """One of the lists, in which every entry has the fields that are read. Raises ValueError with the reason."""
    if not isinstance(data, dict):
        raise ValueError(f"it holds a {type(data).__name__}")
    entries = data.get(key)
    if not isinstance(entries, list):
        raise ValueError(f"its {key!r} are {'missing' if key not in data else f'a {type(entries).__name__}'}")
    for place, entry in enumerate(entries):
        for field in FIELDS[key]:
            value = entry.get(field) if isinstance(entry, dict) else None
            whole = isinstance(value, float) and value.is_integer()
            if not isinstance(value, str | int) and not whole:
                raise ValueError(f"{key}[{place}] has no {field} that is a number or a word")
    return entries


def _by_id(entries: Iterable[Mapping[str, Any]], key: str, field: str) -> dict[Any, str]:
    """A field of every entry by the entry's id. Raises ValueError for one id of two."""
    named: dict[Any, str] = {}
    for entry in entries:
        if named.setdefault(entry["id"], str(entry[field])) != str(entry[field]):
            raise ValueError(f"two of its {key} have the id {entry['id']!r}")
    return named


def matched(
    files: Iterable[str], categories: Mapping[str, tuple[str, ...]], folder: str
) -> Mapping[str, tuple[str, ...]]:
    """The categories of those ``files`` (paths within ``folder``) that are annotated.

    Other tools write ``./a.png``, ``val2017/a.png``, ``sub\\\\a.png`` or whole paths. A name belongs to the file of
    that path, within the folder or from the folder on; otherwise to the only file of that last part, if no other name
    ends with it.
    """
    annotated: dict[str, tuple[str, ...]] = {}
    for name, there in categories.items():
        annotated[_path(name)] = tuple(sorted({*annotated.get(_path(name), ()), *there}))
    last_parts = Counter(_last(name) for name in annotated)
    by_path = {_path(name): name for name in files}
    by_last = Counter(_last(path) for path in by_path)
    unique = {_last(path): path for path in annotated}
    found: dict[str, tuple[str, ...]] = {}
    for path, name in by_path.items():
        last = _last(path)
        exact = next((way for way in (path, f"{folder}/{path}") if way in annotated), None)
        if exact is None and last_parts[last] == 1 and by_last[last] == 1:
            exact = unique[last]
        if exact is not None:
            found[name] = annotated[exact]
    return found


def _path(name: str) -> str:
    """A path with slashes, without ``.`` and doubled slashes, in one spelling of composed characters."""
    return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/"))).lstrip("/")


def _last(path: str) -> str:
    return posixpath.basename(path).casefold()
