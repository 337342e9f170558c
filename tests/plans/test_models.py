"""Several reproductions on one page, and ``finst report``."""

# ruff: noqa: RUF001  (typeset text: apostrophes as readers expect them)

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from finst.cli import reproduce as module
from finst.cli.options import Report
from finst.errors import FinstError
from finst.plans.claims import CLAIMS
from finst.plans.models import side_by_side
from finst.plans.page import PAGE
from finst.plans.record import FORMAT, Reproduction, StepRecord, write_record
from tests.runs.old_runs import unpacked

COUNTING = StepRecord("counting", "counting", "finished", seconds=2.0)


def record(model: str, *steps: StepRecord) -> Reproduction:
    return Reproduction(FORMAT, "a plan", model, model[0] * 64, steps)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """One reproduction with a finished step, and one in which it cannot run."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    unpacked("counting", one)
    write_record(one, record("first", COUNTING))
    write_record(two, record("second", replace(COUNTING, status="cannot run", reason="no words")))
    return one, two


def test_every_claim_has_a_cell_of_every_model_and_links_lead_to_files(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    page = tmp_path / "pages" / "models.html"
    records = [record("first", COUNTING), record("second")]
    text = side_by_side(folders, records, page)
    assert "The paper’s claims on first and second" in text
    rows = re.findall(r"<tr>(?!<th)(.*?)</tr>", text, re.DOTALL)
    assert len(rows) == len(CLAIMS)
    for claim, row in zip(CLAIMS, rows, strict=True):
        assert claim.text in row
        assert row.count("<b class=") == 2
        assert row.count("no finished run") == (1 if claim.experiment == "counting" else 2)
    links = [link for link in re.findall(r'href="([^"]*)"', text) if link.endswith("report.html")]
    assert links
    assert {(page.parent / link).resolve().parent for link in links} == {folders[0] / "counting"}
    assert f"../one/{PAGE}" in text


def test_models_of_one_name_are_told_apart_by_their_folders(folders: tuple[Path, Path], tmp_path: Path) -> None:
    text = side_by_side(folders, [record("same"), record("same")], tmp_path / "models.html")
    assert all(f"same ({folder})" in text for folder in folders)


def test_one_folder_gets_its_page_again_and_several_a_page_of_their_own(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = module.report(Report((folders[0],)))
    assert page == folders[0] / PAGE
    assert "Without the strongest heads" in page.read_text(encoding="utf-8")
    assert (folders[0] / "interventions.csv").is_file()
    assert module.report(Report(folders)) == Path("models.html")
    assert "first and second" in Path("models.html").read_text(encoding="utf-8")


def test_wrong_folders_are_refused_and_nothing_is_written(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "models.html"
    for wrong, message in (
        (Report((tmp_path,)), "holds no reproduction"),
        (Report((folders[0], tmp_path / "one" / "."), out), "is given twice"),
        (Report((folders[0], tmp_path), out), "holds no reproduction"),
        (Report((folders[0],), out), "leave it out"),
    ):
        with pytest.raises(FinstError, match=message):
            module.report(wrong)
    assert not out.exists()
    assert not (folders[0] / PAGE).exists()
