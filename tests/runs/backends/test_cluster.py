"""Runs that actors of a Ray cluster measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from finst.errors import FinstError
from finst.runs.backends.cluster import Cluster
from finst.runs.executor import run
from finst.vlm.open import VLM, open_vlm
from finst.vlm.spec import ModelSpec
from tests.runs.toy import Toy, ToySpec
from tests.tiny import checkpoint

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed (finst[cluster])")


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(checkpoint(tmp_path_factory.mktemp("ray") / "tiny")), device="cpu")


def data(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*.zip"))}


@pytest.mark.timeout(600)
def test_a_killed_actor_changes_no_byte_and_the_cluster_serves_two_runs(vlm: VLM, tmp_path: Path) -> None:
    """On a cluster of its own, with two cores, in a process of its own."""
    (tmp_path / "pids").mkdir()
    environment = {**os.environ, "TOY_PIDS": str(tmp_path / "pids"), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "tests.runs.backends.on_ray", vlm.reader.id, str(tmp_path / "run"), "kill"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for out, units in (("run", 6), ("run-second", 3)):
        run(Toy(), ToySpec(vlm.reader.id, units=units), tmp_path / "here" / out, vlm=vlm)
        assert data(tmp_path / out) == data(tmp_path / "here" / out)
        (session,) = json.loads((tmp_path / out / "manifest.json").read_text())["sessions"]
        assert (session["executor"], session["workers"]) == ("ray", ["cpu", "cpu"])
    assert "note: a worker ended (its Ray actor: ActorDiedError)" in done.stderr


class FewRay:
    """A cluster of three cores, as far as its size goes."""

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def available_resources() -> dict[str, float]:
        return {"CPU": 3.0}


@pytest.mark.parametrize(("workers", "expected"), [(None, 3), (2, 2), (3, 3)])
def test_there_is_a_worker_a_core(
    vlm: VLM, monkeypatch: pytest.MonkeyPatch, workers: int | None, expected: int
) -> None:
    assert small_cluster(monkeypatch, workers).devices(ModelSpec(device="cpu"), vlm) == ("cpu",) * expected


def test_more_workers_than_the_cluster_has_cores_are_refused(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FinstError, match="workers is 4, and the Ray cluster has 3 free CPUs: expected 1 to 3"):
        small_cluster(monkeypatch, 4).devices(ModelSpec(device="cpu"), vlm)


def small_cluster(monkeypatch: pytest.MonkeyPatch, workers: int | None) -> Cluster:
    cluster = Cluster(workers=workers)
    monkeypatch.setattr(cluster, "_ray", FewRay())
    return cluster
