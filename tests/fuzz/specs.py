"""Random settings: as TOML through ``finst.run``, as factors, and as options of the command line.

Whatever is given, there is no traceback, and nothing is created before weights would load. ``case(seed)`` repeats one
case.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from rich.console import Console

from finst.cli import commands
from finst.cli.main import main
from finst.errors import FinstError
from finst.experiments.api import run
from finst.experiments.registry import ENTRIES, REGISTRY, located
from finst.experiments.reproduction import study
from finst.runs import executor
from finst.runs.factors import with_factors
from tests.runs.toy import Toy
from tests.tiny import checkpoint

NUMBERS = (
    "0", "1", "2", "3", "8", "-1", "1000000000", "1000000000000", "1" + "0" * 30, "1" + "0" * 400, "-" + "9" * 25,
    "0.5", "1e-300", "1e308", "-0.0", "1.0", "2.5", "+3", "0x10", "1_000",
)  # fmt: skip
FLOATS = ("nan", "inf", "-inf", "+nan")
WORDS = (
    "", " ", "x", "drawn", "3x3", "2x2", "0x0", "99x99", "-1x2", "low", "high", "prefill", "bf16", "BF16", "float32",
    "8bit", "cpu", "cuda", "cuda:99", "auto", "abacus", "grün 🟥 赤", "a\tb", "a/b", "../..", "/dev/null", "~",
    "~nobody/x", "null", "true", "None", "[1,2]", "[", "{}", "x" * 300, "$a_b$", "%s{}", "-x", "--", "=", "last",
    "comma 0", "z", "resid",
)  # fmt: skip
LISTS = ("[]", "[1, 2]", "[1, 1]", "[0]", "[-3]", '["low"]', '["2x2"]', "[1.5, nan]", "[[1]]", '[1, "a"]')
OTHERS = ("true", "false", "1979-05-27", "07:32:00", "{ a = 1 }", "{}", "{ b = { c = [1] } }")
NAMES = tuple(entry.name for entry in ENTRIES)


class ReachedError(Exception):
    """The settings are accepted: weights would load now."""


@cache
def _model() -> str:
    return str(checkpoint(Path(tempfile.mkdtemp()) / "tiny"))


@cache
def _fields(name: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(located(REGISTRY[name].spec_place)))


def _one(rng: np.random.Generator, of: tuple[str, ...]) -> str:
    return of[rng.integers(len(of))]


def _toml(value: str) -> str:
    """A text as a TOML string."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'


def _setting(rng: np.random.Generator) -> str:
    kinds = (NUMBERS, FLOATS, tuple(map(_toml, WORDS)), LISTS, OTHERS)
    return _one(rng, kinds[rng.choice(5, p=[0.45, 0.1, 0.25, 0.1, 0.1])])


def _field(rng: np.random.Generator, name: str) -> str:
    return _one(rng, (*_fields(name), "pears", "sede"))


def _plan(rng: np.random.Generator, name: str) -> dict[str, Any]:
    """Settings of an experiment, read from a random TOML table."""
    keys = {_field(rng, name) for _ in range(rng.integers(0, 4))} - {"model"}
    lines = [f"{key} = {_setting(rng)}" for key in sorted(keys)]
    model = _model() if rng.random() < 0.85 else _one(rng, WORDS)
    try:
        return tomllib.loads("\n".join([f"model = {_toml(model)}", *lines]))
    except (tomllib.TOMLDecodeError, ValueError):  # such as 0x10 where TOML has no sign, and too many digits
        return {"model": model}


def _python(rng: np.random.Generator) -> None:
    name = _one(rng, NAMES)
    experiment: Any = Toy if rng.random() < 0.1 else name
    with contextlib.suppress(FinstError, ReachedError):
        run(experiment, out=Path("new") / "run", console=Console(file=io.StringIO()), **_plan(rng, name))


def _factors(rng: np.random.Generator) -> None:
    name = _one(rng, NAMES)
    spec = located(REGISTRY[name].spec_place)()
    values = (*NUMBERS, *FLOATS, *WORDS, *LISTS, *OTHERS)
    given = [f"{_field(rng, name)}{_one(rng, ('=', '=', '=', '', ' = '))}{_one(rng, values)}" for _ in range(3)]
    with contextlib.suppress(FinstError):
        with_factors(spec, given[: rng.integers(1, 4)]).check()


def _arguments(rng: np.random.Generator) -> list[str]:
    """A command with random options; those of an experiment are mostly its own."""
    name = _one(rng, NAMES)
    command = _one(rng, ("run", "run", "run", "run", "interventions", "compare", "verify", "effects", "study", "rum"))
    model = _model() if rng.random() < 0.8 else _one(rng, WORDS)
    words = {
        "run": ["run", name, model],
        "interventions": ["run", "interventions", model],
        "compare": ["compare", _one(rng, WORDS), _one(rng, WORDS)],
        "verify": ["verify", model, "--run", _one(rng, WORDS)],
        "effects": ["interventions", _one(rng, WORDS)],
        "study": ["explain-discrepancy", model],
        "rum": ["rum"],
    }[command]
    values = (*NUMBERS, *FLOATS, *WORDS, *LISTS)
    for _ in range(rng.integers(0, 4)):
        option = _field(rng, name).replace("_", "-")
        words += [f"--{option}", *(_one(rng, values) for _ in range(rng.choice(3, p=[0.1, 0.8, 0.1])))]
    if rng.random() < 0.3:
        words += ["--factor", f"{_field(rng, name)}={_one(rng, values)}"]
    if rng.random() < 0.3:
        words += ["--out", _one(rng, ("new", "new/deep", "there", "file", "file/new", "x" * 300, "", ".", "grün 🟥"))]
    return words


def _command_line(rng: np.random.Generator) -> None:
    arguments = _arguments(rng)
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = stop.code
        except ReachedError:
            return
    assert status in (0, 2), (status, arguments)
    assert status == 0 or errors.getvalue(), arguments


def _contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@contextlib.contextmanager
def _surroundings() -> Iterator[Path]:
    """A working folder with a file and a foreign folder in it, and models that stop where weights would load."""

    def reached(*_: object, **__: object) -> None:
        raise ReachedError

    before = os.getcwd()
    with tempfile.TemporaryDirectory() as base, contextlib.ExitStack() as stack:
        folder = Path(base)
        (folder / "there").mkdir()
        (folder / "there" / "thesis.tex").write_text("years of work")
        (folder / "file").write_text("mine")
        for module in (executor, commands, study):
            stack.enter_context(patch.object(module, "open_vlm", reached))
        stack.callback(os.chdir, before)
        os.chdir(folder)
        yield folder


def case(seed: int) -> None:
    """Random settings on one of three ways; the working folder is afterwards as it was, byte by byte."""
    rng = np.random.default_rng(seed)
    with _surroundings() as folder:
        before = _contents(folder)
        (_python, _factors, _command_line)[rng.choice(3, p=[0.4, 0.2, 0.4])](rng)
        assert _contents(folder) == before
