"""Run folders: new, resumed, or refused with nothing changed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from finst.errors import FinstError
from finst.runs.finished import finished_run
from finst.runs.manifest import FORMAT, Manifest, ModelRecord, Session
from finst.runs.readme import readme
from finst.runs.store import RunFolder
from tests.runs.old_runs import unpacked

SPEC: dict[str, Any] = {"model": "organism", "pairs": 3, "seed": 7}
MODEL = ModelRecord("organism", None, "f" * 64, "float32", "cpu")
SESSION = Session("2026-01-01T00:00:00+00:00", "0.1.0", None, {"torch": "2.13.0"}, {"gpu": "none"})
DATA = xr.Dataset({"scores": ("layer", np.arange(3.0))})


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def begun(path: Path) -> RunFolder:
    folder = RunFolder.claim(path, "cma", SPEC)
    with folder.held():
        folder.begin(MODEL, 2, SESSION)
    return folder


def test_a_claim_writes_nothing(tmp_path: Path) -> None:
    RunFolder.claim(tmp_path / "new", "cma", SPEC)
    assert not (tmp_path / "new").exists()


def test_a_run_from_beginning_to_end(tmp_path: Path) -> None:
    folder = begun(tmp_path / "deep" / "run")
    assert not folder.has_unit(0)
    folder.write_unit(0, DATA, 1.23456, None)
    assert folder.has_unit(0)
    xr.testing.assert_identical(folder.read_unit(0), DATA)
    folder.write_summary(DATA)
    folder.write_figure("map", b"png", b"pdf", "layer,head\n")
    folder.write_report("<html>")
    assert folder.manifest.status == "running"
    folder.finish(folder.manifest.done("2026-01-01T00:01:00+00:00"))
    found = folder.manifest
    assert (found.status, found.finished) == ("finished", "2026-01-01T00:01:00+00:00")
    assert found.unit_seconds == {"00000": 1.235}
    assert (found.spec, found.seed, found.model, found.units) == (SPEC, 7, MODEL, 2)
    assert sorted(contents(folder.path)) == [
        "README.md",
        "figures/map.csv",
        "figures/map.pdf",
        "figures/map.png",
        "manifest.json",
        "report.html",
        "summary.zarr.zip",
        "units/00000.zarr.zip",
    ]


def test_the_same_run_is_resumed_and_keeps_its_sessions(tmp_path: Path) -> None:
    begun(tmp_path).write_unit(0, DATA, 1.0, 1 << 20)
    later = replace(SESSION, started="2026-01-02T00:00:00+00:00")
    folder = RunFolder.claim(tmp_path, "cma", SPEC)
    folder.begin(MODEL, 2, later)
    assert folder.manifest.sessions == (replace(SESSION, peak_memory=1 << 20), later)
    assert folder.has_unit(0)
    assert folder.manifest.unit_seconds == {"00000": 1.0}
    folder.write_unit(1, DATA, 2.0, 1 << 21)
    assert [session.peak_memory for session in folder.manifest.sessions] == [1 << 20, 1 << 21]


def test_a_folder_of_the_first_format_is_read_and_resumed(tmp_path: Path) -> None:
    path = begun(tmp_path).manifest_path
    old = json.loads(path.read_text())
    old["format"] = 1
    del old["sessions"][0]["peak_memory"]
    path.write_text(json.dumps(old))
    folder = RunFolder.claim(tmp_path, "cma", SPEC)
    assert folder.manifest.sessions == (SESSION,)
    assert len(folder.begin(MODEL, 2, SESSION).sessions) == 2
    assert json.loads(path.read_text())["format"] == FORMAT == 4


def test_another_spec_is_refused(tmp_path: Path) -> None:
    begun(tmp_path).write_unit(0, DATA, 1.0, None)
    before = contents(tmp_path)
    with pytest.raises(
        FinstError, match=r"holds another run \(pairs is 3 there and 4 here\): choose another out folder"
    ):
        RunFolder.claim(tmp_path, "cma", {**SPEC, "pairs": 4})
    with pytest.raises(FinstError, match="experiment 'cma', not 'rsa'"):
        RunFolder.claim(tmp_path, "rsa", SPEC)
    assert contents(tmp_path) == before


def test_other_weights_and_another_plan_are_refused(tmp_path: Path) -> None:
    begun(tmp_path).write_unit(0, DATA, 1.0, None)
    before = contents(tmp_path)
    folder = RunFolder.claim(tmp_path, "cma", SPEC)
    with pytest.raises(FinstError, match="other weights of organism"):
        folder.begin(replace(MODEL, hash="0" * 64), 2, SESSION)
    with pytest.raises(FinstError, match="2 units and this finst plans 3"):
        folder.begin(MODEL, 3, SESSION)
    with pytest.raises(FinstError, match="a run on cpu and this one is on cuda:0, which rounds differently: use cpu"):
        folder.begin(replace(MODEL, device="cuda:0"), 2, SESSION)
    assert contents(tmp_path) == before


def test_another_cuda_device_is_the_same_kind(tmp_path: Path) -> None:
    folder = RunFolder.claim(tmp_path, "cma", SPEC)
    with folder.held():
        folder.begin(replace(MODEL, device="cuda:0"), 2, SESSION)
        assert len(folder.begin(replace(MODEL, device="cuda:1"), 2, SESSION).sessions) == 2


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = RunFolder.claim(tmp_path / "run", "cma", SPEC)
    second = RunFolder.claim(tmp_path / "run", "cma", SPEC)
    with first.held():
        first.begin(MODEL, 2, SESSION)
        before = contents(tmp_path)
        with pytest.raises(FinstError, match="run is in use: another process works on this run"), second.held():
            pytest.fail("two hold one folder")
        with pytest.raises(FinstError, match="is in use"):
            RunFolder.claim(tmp_path / "run", "cma", SPEC)
        assert contents(tmp_path) == before
    with second.held():
        second.begin(MODEL, 2, SESSION)


def test_two_runs_that_claimed_one_new_folder_do_not_mix(tmp_path: Path) -> None:
    late = RunFolder.claim(tmp_path / "run", "cma", {**SPEC, "pairs": 4})
    begun(tmp_path / "run")
    with late.held(), pytest.raises(FinstError, match=r"another run \(pairs is 3 there and 4 here\)"):
        late.begin(MODEL, 2, SESSION)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FinstError, match=r"holds 'thesis\.tex' and no run"):
        RunFolder.claim(tmp_path, "cma", SPEC)
    with pytest.raises(FinstError, match="is a file: expected a folder"):
        RunFolder.claim(tmp_path / "thesis.tex", "cma", SPEC)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format": 1}', '{"format": 99}', "null", "\x00\xff"])
def test_a_damaged_manifest_is_refused_and_kept(tmp_path: Path, damage: str) -> None:
    begun(tmp_path)
    (tmp_path / "manifest.json").write_text(damage, encoding="latin-1")
    with pytest.raises(FinstError, match=r"manifest\.json is (damaged|not a manifest of this finst)"):
        RunFolder.claim(tmp_path, "cma", SPEC)
    assert (tmp_path / "manifest.json").read_text(encoding="latin-1") == damage


def test_a_manifest_with_a_wrong_field_names_it(tmp_path: Path) -> None:
    path = begun(tmp_path).manifest_path
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "units": "two"}))
    with pytest.raises(FinstError, match=r"Manifest\.units: expected int, not 'two'"):
        Manifest.read(path)


def test_leftovers_of_a_killed_run_do_not_count(tmp_path: Path) -> None:
    (tmp_path / ".manifest.json.123.partial").write_bytes(b"{")
    folder = begun(tmp_path)
    (tmp_path / "units" / ".00000.zarr.zip.123.partial").write_bytes(b"PK")
    assert not folder.has_unit(0)
    RunFolder.claim(tmp_path, "cma", SPEC).begin(MODEL, 2, SESSION)
    assert sorted(contents(tmp_path)) == ["README.md", "manifest.json"]


def test_a_damaged_unit_names_the_file_to_delete(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.unit_path(0).write_bytes(b"PK half")
    with pytest.raises(FinstError, match=r"units/00000\.zarr\.zip is damaged .* delete this file"):
        folder.read_unit(0)


def test_a_place_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FinstError, match="cannot make the folder"):
        begun(tmp_path / "file" / "run")


def interrupted(folder: RunFolder, units: int) -> None:
    """A session that ends after so many units."""
    with folder.held():
        folder.begin(MODEL, 2, SESSION)
        for index in range(units):
            folder.write_unit(index, DATA, 1.0, None)
        raise KeyboardInterrupt


def test_a_block_that_fails_before_a_unit_is_measured_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    """What was refused can be corrected and run into the same folder."""
    for out in (tmp_path / "deep" / "run", tmp_path):
        folder = RunFolder.claim(out, "cma", SPEC)
        with pytest.raises(KeyboardInterrupt):
            interrupted(folder, units=0)
        assert not list(tmp_path.iterdir())
        RunFolder.claim(out, "rsa", SPEC)


def test_a_block_that_fails_later_keeps_everything(tmp_path: Path) -> None:
    folder = RunFolder.claim(tmp_path / "run", "cma", SPEC)
    with pytest.raises(KeyboardInterrupt):
        interrupted(folder, units=1)
    assert set(contents(folder.path)) == {"README.md", "manifest.json", "units/00000.zarr.zip"}
    assert folder.read_unit(0).identical(DATA)


def test_a_block_that_fails_in_a_folder_with_a_record_keeps_it(tmp_path: Path) -> None:
    before = contents(begun(tmp_path).path)
    with pytest.raises(FinstError, match="refused"), RunFolder.claim(tmp_path, "cma", SPEC).held():
        raise FinstError("refused")
    assert contents(tmp_path) == before


def test_units_and_summaries_of_another_place_or_run_are_refused(tmp_path: Path) -> None:
    one, other = begun(tmp_path / "one"), RunFolder(tmp_path / "one", "cma", {**SPEC, "seed": 8})
    for index in range(2):
        one.write_unit(index, DATA.assign(scores=DATA["scores"] + index), 1.0, None)
    swapped = [one.unit_path(index).read_bytes() for index in (1, 0)]
    for index, content in enumerate(swapped):
        one.unit_path(index).write_bytes(content)
        with pytest.raises(FinstError, match="written for another run, or for another place in this one"):
            one.read_unit(index)
        with pytest.raises(FinstError, match="written for another run"):
            other.read_unit(1 - index)
    one.write_summary(DATA)
    assert one.read_summary().identical(DATA)
    with pytest.raises(FinstError, match="written for another run"):
        other.read_summary()
    one.unit_path(0).unlink()
    with pytest.raises(FinstError, match="cannot read"):
        one.read_unit(0)


def test_the_readme_of_a_folder_names_what_is_there_and_its_snippets_read_it(tmp_path: Path) -> None:
    folder, text = unpacked("accuracy", tmp_path), readme("accuracy", "organism")
    for name in ("report.html", "summary.zarr.zip", "figures/", "units/", "manifest.json"):
        assert f"| `{name}`" in text
    assert (folder / "summary.zarr.zip").is_file()
    expected = set(finished_run(folder).summary.data_vars)
    ours, theirs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(ours.replace("path/of/this/folder", str(folder)), names)
    exec(theirs.replace('"summary', f'"{folder}/summary'), names)
    assert set(names["run"].summary.data_vars) == set(names["summary"].data_vars) == expected
