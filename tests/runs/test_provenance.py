"""Where numbers come from."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from finst.runs.provenance import PACKAGES, commit, now, session


def test_times_are_utc() -> None:
    offset = datetime.fromisoformat(now()).utcoffset()
    assert offset is not None
    assert offset.total_seconds() == 0


def test_a_session_has_versions_and_machine_and_no_name() -> None:
    here = session()
    assert set(here.versions) == {"python", *PACKAGES}
    assert all(re.match(r"\d+\.\d+", version) for version in here.versions.values())
    assert set(here.machine) == {"system", "cpu", "cores", "threads", "gpu"}
    assert all(here.machine.values())


def test_a_folder_outside_of_any_checkout_has_no_commit(tmp_path: Path) -> None:
    assert commit(tmp_path) is None


def test_the_commit_is_that_of_the_checkout_or_unknown() -> None:
    found = commit(Path(__file__).parent)
    assert found is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", found)
