"""Which files of a folder are pictures, through links and loops, and what is said about the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from finst.errors import FinstError
from finst.scenes.picture_files import counted, listed, picture_files, printable


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_linked_and_nested_folders_and_all_endings_are_read(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    touch(inside / "a.PNG", inside / "b.jfif", inside / "deep/er/c.GIF", outside / "d.webp", inside / "e.heic")
    (inside / "linked").symlink_to(outside)
    (inside / "f.png").symlink_to(outside / "d.webp")
    found = picture_files(inside)
    assert [*found.files] == ["a.PNG", "b.jfif", "deep/er/c.GIF", "e.heic", "f.png", "linked/d.webp"]
    assert found.files["linked/d.webp"] == inside / "linked/d.webp"
    assert found.unread == ()


def test_loops_end_and_folders_are_read_once(tmp_path: Path) -> None:
    touch(tmp_path / "a/x.png", tmp_path / "b/y.png")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/b").symlink_to(tmp_path / "b")
    (tmp_path / "b/a").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    found = picture_files(tmp_path)
    assert [*found.files] == ["a/x.png", "b/y.png"]
    assert "3 folders are read under another name: a/b, a/up, b/a" in "; ".join(found.unread)


def test_hidden_and_other_files_are_said(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "._a.png", tmp_path / ".cache/b.png", tmp_path / "n.txt", tmp_path / "README")
    found = picture_files(tmp_path)
    assert [*found.files] == ["a.png"]
    assert found.unread == (
        "2 hidden files are not read: ._a.png, .cache",
        "2 other files are not read (1 .txt, 1 no ending)",
    )


def test_folders_may_be_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "masks/a.png")
    assert [*picture_files(tmp_path, without=("masks",)).files] == ["a.png"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything is open to this user")
def test_closed_folders_are_said(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "closed/b.png")
    (tmp_path / "closed").chmod(0)
    found = picture_files(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert found.unread == ("1 folder is not read: closed (Permission denied)",)


def test_missing_folders_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    for place in (tmp_path / "none", tmp_path / "a.png", tmp_path / ("x" * 5000)):
        with pytest.raises(FinstError, match="is no folder: expected a folder of pictures"):
            picture_files(place)


def test_names_are_text(tmp_path: Path) -> None:
    touch(tmp_path / "a\nb.png")
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb"):
        pass
    names = [*picture_files(tmp_path).files]
    assert names == ["\\udcff.png", "a\\nb.png"]
    assert [name.encode() for name in names]
    assert printable("grün é.png") == "grün é.png"


def test_lists_and_counts() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcd"), 2) == "a, b and 2 more"
    assert (counted(1, "file"), counted(2, "file")) == ("1 file is", "2 files are")
