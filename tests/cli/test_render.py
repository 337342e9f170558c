"""``finst render`` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from finst import read_sided
from tests.cli.conftest import Finst

FEW = ("--things", "star", "cross", "--colours", "red", "blue", "--count", 2, "--px", 32, "--spp", 1)


def test_renders_goes_on_and_is_read(finst: Finst, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    finst("render", *FEW, "--out", out)
    assert "2 of 2" in capsys.readouterr().out
    pictures = read_sided(out)
    assert {colour for one in pictures for colour, _ in one.things} == {"red", "blue"}
    before = pictures[0].file.stat().st_mtime_ns
    pictures[1].file.unlink()
    finst("render", *FEW, "--out", out)
    assert read_sided(out) == pictures
    assert pictures[0].file.stat().st_mtime_ns == before
