"""``finst render`` from the command line."""

from __future__ import annotations

from pathlib import Path

from finst import read_sided
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from tests.cli.conftest import Finst

FEW = ("--things", "star", "cross", "--colours", "red", "blue", "--count", 2, "--px", 32, "--spp", 1)


def test_render_resumes_and_is_read(finst: Finst, tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert "2 of 2" in finst("render", *FEW, "--out", out).out
    pictures = read_sided(out)
    assert {colour for one in pictures for colour, _ in one.things} == {"red", "blue"}
    before = pictures[0].file.stat().st_mtime_ns
    pictures[1].file.unlink()
    finst("render", *FEW, "--out", out)
    assert read_sided(out) == pictures
    assert pictures[0].file.stat().st_mtime_ns == before


def test_help_says_how_many_pictures_photoreal_needs(finst: Finst) -> None:
    spec = PhotorealSpec()
    text = " ".join(finst("render", "--help").out.replace("│", " ").split())
    assert f"photoreal needs at least {spec.estimation + spec.trials}" in text
    assert f"{spec.estimation} to estimate from and {spec.trials} to test on" in text


def test_what_is_wrong_is_one_message(finst: Finst, tmp_path: Path) -> None:
    assert "unknown thing 'dragon'" in finst("render", "--things", "dragon", "--out", tmp_path / "set").message
    assert "no meshes in" in finst("render", "--meshes", tmp_path, "--out", tmp_path / "set").message
