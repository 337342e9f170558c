"""What the commands do with good input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from finst.cli import commands
from finst.cli.main import COMMANDS
from finst.experiments.api import load
from finst.experiments.registry import ENTRIES
from tests.cli.conftest import Finst

SWEEP_KEYS = {
    "model",
    "device",
    "dtype",
    "tokens",
    "heads",
    "ours_s",
    "hooks_s",
    "nnsight_s",
    "ratio_hooks",
    "ratio_nnsight",
    "max_abs_error",
}


def test_help_lists_every_command(finst: Finst) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        outcome = finst(*arguments)
        assert outcome.status == 0
        assert all(f"finst {command.name}" in outcome.out for command in COMMANDS)
    assert "finst run cma" in finst("run").out
    assert "finst demo" not in finst("run", "--help").out


def test_help_and_refusals_are_quick_because_they_import_nothing_heavy() -> None:
    """Help of every command; misspelt commands, experiments and options; a misspelt model in every experiment."""
    refused = [["rum"], ["run", "cmaa", "organism"], ["run", "cma", "--paris", "3"], ["models", "--al"]]
    refused += [["run", entry.name, "organisn"] for entry in ENTRIES]
    helped = [[*command.words, "--help"] for command in COMMANDS]
    code = f"""
import sys
from finst.cli.main import main
for arguments in {[["--help"], *helped, *refused]}:
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    heavy = {{"torch", "numpy", "transformers", "matplotlib", "pandas", "xarray"}} & set(sys.modules)
    print("seen:", *arguments, bool(status), *heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seen = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("seen:")]
    assert seen == [
        *([*arguments, "False"] for arguments in ([["--help"], *helped])),
        *([*arguments, "True"] for arguments in refused),
    ]


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_has_help(finst: Finst, command: str) -> None:
    outcome = finst(*command.split(), "--help")
    assert outcome.status == 0
    assert f"usage: finst {command}" in outcome.out


def test_version(finst: Finst) -> None:
    assert finst("--version").out.startswith("finst 0.")


@pytest.mark.parametrize("options", [[], ["--grid", "3x3", "--objects", 9, "--placement", "user_turn"]])
def test_inspect_draws(finst: Finst, tiny: Path, tmp_path: Path, options: list[object]) -> None:
    out = tmp_path / "new" / "x.png"
    outcome = finst("inspect", tiny, "--out", out, *options)
    assert (outcome.status, outcome.out) == (0, f"drawn: {out}\n")
    with Image.open(out) as picture:
        assert min(picture.size) > 900
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 100


@pytest.mark.usefixtures("always_right")
def test_run_cma_ends_with_heads_a_verdict_and_a_report(finst: Finst, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "cma"
    arguments = ("run", "cma", "--model", tiny, "--out", out, "--pairs", 6, "--permutations", 99, "--bootstraps", 99)
    outcome = finst(*arguments)
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1] == f"report: {out / 'report.html'}"
    for stage in ("ID retrieval", "ID selection", "Feature retrieval"):
        assert f"{stage}: " in outcome.out
    assert len(re.findall(r"  L\d+H\d+ ", outcome.out)) == 9
    assert "2 of 2 units measured" in outcome.err
    page = (out / "report.html").read_text()
    assert json.loads((out / "manifest.json").read_text())["model"]["hash"] in page
    figures = {path.stem for path in (out / "figures").glob("*.png")}
    assert figures
    assert figures == {path.stem for path in (out / "figures").glob("*.csv")}
    again = finst(*arguments)
    assert again.out == outcome.out
    assert "2 of 2 units were measured before" in again.err


@pytest.mark.usefixtures("always_right")
def test_interventions_make_their_run_of_causal_mediation_or_take_one(finst: Finst, tiny: Path, tmp_path: Path) -> None:
    arguments = ("run", "key-swap", tiny, "--trials", 8, "--estimation", 4, "--k", 2, "--doses", 2, "--draws", 1)
    first = finst(*arguments, "--pairs", 4, "--out", tmp_path / "first")
    assert first.status == 0
    assert first.out.splitlines()[-1] == f"report: {tmp_path / 'first' / 'report.html'}"
    assert load(tmp_path / "first").findings.text in first.out
    assert json.loads((tmp_path / "first-cma" / "manifest.json").read_text())["experiment"] == "cma"
    again = finst(*arguments, "--cma", tmp_path / "first-cma", "--out", tmp_path / "second")
    assert again.out.replace("second", "first") == first.out


