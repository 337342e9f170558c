"""Whatever is wrong: one message, exit status 2, nothing overwritten, and no weights loaded where that can be known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finst.cli.effects import interventions
from finst.runs import executor
from finst.vlm.names import BUILTIN
from tests.cli.conftest import Finst

FEW = ("--pairs", 4, "--permutations", 50, "--bootstraps", 50)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message must come before any weight is read."""

    def loads(*_: object, **__: object) -> None:
        pytest.fail("weights were loaded")

    monkeypatch.setattr(executor, "open_vlm", loads)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("organisn", "unknown model 'organisn'"),
        ("./nowhere", "unknown model './nowhere'"),
    ],
)
def test_unknown_model(finst: Finst, tmp_path: Path, model: str, message: str) -> None:
    refusal = finst("run", "cma", "--model", model, "--out", tmp_path / "run").message
    assert message in refusal
    assert f"expected a built-in model ({', '.join(BUILTIN)}), a folder" in refusal
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_weights")
def test_folder_without_weights(finst: Finst, tmp_path: Path, tiny: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    refusal = finst("run", "cma", "--model", folder, "--out", tmp_path / "run").message
    assert "has no weights; expected model*.safetensors beside config.json" in refusal
    assert not (tmp_path / "run").exists()
    (folder / "pytorch_model.bin").write_bytes(b"")
    refusal = finst("run", "cma", "--model", folder, "--out", tmp_path / "run").message
    assert "has no weights but pytorch_model.bin, a pickle, which can run code" in refusal


@pytest.mark.usefixtures("no_weights")
def test_prompt_too_long(finst: Finst, tmp_path: Path, tiny: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 100
    (folder / "config.json").write_text(json.dumps(config))
    refusal = finst("run", "cma", "--model", folder, "--out", tmp_path / "run").message
    assert "has 100: expected a shorter prompt or a smaller picture" in refusal
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "preprocessor_config.json"])
def test_folder_without_a_part(finst: Finst, tmp_path: Path, tiny: Path, missing: str) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / missing).unlink()
    refusal = finst("run", "cma", "--model", folder, "--out", tmp_path / "run").message
    assert str(folder) in refusal
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_weights")
def test_answers_that_begin_with_the_same_token(finst: Finst, tmp_path: Path, letters: Path) -> None:
    refusal = finst("run", "cma", "--model", letters, "--out", tmp_path / "run").message
    assert "begin with the same token" in refusal
    assert not (tmp_path / "run").exists()


def test_object_off_the_canvas(finst: Finst, tmp_path: Path, tiny: Path) -> None:
    refusal = finst("inspect", tiny, "--out", tmp_path / "x.png", "--jitter-px", 60).message
    assert "jitter must be in [0, 28) px" in refusal
    assert not (tmp_path / "x.png").exists()


def test_zero_usable_pairs(finst: Finst, tmp_path: Path, tiny: Path) -> None:
    refusal = finst("run", "cma", "--model", tiny, "--out", tmp_path / "run", *FEW).message
    assert "no two usable pairs" in refusal
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--pairs", 0, "pairs is 0"),
        ("--alpha", 1.5, "alpha is 1.5"),
        ("--pairs-per-unit", 0, "pairs_per_unit is 0"),
        ("--seed", -1, "seed is -1"),
        ("--revision", "v2", "has no revision 'v2'"),
    ],
)
def test_numbers_out_of_range(
    finst: Finst, tmp_path: Path, tiny: Path, option: str, value: float, message: str
) -> None:
    assert message in finst("run", "cma", "--model", tiny, "--out", tmp_path / "run", option, value).message
    assert not (tmp_path / "run").exists()


def test_unknown_device(finst: Finst, tmp_path: Path, tiny: Path) -> None:
    refusal = finst("run", "cma", "--model", tiny, "--out", tmp_path / "run", "--device", "abacus").message
    assert "unknown device 'abacus': expected one of auto, cpu" in refusal
    assert not (tmp_path / "run").exists()


def test_out_folder_that_holds_another_run(finst: Finst, tmp_path: Path, tiny: Path) -> None:
    out = tmp_path / "run"
    finst("run", "cma", "--model", tiny, "--out", out, *FEW)
    before = contents(out)
    assert "manifest.json" in before
    refusal = finst("run", "cma", "--model", tiny, "--out", out, *FEW, "--seed", 1).message
    assert "holds another run (seed is 0 there and 1 here): choose another out folder" in refusal
    assert contents(out) == before


