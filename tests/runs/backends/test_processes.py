"""Runs that other processes measure: the same bytes, the same messages, and nothing left when processes are killed."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from finst.errors import FinstError
from finst.runs.backends.backend import Backend, UnitLostError
from finst.runs.backends.open_backend import backend
from finst.runs.backends.processes import ended, surroundings
from finst.runs.executor import run
from tests.runs.backends.toys import Deadly, DeadlySpec, Failing, Slow, Stillborn
from tests.runs.toy import Toy, ToySpec
from tests.tiny import checkpoint

PATIENCE_S = 120.0
"""How long a process may take to start on a busy machine."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("processes") / "tiny"))


@pytest.fixture(scope="module")
def two() -> Iterator[Backend]:
    """Two workers, which all tests of this module share: they outlive runs, errors and losses."""
    with backend("processes", 2) as pool:
        yield pool


def measured(toy: Toy, spec: ToySpec, out: Path, using: Backend | None = None) -> str:
    """Runs the toy; what is printed."""
    file = io.StringIO()
    run(toy, spec, out, console=Console(file=file, width=300), backend=using)
    return file.getvalue()


def units(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((out / "units").iterdir())}


def session(out: Path) -> dict[str, Any]:
    return json.loads((out / "manifest.json").read_text())["sessions"][-1]


def test_two_workers_give_the_bytes_of_one_process_and_the_record_names_them(
    model: str, two: Backend, tmp_path: Path
) -> None:
    spec = ToySpec(model, units=5)
    measured(Toy(), spec, tmp_path / "here")
    log = measured(Toy(), spec, tmp_path / "two", two)
    assert units(tmp_path / "two") == units(tmp_path / "here")
    assert (tmp_path / "two/summary.zarr.zip").read_bytes() == (tmp_path / "here/summary.zarr.zip").read_bytes()
    assert [line.partition(" (")[0] for line in log.splitlines()[-5:]] == [
        f"{done} of 5 units measured" for done in range(1, 6)
    ]
    assert [session(tmp_path / name)["executor"] for name in ("here", "two")] == ["here", "processes"]
    assert [session(tmp_path / name)["workers"] for name in ("here", "two")] == [["cpu"], ["cpu", "cpu"]]
    times = json.loads((tmp_path / "two/manifest.json").read_text())["unit_seconds"]
    assert sorted(times) == [f"{index:05d}" for index in range(5)]


def test_a_run_that_one_executor_began_is_resumed_by_another(model: str, two: Backend, tmp_path: Path) -> None:
    spec = ToySpec(model)
    measured(Toy(), spec, tmp_path / "run", two)
    whole = units(tmp_path / "run")
    for missing, using in ((0, None), (2, two)):
        (tmp_path / "run/units" / f"{missing:05d}.zarr.zip").unlink()
        assert "executor is" in measured(Toy(), spec, tmp_path / "run", using)
        assert units(tmp_path / "run") == whole


