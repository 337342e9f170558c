"""A disk that is full, read-only or gone while a run is written: one message, and the same command resumes."""

from __future__ import annotations

import errno
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from finst.errors import FinstError
from finst.runs import archive, executor
from finst.vlm.open import VLM, open_vlm
from tests.runs.test_executor import data
from tests.runs.toy import Toy, ToySpec
from tests.tiny import checkpoint

WRITES = 11
"""Files that a run of two units writes: manifests, units, summary, three of a figure, report."""


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(checkpoint(tmp_path_factory.mktemp("tiny"))), device="cpu")


def run(vlm: VLM, out: Path) -> Toy:
    toy = Toy()
    executor.run(toy, ToySpec(vlm.reader.id, units=2), out, console=Console(file=io.StringIO()), vlm=vlm)
    return toy


@pytest.fixture(scope="module")
def whole(vlm: VLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    run(vlm, out)
    return out


def refuse_write(number: int, code: int, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The write of this number (from 0) stops half-way; returns the files that are written."""
    written, write = [], archive._write_synced

    def writes(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == number + 1:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(code, os.strerror(code))
        write(path, content)

    monkeypatch.setattr(archive, "_write_synced", writes)
    return written


@pytest.mark.parametrize("number", range(WRITES))
def test_every_write_may_find_the_disk_full_and_the_run_resumes(
    vlm: VLM, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    out = tmp_path / "deep" / "run"
    written = refuse_write(number, errno.ENOSPC, monkeypatch)
    with pytest.raises(FinstError, match=rf"cannot write {out}.*: No space left on device\. Expected: free some space"):
        run(vlm, out)
    assert len(written) == number + 1
    assert not list(tmp_path.rglob("*.partial"))
    units = len(list(tmp_path.rglob("0000*.zarr.zip")))
    assert out.exists() == (tmp_path / "deep").exists() == (units > 0), "without a unit there is nothing to keep"
    assert len(run(vlm, out).measured) == 2 - units
    assert data(out) == data(whole)
    assert len(written) >= WRITES


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_message(vlm: VLM, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FinstError, match=r"cannot make the folder .*choose a place where you may write"):
        run(vlm, tmp_path / "run")


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("file", "is a file: expected a folder"),
        ("file/run", "cannot make the folder"),
        ("x" * 300, "name"),
        ("a\0b", "characters that no file name can have"),
        ("\ud800", "characters that no file name can have"),
    ],
)
def test_places_where_no_run_can_be_are_refused_before_the_model_is_read(tmp_path: Path, out: str, words: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FinstError, match=words):
        executor.run(Toy(), ToySpec("no/such-model") if out != "file/run" else ToySpec("organism"), tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_strange_but_possible_names_work(vlm: VLM, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "grün 🟥 [red]\n$x$ 'q' \udcff"
    run(vlm, out)
    assert data(out) == data(whole)


CODE = """
import resource, sys
from pathlib import Path
from unittest.mock import patch
from finst.cli import commands, main
from tests.runs.toy import Toy
model, out, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
with patch.object(commands, "experiment_of", lambda _: Toy()):
    with patch.object(main, "located", lambda place: run if "run_experiment" in place else located(place)):
        from finst.experiments.registry import located
        from tests.runs.toy import ToySpec
        run = lambda name, options: commands._run(name, ToySpec(model), Path(out))
        sys.exit(main.main(["run", "cma", model]))
"""


def test_a_limit_of_the_system_is_one_line_and_status_2(vlm: VLM, whole: Path, tmp_path: Path) -> None:
    """Files may have 6,000 bytes, so the figure cannot be written. A full disk is the same to a process."""
    out = tmp_path / "run"
    command = [sys.executable, "-c", CODE, vlm.reader.id, str(out)]
    done = subprocess.run([*command, "6000"], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"finst: cannot write {out}/")
    assert "File too large. Expected: free some space" in last
    again = subprocess.run([*command, "0"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "4 of 4 units were measured before" in again.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def mounted(folder: Path) -> bool:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_a_disk_that_is_really_full_is_one_message_and_the_run_resumes(vlm: VLM, whole: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    if not mounted(disk):
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        (disk / "ballast").write_bytes(bytes(350_000))
        with pytest.raises(FinstError, match="No space left on device"):
            run(vlm, disk / "run")
        (disk / "ballast").unlink()
        run(vlm, disk / "run")
        assert data(disk / "run") == data(whole)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
