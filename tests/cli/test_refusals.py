"""What is refused creates nothing, so that the corrected command works in the same place; and how quickly it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from finst.cli import commands, effects
from finst.errors import FinstError
from finst.experiments.registry import ENTRIES
from finst.runs import executor
from finst.vlm.open import VLM
from tests.cli.conftest import Finst
from tests.cli.test_effects import SmallKeySwap
from tests.tiny import checkpoint
from tests.tiny.body import Body

NAMES = [entry.name for entry in ENTRIES]
REFUSED: list[tuple[str, ...]] = [
    ("--seed", "-1"),
    ("--alpha", "nan"),
    ("--alpha", "1"),
    ("--batch", "0"),
    ("--device", "abacus"),
    ("--revision", "v2"),
    ("--factor", "pears=1"),
    ("--factor", "seed=1.5"),
    ("--seed", "9" * 30),
]


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_run_creates_nothing(finst: Finst, tiny: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "deep" / "run"
    sizes = ("--pairs" if name == "cma" else "--pictures" if name == "coco" else "--trials",)
    refused = [*REFUSED, (*sizes, "-3"), (*sizes, "0"), (*sizes, "1.5"), (*sizes, "1" + "0" * 15)]
    if name == "cma":
        refused.remove(("--batch", "0"))
    for arguments in refused:
        outcome = finst("run", name, tiny, "--out", out, *arguments)
        assert outcome.status == 2, (arguments, outcome)
        assert outcome.err
        assert "Traceback" not in outcome.err
        assert not list(tmp_path.iterdir()), arguments


@pytest.mark.parametrize("name", [name for name in NAMES if name != "coco"])
def test_a_run_that_no_machine_can_hold_is_refused_with_its_size(
    finst: Finst, tiny: Path, tmp_path: Path, name: str
) -> None:
    options = ("--pairs", 10**8) if name == "cma" else ("--trials", 10**8, *([10**8] if name == "rescue" else []))
    message = finst("run", name, tiny, "--out", tmp_path / "run", *options).message
    assert "units need at least" in message
    assert "GiB of memory" in message
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def mediation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of causal mediation of a model with other weights, and of one with other layers."""
    from finst.experiments.api import run

    found = {}
    for name, body in (("weights", Body(seed=5)), ("layers", Body(layers=4))):
        folder = tmp_path_factory.mktemp(name)
        model = checkpoint(folder / "model", body)
        settings: dict[str, Any] = {"pairs": 4, "permutations": 9, "bootstraps": 9, "only_correct": False}
        found[name] = run("cma", model=str(model), out=folder / "cma", **settings).folder
    return found


@pytest.mark.usefixtures("always_right")
def test_a_wrong_run_of_causal_mediation_is_refused_before_the_folder_exists_and_the_right_one_then_works(
    finst: Finst, tiny: Path, mediation: dict[str, Path], tmp_path: Path
) -> None:
    small = ("--trials", 8, "--estimation", 4, "--k", 1, "--doses", 2, "--draws", 1, "--pairs", 4)
    arguments = ("run", "key-swap", tiny, *small, "--out", tmp_path / "run")
    assert "measured other weights" in finst(*arguments, "--cma", mediation["weights"]).message
    assert not list(tmp_path.iterdir())
    assert "of 4 layers" in finst(*arguments, "--cma", mediation["layers"]).message
    assert not list(tmp_path.iterdir())
    assert finst(*arguments).status == 0
    for name in mediation:
        assert finst("run", "interventions", tiny, "--cma", mediation[name], "--out", tmp_path / "all").status == 2
        assert not (tmp_path / "all").exists()


def test_a_place_for_causal_mediation_that_is_taken_is_refused_before_weights_load(
    finst: Finst, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "open_vlm", lambda *_, **__: pytest.fail("weights were loaded"))
    (tmp_path / "run-cma").mkdir()
    (tmp_path / "run-cma" / "thesis.tex").write_text("years of work")
    before = contents(tmp_path)
    assert "holds 'thesis.tex' and no run" in finst("run", "reuse", tiny, "--ks", 1, "--out", tmp_path / "run").message
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("name", "option"), [("coco", "--photos"), ("photoreal", "--pictures")])
def test_a_folder_of_pictures_that_is_wrong_creates_nothing(
    finst: Finst, tiny: Path, tmp_path: Path, name: str, option: str
) -> None:
    (tmp_path / "empty").mkdir()
    before = contents(tmp_path)
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        assert finst("run", name, tiny, "--ks", 1, option, folder, "--out", tmp_path / "run").status == 2
        assert contents(tmp_path) == before


