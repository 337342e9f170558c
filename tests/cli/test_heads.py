"""``finst heads``."""

from __future__ import annotations

from pathlib import Path

import pytest

from finst.experiments.cma.explorer.page import HEADS_PAGE
from tests.cli.conftest import Finst
from tests.runs.old_runs import unpacked


def test_the_page_is_written_into_the_run_or_elsewhere_and_links_to_the_report(finst: Finst, tmp_path: Path) -> None:
    run = unpacked("cma", tmp_path)
    outcome = finst("heads", run)
    assert (outcome.status, outcome.out.strip()) == (0, f"page: {run / HEADS_PAGE}")
    assert 'href="report.html"' in (run / HEADS_PAGE).read_text()
    (tmp_path / "pages").mkdir()
    assert finst("heads", run, "--out", tmp_path / "pages" / "mine.html").status == 0
    assert 'href="../cma/report.html"' in (tmp_path / "pages" / "mine.html").read_text()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("accuracy", (), "holds a run of 'accuracy': expected one of causal mediation ('cma')"),
        ("cma", ("--out", "nowhere/heads.html"), "expected a file in a folder that exists"),
    ],
)
def test_refusals_write_nothing(
    finst: Finst, tmp_path: Path, name: str, options: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = unpacked(name, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert message in finst("heads", run, *options).message
    assert sorted(tmp_path.rglob("*")) == before
