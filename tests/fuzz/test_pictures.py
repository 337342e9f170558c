"""Pictures of every kind, whole and damaged: right or refused. ``FINST_FUZZ_CASES`` sets how many."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.pictures import case

CASES = int(os.environ.get("FINST_FUZZ_CASES", "125"))
CHUNK = 25


@pytest.mark.parametrize("start", range(0, CASES, CHUNK))
def test_pictures_are_right_or_refused(start: int) -> None:
    wrong = []
    for seed in range(start, min(start + CHUNK, CASES)):
        try:
            assert case(seed)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)
