"""How many cases a fuzzer runs: 125 in the test suite, and as many as ``FINST_FUZZ_CASES`` says elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable


def cases() -> range:
    """The seeds to run."""
    return range(int(os.environ.get("FINST_FUZZ_CASES", "125")))


def run_all(case: Callable[[int], None]) -> None:
    """Runs ``case(seed)`` for every seed. Raises AssertionError that names the first failing seed."""
    for seed in cases():
        try:
            case(seed)
        except BaseException as cause:
            raise AssertionError(f"{case.__module__}.case({seed}) failed: {cause!r}") from cause