def test_a_killed_worker_costs_its_unit_only(model: str, two: Backend, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    spec = DeadlySpec(model, marks=str(tmp_path / "marks"))
    log = measured(Deadly(), spec, tmp_path / "run", two)
    assert "note: a worker ended (killed by SIGKILL) while it measured trial 1" in log
    assert len([*(tmp_path / "marks").iterdir()]) == 1
    measured(Deadly(), spec, tmp_path / "run", two)
    assert len(units(tmp_path / "run")) == 6


def test_a_unit_that_kills_two_workers_is_named_and_the_rest_is_kept(model: str, two: Backend, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    spec = DeadlySpec(model, deadly=2, times=9, marks=str(tmp_path / "marks"))
    with pytest.raises(UnitLostError, match=r"^trial 2: 2 workers in turn ended .*(\d) of 6 units are kept in") as lost:
        measured(Deadly(), spec, tmp_path / "run", two)
    kept = units(tmp_path / "run")
    assert f"; {len(kept)} of 6 units are kept in" in str(lost.value)
    assert "00002.zarr.zip" not in kept
    assert len([*(tmp_path / "marks").iterdir()]) == 2


@pytest.mark.parametrize("seed", range(6))
def test_what_a_unit_raises_is_what_it_raises_here(model: str, two: Backend, tmp_path: Path, seed: int) -> None:
    raised = []
    for using in (None, two):
        with pytest.raises(Exception, match=r".") as error:
            measured(Failing(), ToySpec(model, seed=seed), tmp_path / "run", using)
        raised.append((type(error.value), str(error.value)))
    if seed == 3:  # an exception that cannot be sent says its kind
        raised[0] = (RuntimeError, f"OwnError: {raised[0][1]}")
    if seed == 4:  # how many units were finished before is chance
        raised = [(kind, text.partition("; ")[0]) for kind, text in raised]
    assert raised[0] == raised[1]
    assert seed in (3, 4) or "in measure" in str(error.value.__cause__)


def test_an_experiment_that_a_worker_cannot_read_is_refused(model: str, two: Backend, tmp_path: Path) -> None:
    class Local(Toy):
        pass

    with pytest.raises(FinstError, match="toy cannot be sent to a worker"):
        measured(Local(), ToySpec(model), tmp_path / "run", two)
    assert not (tmp_path / "run").exists()
    with pytest.raises(FinstError, match=r"2 workers in turn ended before they had opened the model \(exit status 3\)"):
        measured(Stillborn(), ToySpec(model), tmp_path / "run", two)


def test_other_weights_than_those_of_this_process_are_refused(two: Backend, tmp_path: Path) -> None:
    from finst.vlm.open import open_vlm

    folder = checkpoint(tmp_path / "model")
    vlm = open_vlm(str(folder), device="cpu")
    assert len(vlm.weights_hash) == 64
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(FinstError, match="a worker found other weights"):
        run(Toy(), ToySpec(str(folder)), tmp_path / "run", vlm=vlm, backend=two)


def test_workers_killed_at_random_moments_change_no_byte(
    model: str, two: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pids").mkdir()
    monkeypatch.setenv("TOY_PIDS", str(tmp_path / "pids"))
    spec = ToySpec(model, units=10)
    measured(Toy(), spec, tmp_path / "here")
    random, killed = np.random.default_rng(0), list[int]()

    def kill() -> None:
        for _ in range(2):
            waited(lambda: [*set(alive(tmp_path / "pids")) - {*killed}])
            time.sleep(random.uniform(0, 0.4))
            living = [pid for pid in alive(tmp_path / "pids") if pid not in killed]
            killed.append(int(random.choice(living)))
            os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        measured(Slow(), spec, tmp_path / "killed", two)
    except UnitLostError:  # both kills may hit one unit
        measured(Slow(), spec, tmp_path / "killed", two)
    killer.join()
    assert len(killed) == 2
    assert units(tmp_path / "killed") == units(tmp_path / "here")


def waited(condition: Callable[[], Any]) -> Any:
    """The first true value of a condition, which comes in time."""
    until = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return value


def alive(pids: Path) -> list[int]:
    """The processes named by files in a folder that still run."""
    return [int(file.name) for file in pids.iterdir() if _runs(int(file.name))]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def driver(model: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a slow toy with two workers, in a process group of its own as in a terminal."""
    (tmp_path / "pids").mkdir()
    environment = {**os.environ, "TOY_PIDS": str(tmp_path / "pids"), "TOY_SECONDS": "1"}
    command = [sys.executable, "-m", "tests.runs.backends.toys", model, str(tmp_path / "run"), "processes"]
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def begun(tmp_path: Path) -> None:
    """Waits until two workers are in the middle of units, and a unit is kept."""
    waited(lambda: len(alive(tmp_path / "pids")) == 2 and [*(tmp_path / "run").glob("units/*.zip")])


def resumed(model: str, tmp_path: Path) -> None:
    measured(Toy(), ToySpec(model, units=8), tmp_path / "run")
    measured(Toy(), ToySpec(model, units=8), tmp_path / "here")
    assert units(tmp_path / "run") == units(tmp_path / "here")


def test_ctrl_c_ends_all_workers_and_says_what_is_kept(
    model: str, driver: subprocess.Popen[str], tmp_path: Path
) -> None:
    begun(tmp_path)
    os.killpg(driver.pid, signal.SIGINT)
    _, errors = driver.communicate(timeout=PATIENCE_S)
    kept = len(units(tmp_path / "run"))
    assert 1 <= kept < 8
    assert f"\n{kept} of 8 units are kept in {tmp_path / 'run'}, and the same command resumes" in errors
    assert "Traceback" not in errors
    assert alive(tmp_path / "pids") == []
    resumed(model, tmp_path)


def test_no_worker_outlives_a_killed_driver(model: str, driver: subprocess.Popen[str], tmp_path: Path) -> None:
    begun(tmp_path)
    driver.kill()
    driver.wait()
    waited(lambda: alive(tmp_path / "pids") == [])
    resumed(model, tmp_path)


def test_a_closed_pool_leaves_no_process(model: str, tmp_path: Path) -> None:
    others = {*multiprocessing.active_children()}
    with backend("processes", 1) as pool:
        measured(Toy(), ToySpec(model, units=1), tmp_path / "run", pool)
        assert len({*multiprocessing.active_children()} - others) == 1
    assert {*multiprocessing.active_children()} == others


def test_a_worker_sees_its_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert surroundings("cpu") == {"OMP_NUM_THREADS": "1"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert surroundings("cuda:1") == {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-abc")
    assert surroundings("cuda:1") == {"CUDA_VISIBLE_DEVICES": "GPU-abc"}


def test_ends_are_named() -> None:
    assert (ended(-9), ended(1)) == ("killed by SIGKILL", "exit status 1")