class Unsuitable(SmallKeySwap):
    def check(self, spec: Any, reader: Any) -> None:
        raise FinstError("the model is unsuitable")


@pytest.mark.usefixtures("always_right")
def test_all_interventions_open_and_hash_the_model_once_and_take_sizes(
    finst: Finst, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, hashed = [], []
    open_vlm, digest = commands.open_vlm, vars(VLM)["weights_hash"].func
    monkeypatch.setattr(commands, "open_vlm", lambda *a, **k: opened.append(a) or open_vlm(*a, **k))
    monkeypatch.setattr(executor, "open_vlm", lambda *_, **__: pytest.fail("the model was opened again"))
    monkeypatch.setattr(vars(VLM)["weights_hash"], "func", lambda vlm: hashed.append(vlm) or digest(vlm))
    monkeypatch.setattr(effects, "interventions", lambda: {"key-swap": SmallKeySwap(), "unsuitable": Unsuitable()})
    arguments = ("run", "interventions", tiny, "--pairs", 4, "--out", tmp_path / "all")
    sizes = ("--trials", 10, "--doses", 1, 3, "--factor", "key-swap.estimation=5", "--dtype", "fp32")
    outcome = finst(*arguments, *sizes)
    assert outcome.status == 0, outcome.err
    assert (len(opened), len(hashed)) == (1, 1)
    for line in (
        "trials=10: key-swap, unsuitable",
        "doses=[1.0, 3.0]: key-swap, unsuitable",
        "key-swap.estimation=5: key-swap; not unsuitable",
    ):
        assert line in outcome.err
    spec = json.loads((tmp_path / "all" / "key-swap" / "manifest.json").read_text())["spec"]
    assert (spec["trials"], spec["doses"], spec["estimation"]) == (10, [1.0, 3.0], 5)
    assert "not run: unsuitable: the model is unsuitable" in outcome.out


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        ("pears=3", "no intervention takes pears=3"),
        ("resque.trials=[1,1]", "unknown intervention 'resque': expected one of photoreal, reuse"),
        ("rescue.pears=1", "unknown factor 'pears'"),
        ("rescue.trials=many", "invalid factor 'trials=many'"),
        ("trials=-1", "no intervention that takes trials=-1 can be run: photoreal: trials is -1"),
    ],
)
def test_options_of_no_intervention_are_refused(
    finst: Finst, tiny: Path, tmp_path: Path, factor: str, message: str
) -> None:
    assert message in finst("run", "interventions", tiny, "--factor", factor, "--out", tmp_path / "all").message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["bf16", "BF16", "half", "fp64"])
