"""Random settings are accepted or refused with a message, and create nothing."""

from __future__ import annotations

from tests.fuzz import specs
from tests.fuzz.cases import run_all


def test_random_settings() -> None:
    run_all(specs.case)
