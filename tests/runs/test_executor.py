"""A run that is killed anywhere resumes and ends with the same bytes."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import xarray as xr
from rich.console import Console

from finst.errors import FinstError
from finst.runs import executor
from finst.runs.executor import run
from finst.runs.experiment import Unit
from finst.vlm.open import VLM
from tests.runs.toy import Toy, ToySpec, run_toy
from tests.tiny import checkpoint


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ToySpec:
    return ToySpec(str(checkpoint(tmp_path_factory.mktemp("tiny"))))


@pytest.fixture(scope="module")
def whole(spec: ToySpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    return run_toy(spec, tmp_path_factory.mktemp("whole") / "run").folder


def data(folder: Path) -> dict[str, bytes]:
    """Everything but the manifest, and but its copy at the end of the report: their times must differ."""
    kept = [p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"]
    return {str(p.relative_to(folder)): p.read_bytes().partition(b"<h2>Provenance")[0] for p in kept}


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_a_whole_run_writes_everything(spec: ToySpec, whole: Path) -> None:
    assert names(whole) == {
        "README.md",
        "manifest.json",
        "report.html",
        "summary.zarr.zip",
        "figures/profile.png",
        "figures/profile.csv",
        "figures/profile.pdf",
        *(f"units/{index:05d}.zarr.zip" for index in range(spec.units)),
    }
    page = (whole / "report.html").read_text()
    assert "<h1>4 trials</h1>" in page
    assert 'id="figure-profile"' in page


def test_the_result_is_what_the_folder_holds(spec: ToySpec, whole: Path) -> None:
    toy = Toy()
    result = run_toy(spec, whole, toy)
    assert toy.measured == []
    assert (result.folder, result.report) == (whole, whole / "report.html")
    assert result.summary.sizes == {"trial": 4, "layer": 3}
    manifest = result.manifest
    assert (manifest.status, manifest.experiment, manifest.seed, manifest.units) == ("finished", "toy", 0, 4)
    assert manifest.model.id == spec.model
    assert len(manifest.model.hash) == 64
    assert (manifest.model.dtype, manifest.model.device) == ("float32", "cpu")
    assert sorted(manifest.unit_seconds) == ["00000", "00001", "00002", "00003"]
    assert {"python", "torch", "transformers", "numpy"} <= set(manifest.sessions[0].versions)
    assert [session.peak_memory for session in manifest.sessions] == [None] * len(manifest.sessions)
    assert manifest.finished is not None
    assert manifest.finished >= manifest.sessions[0].started


@pytest.mark.parametrize(
    ("kill", "units"),
    [
        pytest.param(7, 2, id="inside of a unit"),
        pytest.param(10, 4, id="between the last unit and its timing"),
        pytest.param(12, 4, id="between the summary and the figures"),
    ],
)
def test_killed_and_resumed_gives_equal_bytes(
    spec: ToySpec, whole: Path, tmp_path: Path, kill: int, units: int
) -> None:
    out = tmp_path / "run"
    dead = subprocess.run([sys.executable, "-m", "tests.runs.toy", spec.model, str(out), str(kill)], check=False)
    assert dead.returncode == -signal.SIGKILL
    assert len(list((out / "units").glob("*.zarr.zip"))) == units
    assert list(out.rglob("*.partial")), "the kill came in the middle of a file"
    toy = Toy()
    result = run_toy(spec, out, toy)
    assert toy.measured == [f"trial {index}" for index in range(units, spec.units)]
    assert len(result.manifest.sessions) == 2
    assert data(out) == data(whole)


def test_an_interrupt_states_what_is_kept_and_a_held_folder_is_free_again(
    spec: ToySpec, whole: Path, tmp_path: Path
) -> None:
    class Interrupted(Toy):
        def measure(self, vlm: VLM, spec: ToySpec, unit: Unit, prepared: object) -> xr.Dataset:
            if len(self.measured) == 3:
                raise KeyboardInterrupt
            return super().measure(vlm, spec, unit, prepared)

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt, match=r"^3 of 4 units are kept in .*run, and the same command resumes from"):
        run_toy(spec, out, Interrupted())
    toy = Toy()
    run_toy(spec, out, toy)
    assert toy.measured == ["trial 3"]
    assert data(out) == data(whole)


def test_a_folder_in_use_is_refused_before_weights_load(
    spec: ToySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    code = (
        "import sys; from pathlib import Path; from finst.runs.store import RunFolder\n"
        "with RunFolder.claim(Path(sys.argv[1]), 'toy', {}).held(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with monkeypatch.context() as patch:
            patch.setattr(executor, "open_vlm", lambda *_, **__: pytest.fail("weights were loaded"))
            with pytest.raises(FinstError, match="run is in use"):
                run_toy(spec, out)
        other.kill()
    assert run_toy(spec, out).manifest.status == "finished", "a lock dies with its process"


def test_a_session_with_other_versions_is_recorded_and_noted(
    spec: ToySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, noted = io.StringIO(), io.StringIO()
    run_toy(spec, tmp_path)
    run(Toy(), spec, tmp_path, console=Console(file=quiet, width=200))
    now = executor.session()
    other = replace(now, versions=now.versions | {"torch": "0.1"}, machine=now.machine | {"threads": "64"})
    monkeypatch.setattr(executor, "session", lambda: other)
    manifest = run(Toy(), spec, tmp_path, console=Console(file=noted, width=200)).manifest
    assert "note" not in quiet.getvalue()
    assert "note: " in noted.getvalue()
    assert "'0.1' here; threads is '1' there and '64' here" in noted.getvalue()
    assert [session.versions["torch"] for session in manifest.sessions][1:] == [now.versions["torch"], "0.1"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_above_the_weights_is_recorded(spec: ToySpec, tmp_path: Path) -> None:
    class Hungry(Toy):
        def measure(self, vlm: VLM, spec: ToySpec, unit: Unit, prepared: object) -> xr.Dataset:
            torch.empty(len(self.measured) << 24, dtype=torch.uint8, device="cuda")
            return super().measure(vlm, spec, unit, prepared)

    (session,) = run_toy(replace(spec, device="cuda"), tmp_path, Hungry()).manifest.sessions
    assert session.peak_memory is not None
    assert (3 << 24) <= session.peak_memory < (5 << 24)


def test_the_order_of_sessions_does_not_matter(spec: ToySpec, whole: Path, tmp_path: Path) -> None:
    """Units do not depend on those before them: remove some of a finished run and they come back the same."""
    result = run_toy(spec, tmp_path / "run")
    for index in (0, 2):
        (result.folder / "units" / f"{index:05d}.zarr.zip").unlink()
    run_toy(spec, tmp_path / "run")
    assert data(tmp_path / "run") == data(whole)


def test_bad_input_is_refused_before_weights_load(
    spec: ToySpec, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loads(*_: object, **__: object) -> None:
        pytest.fail("weights were loaded")

    monkeypatch.setattr(executor, "open_vlm", loads)
    before = data(whole)
    with pytest.raises(FinstError, match="holds another run"):
        run_toy(replace(spec, seed=1), whole)
    with pytest.raises(FinstError, match="units is 0"):
        run_toy(replace(spec, units=0), tmp_path / "run")
    with pytest.raises(FinstError, match="unknown model"):
        run_toy(replace(spec, model="no-such-model"), tmp_path / "run")
    assert data(whole) == before
    assert not (tmp_path / "run").exists()


def test_other_weights_are_refused(spec: ToySpec, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "model")
    moved = replace(spec, model=str(model))
    run_toy(moved, tmp_path / "run")
    before = data(tmp_path / "run")
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    with pytest.raises(FinstError, match="other weights"):
        run_toy(moved, tmp_path / "run")
    assert data(tmp_path / "run") == before


def test_a_log_gets_plain_lines_and_a_terminal_a_bar(spec: ToySpec, tmp_path: Path) -> None:
    log = io.StringIO()
    run(Toy(), spec, tmp_path / "log", console=Console(file=log, width=200))
    assert log.getvalue().splitlines()[-1] == "4 of 4 units measured (trial 3)"
    assert "\x1b" not in log.getvalue()
    screen = io.StringIO()
    run(Toy(), spec, tmp_path / "screen", console=Console(file=screen, force_terminal=True, width=100))
    assert "4/4" in screen.getvalue()


def test_the_summary_can_be_read_back(whole: Path) -> None:
    from finst.runs.archive import unpack

    assert isinstance(unpack(whole / "summary.zarr.zip"), xr.Dataset)
