"""The record of a run: what changes while it is measured, and files that are no record."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from finst.errors import FinstError
from finst.runs.manifest import FORMAT, OLDER, Manifest, ModelRecord, Session
from finst.runs.spec import to_json

SESSION = Session("2026-01-01T00:00:00+00:00", "0.1.0", None, {"torch": "2.13.0"}, {"gpu": "none"})
MODEL = ModelRecord("organism", None, "f" * 64, "float32", "cpu")
MANIFEST = Manifest(FORMAT, "cma", {"model": "organism", "alpha": 0.05}, 0, MODEL, 2, (SESSION, SESSION))


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path / "manifest.json")
    assert Manifest.read(tmp_path / "manifest.json") == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_unit_adds_its_time_and_the_memory_of_the_last_session() -> None:
    measured = MANIFEST.measured("00001", 1.23456, 1 << 20)
    assert measured.unit_seconds == {"00001": 1.235}
    assert [session.peak_memory for session in measured.sessions] == [None, 1 << 20]
    assert MANIFEST.unit_seconds == {}


def test_of_several_workers_the_largest_peak_is_kept() -> None:
    peaks = [MANIFEST.measured("00000", 1.0, 5).measured("00001", 1.0, peak).sessions[-1].peak_memory
             for peak in (3, 7, None)]  # fmt: skip
    assert peaks == [5, 7, 5]


def test_the_first_end_of_a_run_stays() -> None:
    done = MANIFEST.done("2026-01-01T01:00:00+00:00")
    assert (done.status, done.finished) == ("finished", "2026-01-01T01:00:00+00:00")
    assert done.done("2026-02-02T00:00:00+00:00") == done


@pytest.mark.parametrize("version", [*OLDER, FORMAT])
def test_older_formats_are_read(tmp_path: Path, version: int) -> None:
    record = {**to_json(MANIFEST), "format": version}
    for session in record["sessions"]:
        for field in ("executor", "workers") if version < 4 else ():
            del session[field]
    checksum = {"checksum": sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()} if version > 2 else {}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**record, **checksum}))
    assert Manifest.read(path) == MANIFEST


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    MANIFEST.write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT + 1}))
    with pytest.raises(FinstError, match=f"expected format {FORMAT}, found {FORMAT + 1}"):
        Manifest.read(path)
    with pytest.raises(FinstError, match="which a newer finst wrote: update finst"):
        Manifest.read(path)


def changed(path: Path, **fields: Any) -> None:
    MANIFEST.write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("version", [True, 1.0, "3", None, [], -1, 0])
def test_formats_that_are_no_number_of_a_format_are_refused(tmp_path: Path, version: object) -> None:
    path = tmp_path / "manifest.json"
    changed(path, format=version)
    with pytest.raises(FinstError, match="is not a manifest of this finst"):
        Manifest.read(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"units": 7},
        {"seed": 3},
        {"spec": {"model": "organism"}},
        {"status": "finished"},
        {"unit_seconds": {"00000": 1.0}},
        {"checksum": "0" * 64},
        {"checksum": None},
    ],
)
def test_a_manifest_that_was_changed_afterwards_is_named(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = tmp_path / "manifest.json"
    changed(path, **fields)
    with pytest.raises(FinstError, match=r"manifest\.json is damaged \(it was changed after finst wrote it"):
        Manifest.read(path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"units": "two"}, "Manifest.units: expected int, not 'two'"),
        ({"units": None}, "Manifest.units: expected int, not None"),
        ({"sessions": {}}, "Manifest.sessions: expected a list"),
        ({"model": []}, "Manifest.model: expected an object"),
        ({"status": "done"}, "Manifest.status 'done'"),
        ({"unit_seconds": {"00000": "1"}}, "00000: expected float"),
        ({"extra": 1}, "unknown field of Manifest 'extra'"),
    ],
)
def test_fields_of_wrong_types_are_named(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    path = tmp_path / "manifest.json"
    changed(path, **fields)
    with pytest.raises(FinstError, match=words):
        Manifest.read(path)


def test_what_is_no_text_or_no_file_or_too_deep_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    for content in (b"\xff\xfe", b"[" * 100_000, b'{"format": ' + b"9" * 5000 + b"}"):
        path.write_bytes(content)
        with pytest.raises(FinstError, match="is damaged"):
            Manifest.read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(FinstError, match=r"cannot read .*manifest\.json"):
        Manifest.read(path)