@pytest.mark.usefixtures("no_weights")
def test_out_folder_that_holds_something_else(finst: Finst, tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "holds 'thesis.tex' and no run" in finst("run", "cma", "--model", tiny, "--out", tmp_path).message
    assert "is a file" in finst("run", "cma", "--model", tiny, "--out", tmp_path / "thesis.tex").message
    assert "holds 'thesis.tex'" in finst("demo", "--out", tmp_path).message
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "2by2"], "unknown grid '2by2': expected ROWSxCOLUMNS"),
        (["--objects", 5], "a 2x2 grid holds 1 to 4 objects, not 5"),
        (["--objects", 1], "expected 2 or more, not 1"),
        (["--out", "x.bmp"], "unknown picture format '.bmp': expected one of .png, .pdf, .svg"),
    ],
)
def test_inspect(finst: Finst, tiny: Path, arguments: list[object], message: str) -> None:
    assert message in finst("inspect", tiny, *arguments).message


def test_inspect_refuses_a_place_that_is_no_folder(finst: Finst, tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "cannot write" in finst("inspect", tiny, "--out", tmp_path / "file" / "x.png").message
    assert (tmp_path / "file").read_text() == "mine"


def test_bench(finst: Finst, tmp_path: Path, tiny: Path) -> None:
    assert "repeats must be at least 1" in finst("bench", "sweep", "--model", tiny, "--repeats", 0).message
    refusal = finst("bench", "sweep", "--model", tiny, "--json", tmp_path / "no" / "x.json").message
    assert "expected a file in a folder that exists" in refusal
    for command in ("sweep", "paper"):
        refusal = finst("bench", command, "--shape", "gpt-2").message
        assert "unknown shape 'gpt-2': expected one of qwen2-vl-2b, qwen2-vl-7b" in refusal
        assert "belong to a shape" in finst("bench", command, "--tokens", 50).message
    assert "pairs must be at least 1" in finst("bench", "paper", "--pairs", 0).message


def test_train(finst: Finst, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("mine")
    assert "not empty" in finst("train", "organism", "--out", tmp_path).message
    assert "unknown mix 'gin'" in finst("train", "organism", "--out", tmp_path / "new", "--mix", "gin").message
    assert contents(tmp_path) == {"weights": b"mine"}


@pytest.mark.parametrize("arguments", [["rum"], ["run", "rsa"], ["--fast"], ["run", "cma", "x"], ["inspect"]])
def test_unknown_words(finst: Finst, arguments: list[str]) -> None:
    outcome = finst(*arguments)
    assert outcome.status == 2
    assert outcome.err
    assert "Traceback" not in outcome.err


def test_a_real_process_prints_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "finst", "run", "cma", "--model", "no-such-model", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("finst: unknown model 'no-such-model'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("experiment", sorted(interventions()))
def test_heads_without_a_run_of_causal_mediation(finst: Finst, tiny: Path, tmp_path: Path, experiment: str) -> None:
    out = tmp_path / "run"
    option = "--k" if experiment == "key-swap" else "--ks"
    refusal = finst("run", experiment, tiny, "--cma", tmp_path / "nowhere", "--out", out, option, 1).message
    assert "holds no run: expected a folder with manifest.json, such as finst run cma writes" in refusal
    refusal = finst("run", experiment, tiny, "--out", out, option, 99_999).message
    assert f"{option[2:]} holds 99999" in refusal
    assert "heads, so expected numbers from 1 to" in refusal
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_weights")
def test_heads_of_a_run_that_is_no_finished_mediation(finst: Finst, tiny: Path, tmp_path: Path) -> None:
    model = {"id": "tiny", "revision": None, "hash": "0", "dtype": "float32", "device": "cpu"}
    record = {"format": 2, "experiment": "pca", "spec": {}, "seed": 0, "model": model, "units": 2, "sessions": []}
    manifest = tmp_path / "other" / "manifest.json"
    manifest.parent.mkdir()
    arguments = ("run", "reuse", tiny, "--ks", 1, "--cma", manifest.parent, "--out", tmp_path / "run")
    manifest.write_text(json.dumps(record))
    assert "holds a run of 'pca': expected one of causal mediation" in finst(*arguments).message
    manifest.write_text(json.dumps({**record, "experiment": "cma"}))
    assert "holds a run that is not finished: let finst run cma finish it first" in finst(*arguments).message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "factor", "message"),
    [
        ("cma", "readuot=last", "unknown factor 'readuot': expected one of model=TEXT, "),
        ("cma", "readout=first", "expected readout=last|patched_tokens"),
        ("rsa-stages", "leak_target_colour", "has no value: expected leak_target_colour=true|false"),
    ],
)
def test_unknown_factors_are_refused_with_the_valid_ones(
    finst: Finst, tiny: Path, tmp_path: Path, command: str, factor: str, message: str
) -> None:
    arguments = ("run", command, tiny, "--factor", "seed=1", "--factor", factor, "--out", tmp_path / "new")
    assert message in finst(*arguments).message
    assert not (tmp_path / "new").exists()
