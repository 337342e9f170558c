"""Damage to run folders is refused or has no effect; and the fuzzer does damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from finst.errors import FinstError
from finst.experiments.api import load
from tests.fuzz import run_folders
from tests.fuzz.cases import run_all
from tests.fuzz.run_folders import DAMAGES, Damage, PlainToy, contents, whole


def test_damaged_run_folders() -> None:
    run_all(run_folders.case)


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_kind_of_damage_changes_files_and_is_often_refused(damage: Damage, tmp_path: Path) -> None:
    before, refused, changed = contents(whole()), 0, 0
    for seed in range(12):
        folder = Path(shutil.copytree(whole(), tmp_path / str(seed)))
        damage(np.random.default_rng(seed), folder)
        changed += contents(folder) != before
        try:
            list(load(folder, PlainToy).units())
        except FinstError:
            refused += 1
    assert changed >= 6
    assert refused >= 2