def test_other_names_of_formats_are_taken_as_option_and_as_factor_alike(
    finst: Finst, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    full = {"bf16": "bfloat16", "BF16": "bfloat16", "half": "float16", "fp64": "float64"}[name]
    seen: list[str] = []
    monkeypatch.setattr(commands, "_run", lambda _, spec, out, **__: seen.append(spec.dtype))
    for arguments in (("--dtype", name), (f"--dtype={name}",), ("--factor", f"dtype={name}")):
        assert finst("run", "cma", tiny, *arguments, "--out", tmp_path / "run").status == 0
    assert seen == [full] * 3


def test_help_shows_where_the_model_stands_and_two_models_are_refused(finst: Finst) -> None:
    for command in (["run", "cma"], ["run", "interventions"], ["explain-discrepancy"]):
        assert f"usage: finst {' '.join(command)} [MODEL]" in finst(*command, "--help").out
        assert "the model is given twice" in finst(*command, "organism", "--model", "planted").message


QUICK = [
    *(["run", name, "organisn"] for name in NAMES),
    ["run", "cma", "organism", "--pairs", "0"],
    ["run", "cma", "organism", "--pairs", "1" + "0" * 12],
    ["run", "reuse", "organism", "--doses", "nan"],
    ["run", "reuse", "organism", "--cma", "nowhere"],
    ["run", "interventions", "organisn"],
    ["compare", "nowhere", "elsewhere"],
    ["interventions", "nowhere"],
    ["heads", "nowhere"],
    ["verify", "organism", "--run", "nowhere"],
    ["inspect", "organisn"],
    ["score"],
    ["score", "organisn"],
    ["score", "organism", "planted"],
    ["score", "organism", "--fast", "--full"],
    ["run", "cma", "organism", "--executor", "slurm"],
    ["run", "interventions", "organism", "--workers", "0"],
    ["run", "cma", "organism", "--executor", "processes", "--device", "cuda:all"],
    ["reproduce", "organism", "--executor", "here", "--workers", "2"],
]


def test_refusals_that_need_no_model_import_nothing_heavy() -> None:
    code = f"""
import sys
from finst.cli.main import main
for arguments in {QUICK}:
    status = main(arguments)
    print("seen:", status, *{{"torch", "numpy", "transformers", "matplotlib", "xarray"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["seen: 2"] * len(QUICK)
    assert len(done.stderr.splitlines()) == len(QUICK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--executor", "slurm"), "unknown executor 'slurm': expected one of here, processes, ray, ray:ADDRESS"),
        (("--workers", "0"), "workers is 0: expected 1 to 1,024"),
        (("--executor", "here", "--workers", "2"), "here, which is one process"),
        (("--factor", "device=cuda:all", "--workers", "2"), "is one model on all GPUs"),
    ],
)
@pytest.mark.parametrize("command", [("run", "cma"), ("run", "interventions"), ("reproduce",)])
def test_executors_that_cannot_be_are_refused(
    finst: Finst, tiny: Path, tmp_path: Path, command: tuple[str, ...], arguments: tuple[str, ...], message: str
) -> None:
    if command != ("run", "cma") and "--factor" in arguments:
        arguments = ("--device", "cuda:all", "--workers", "2")
    assert message in finst(*command, tiny, *arguments, "--out", tmp_path / "run").message
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU")
def test_more_workers_than_gpus_are_refused_before_weights_load(
    finst: Finst, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "open_vlm", lambda *_, **__: pytest.fail("weights were loaded"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    message = finst("run", "cma", tiny, "--workers", 3, "--out", tmp_path / "run").message
    assert "workers is 3, and there are 2 visible GPUs: expected at most 2" in message
    assert not list(tmp_path.iterdir())


def test_the_executor_is_what_measures(
    finst: Finst, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(commands, "_run", lambda *_, backend: seen.append(backend.name))
    for arguments in ((), ("--executor", "processes"), ("--workers", 2), ("--executor", "here")):
        assert finst("run", "cma", tiny, "--device", "cpu", *arguments, "--out", tmp_path / "run").status == 0
    assert seen == ["here", "processes", "processes", "here"]


def finst_process(*arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """``finst`` in a process of its own; None removes a variable of the environment."""
    changed = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    command = [sys.executable, "-m", "finst", *arguments]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False, env=changed, timeout=250
    )


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, id="a notebook's MPLBACKEND"),
        pytest.param({"MPLBACKEND": "no such backend", "TERM": "dumb", "COLUMNS": "1"}, id="narrow and dumb"),
        pytest.param(
            {"HOME": None, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "0"},
            id="no home and ASCII",
        ),
        pytest.param({"HOME": "/proc/nowhere", "XDG_CACHE_HOME": "/proc/nowhere"}, id="no cache"),
    ],
)
def test_surroundings_do_no_harm(tiny: Path, tmp_path: Path, environment: dict[str, str | None]) -> None:
    out = tmp_path / "run"
    few = ("--objects", "2", "--entropies", "low", "--placements", "prefill", "--trials", "2")
    done = finst_process("run", "accuracy", str(tiny), *few, "--out", str(out), **environment)
    assert done.returncode == 0, done.stderr
    assert (out / "report.html").is_file()


@pytest.mark.parametrize("environment", [{"COLUMNS": "1"}, {"TERM": "dumb"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_help_is_laid_out_everywhere(environment: dict[str, str]) -> None:
    done = finst_process("run", "cma", "--help", **environment)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", ">/dev/full", "2>/dev/full"])
@pytest.mark.parametrize("arguments", ["--help", "run cma organisn"])
def test_outputs_that_are_closed_or_full_are_no_traceback(closing: str, arguments: str) -> None:
    command = f"{sys.executable} -m finst {arguments} {closing}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "organisn" in arguments or closing == ">/dev/full" else 0)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
