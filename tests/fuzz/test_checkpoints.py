"""No damaged checkpoint ends in a traceback, and none that opens gives other numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz.checkpoints import case

CASES = int(os.environ.get("FINST_FUZZ_CASES", "125"))
GROUPS = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.timeout(0)
@pytest.mark.parametrize("group", range(GROUPS))
def test_damaged_checkpoints_are_refused_or_the_same(root: Path, group: int) -> None:
    for seed in range(group, CASES, GROUPS):
        outcome = case(seed, root)
        where = f"case {seed}, {outcome.damage}"
        assert outcome.checked == outcome.opened, where
        assert outcome.same or outcome.legal, where