def test_run_pca_takes_the_model_as_its_first_word_and_ends_with_a_table(
    finst: Finst, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pca"
    outcome = finst("run", "pca", tiny, "--trials", 2, "--components", 3, "--out", out)
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1] == f"report: {out / 'report.html'}"
    assert load(out).findings.text in outcome.out
    assert "1 of 1 units measured (trials 0-71)" in outcome.err


def test_bench_sweep_writes_what_it_prints(finst: Finst, tiny: Path, tmp_path: Path) -> None:
    outcome = finst("bench", "sweep", "--model", tiny, "--repeats", 1, "--json", tmp_path / "x.json")
    assert outcome.status == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert json.loads(outcome.out) == found
    assert set(found) >= SWEEP_KEYS
    assert found["max_abs_error"] < 1e-4


def test_bench_sweep_alone(finst: Finst, tiny: Path) -> None:
    outcome = finst("bench", "sweep", "--model", tiny, "--repeats", 1, "--condition", "feature", "--engines")
    assert outcome.status == 0
    found = json.loads(outcome.out)
    assert (found["condition"], found["hooks_s"], found["nnsight_s"]) == ("feature", None, None)


def test_bench_paper_writes_what_it_prints(finst: Finst, tiny: Path, tmp_path: Path) -> None:
    outcome = finst("bench", "paper", "--model", tiny, "--pairs", 3, "--inputs", 2, "--json", tmp_path / "x.json")
    assert outcome.status == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert json.loads(outcome.out) == found
    assert found["runs"] == 3 * 3 * found["heads"]
    assert "2 of 2 units measured (pairs 2-2)" in outcome.err


def test_bench_rsa_writes_what_it_prints(finst: Finst, tmp_path: Path) -> None:
    few = ("--trials", 30, "--layers", 1, "--roles", 2, "--d-model", 8, "--plain-trials", 20, "--plain-permutations", 2)
    outcome = finst("bench", "rsa", *few, "--json", tmp_path / "x.json")
    assert outcome.status == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert json.loads(outcome.out) == found
    assert (found["places"], found["permutations"]) == (2, 1000)


def test_bench_attribution_prints_a_table_and_writes_its_numbers(finst: Finst, tiny: Path, tmp_path: Path) -> None:
    few = ("--pairs", 2, "--steps", 2, "--bootstraps", 50)
    outcome = finst("bench", "attribution", "--model", tiny, *few, "--json", tmp_path / "x.json")
    assert outcome.status == 0
    rows = json.loads((tmp_path / "x.json").read_text())["agreements"]
    assert [(row["condition"], row["steps"]) for row in rows[:3]] == [
        ("id_retrieval", 1),
        ("id_retrieval", 2),
        ("id_selection", 1),
    ]
    assert all(f"{row['rank_correlation']:.2f} [" in outcome.out for row in rows)


def test_an_interrupt_is_no_traceback(finst: Finst, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, line in (
        ((), "finst: interrupted\n"),
        (("3 units are kept",), "finst: interrupted: 3 units are kept\n"),
    ):

        def interrupted(*_: object, arguments: tuple[str, ...] = arguments) -> None:
            raise KeyboardInterrupt(*arguments)

        monkeypatch.setattr(commands, "inspect", interrupted)
        outcome = finst("inspect", tiny)
        assert (outcome.status, outcome.err) == (130, line)


def test_output_that_nobody_reads_to_the_end_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for arguments in (["--help"], ["run", "cma", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "finst", *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (141, "finst: the reader of the output closed it before the end\n")
    os.close(writer)


def test_output_that_cannot_hold_every_character() -> None:
    code = "import sys; from finst.cli import main; main._help = lambda _: 'a ± b'; sys.exit(main.main([]))"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a ? b\n", "")
