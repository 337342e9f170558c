"""The benchmark of RSA, small: what it reports."""

from __future__ import annotations

import pytest

from finst.bench.rsa import rsa
from finst.bench.spec import BenchRSA
from finst.errors import FinstError

SMALL = BenchRSA(
    trials=60, layers=2, roles=1, d_model=16, permutations=20, resamples=10, plain_trials=40, plain_permutations=3
)


def test_it_reports_sizes_and_costs() -> None:
    result = rsa(SMALL)
    assert (result["places"], result["trials"], result["d_model"], result["permutations"]) == (2, 60, 16, 20)
    assert result["peak_bytes"] >= result["peak_bytes_before"] > 0
    costs = result["plain"]["seconds_a_permutation"]
    assert result["plain"]["ratio"] == pytest.approx(costs["plain"] / costs["ours"])
    assert result["plain"]["trials"] == 40


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(FinstError, match="must be at least 1"):
        rsa(BenchRSA(layers=0))
    with pytest.raises(FinstError, match="permutations are 0"):
        rsa(BenchRSA(trials=10, layers=1, roles=1, d_model=4, permutations=0))
