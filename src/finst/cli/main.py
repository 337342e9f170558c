"""``finst COMMAND ...``: from the command line to options and one function.

Only what a command needs is imported, and heavy modules only after the options are parsed, so that help and refusals
are quick.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from typing import Any, Literal

from finst.errors import FinstError, cannot, check_run, choice, out_of_memory
from finst.experiments.registry import ENTRIES, located
from finst.options import full_name


@dataclass(frozen=True)
class Command:
    """The words after ``finst``, their summary, the class of the options, and the function to call."""

    words: tuple[str, ...]
    summary: str
    options: str
    """``module:Class`` of a dataclass."""
    action: str
    """``module:function``, called with the last word and the options; its result, if any, is the exit status."""
    takes: Literal["options", "run", "file"] = "options"
    """Takes the options alone, with those of every experiment, or with a file for the result."""
    shapes: bool = False
    """Whether the model may be the name of a published shape."""

    @property
    def name(self) -> str:
        """As typed after ``finst``."""
        return " ".join(self.words)

    def parse(self, arguments: Sequence[str]) -> Any:
        """The options. Raises SystemExit after printing help or an error message about an option."""
        tyro: Any = located("tyro:cli")
        kind = located(self.options)
        if self.takes == "options":
            whole, description = kind, None
        else:
            whole = located(f"finst.cli.options:{'RunExperiment' if self.takes == 'run' else 'ToFile'}")[kind]
            description = cleandoc(kind.__doc__ or "")
        named, program = _full_names(arguments), f"finst {self.name}"
        if self.words[0] in ("run", "explain-discrepancy"):
            named, program = _named(named), f"{program} [MODEL]"
        return tyro(whole, prog=program, args=named, description=description)


_NARROWEST = 40
"""Columns for which help is laid out at least; in a few of them its layout never ends."""

_FORMATS = ("--dtype", "--formats", "--logits")
"""Options that take number formats."""

_OPTIONS, _COMMANDS, _BENCH = "finst.cli.options", "finst.cli.commands", "finst.bench"


def _benchmark(name: str, kind: str, summary: str) -> Command:
    return Command(("bench", name), summary, f"{_BENCH}.spec:{kind}", f"{_COMMANDS}:benchmark", "file")


COMMANDS = (
    Command(
        ("demo",),
        "the paper's central result on the built-in model, with a report",
        f"{_OPTIONS}:Demo",
        f"{_COMMANDS}:demo",
    ),
    Command(
        ("reproduce",),
        "every experiment of the paper with one model, from one plan",
        f"{_OPTIONS}:Reproduce",
        f"{_COMMANDS}:reproduce",
    ),
    Command(
        ("score",),
        "the numbers by which a checkpoint is tracked, or several side by side",
        f"{_OPTIONS}:Score",
        f"{_COMMANDS}:score",
    ),
    Command(
        ("rehearse",),
        "whether such a plan will run here, and how long it will take, without weights",
        f"{_OPTIONS}:Rehearse",
        f"{_COMMANDS}:rehearse",
        shapes=True,
    ),
    *(
        Command(("run", entry.name), entry.summary, entry.spec_place, f"{_COMMANDS}:run_experiment", "run")
        for entry in ENTRIES
    ),
    Command(
        ("run", "interventions"),
        "all interventions, and one table of their effects",
        f"{_OPTIONS}:RunInterventions",
        f"{_COMMANDS}:run_interventions",
    ),
    Command(
        ("export",),
        "the numbers of a finished run as CSV, Parquet or netCDF",
        f"{_OPTIONS}:Export",
        f"{_COMMANDS}:export",
    ),
    Command(
        ("report",),
        "the page of a reproduction made again, or several models on one page",
        f"{_OPTIONS}:Report",
        f"{_COMMANDS}:report",
    ),
    Command(
        ("compare",),
        "finished runs of one experiment side by side on one page",
        f"{_OPTIONS}:Compare",
        f"{_COMMANDS}:compare",
    ),
    Command(
        ("interventions",),
        "effects of finished interventions in one table",
        f"{_OPTIONS}:Effects",
        f"{_COMMANDS}:effects",
    ),
    Command(
        ("heads",),
        "a page to explore all heads of a run of causal mediation one by one",
        f"{_OPTIONS}:Heads",
        f"{_COMMANDS}:heads",
    ),
    Command(
        ("explain-discrepancy",),
        "which choices of a reproduction change which results",
        f"{_OPTIONS}:ExplainDiscrepancy",
        f"{_COMMANDS}:explain_discrepancy",
    ),
    Command(
        ("verify",),
        "measures a random part of a result again and compares",
        f"{_OPTIONS}:Verify",
        f"{_COMMANDS}:verify",
        "file",
    ),
    Command(
        ("inspect",),
        "draws what a model sees: patches, objects, the role of every token",
        f"{_OPTIONS}:Inspect",
        f"{_COMMANDS}:inspect",
    ),
    Command(
        ("render",),
        "path-traced pictures of two things, left and right, with masks",
        f"{_OPTIONS}:Render",
        f"{_COMMANDS}:render",
    ),
    Command(
        ("models",),
        "lists published models: sizes, image tokens, memory, what is supported",
        f"{_OPTIONS}:Models",
        f"{_COMMANDS}:models",
    ),
    Command(
        ("check",),
        "estimates memory and run time of a model before its weights are downloaded",
        f"{_OPTIONS}:Check",
        f"{_COMMANDS}:check",
        shapes=True,
    ),
    Command(
        ("train", "organism"),
        "trains the built-in model from scratch",
        "finst.builtin.organism.training.spec:TrainSpec",
        f"{_COMMANDS}:train_organism",
    ),
    _benchmark("sweep", "BenchSweep", "times the engine beside a plain hook loop and nnsight"),
    _benchmark("paper", "BenchPaper", "times causal mediation at the paper's scale"),
    _benchmark("executors", "BenchExecutors", "times causal mediation by several workers beside one"),
    _benchmark("precision", "BenchPrecision", "compares number formats with float32 by the scores they give"),
    _benchmark("rsa", "BenchRSA", "times representational similarity analysis of random activations"),
    _benchmark("grid", "BenchGrid", "times grids of K and dose beside one unedited pass"),
    Command(
        ("bench", "attribution"),
        "compares attribution patching with the exact map",
        f"{_BENCH}.spec:BenchAttribution",
        f"{_COMMANDS}:bench_attribution",
        "file",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status, 1 for a result that was not reproduced.

    Bad input is one line on stderr and status 2, never a traceback.
    """
    _prepare_process()
    try:
        status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return status
    except FinstError as error:
        return _ended(2, " ".join(str(error).split()))
    except KeyboardInterrupt as interrupt:
        return _ended(130, ": ".join(["interrupted", *map(str, interrupt.args)]))
    except BrokenPipeError:
        return _ended(141, "the reader of the output closed it before the end")
    except OSError as error:
        refusal = cannot("read or write", error.filename or "the output", error)
        return _ended(2, " ".join(str(refusal).split()))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        return _ended(2, f"memory ran out ({reason}): expected smaller settings, or a machine with more memory")


def _prepare_process() -> None:
    """Makes the surroundings harmless: closed outputs, characters that a terminal lacks, a notebook's MPLBACKEND."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell, as in >&-
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (until the process ends)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without "±" gets "?"
    os.environ.pop("MPLBACKEND", None)  # finst shows no windows
    if shutil.get_terminal_size().columns < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)


def _ended(status: int, message: str) -> int:
    """Prints the last line, if anyone reads it, and returns the exit status."""
    for stream, last in ((sys.stdout, ""), (sys.stderr, f"finst: {message}\n")):
        try:
            stream.write(last)
            stream.flush()
        except (OSError, ValueError):
            # Buffered output cannot be written, and Python would report that when it exits.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


def _dispatch(arguments: list[str]) -> int:
    """Runs the command; its exit status, 0 unless it returns another."""
    for command in COMMANDS:
        count = len(command.words)
        if arguments[:count] == list(command.words):
            options = command.parse(arguments[count:])
            _check_quickly(options, command.shapes)
            action: Callable[[str, Any], int | None] = located(command.action)
            return action(command.words[-1], options) or 0
    if arguments == ["--version"]:
        print(f"finst {version('finst')}")
        return 0
    words = [word for word in arguments if word not in ("-h", "--help")]
    matching = [command for command in COMMANDS if list(command.words[: len(words)]) == words]
    if not matching:
        raise choice("command", " ".join(words), (command.name for command in COMMANDS))
    print(_help(matching))
    return 0


def _check_quickly(options: Any, shapes: bool) -> None:
    """Raises FinstError for what can be refused before anything heavy is imported.

    That is a name that no model can have, a number that no run can have, an executor that cannot be, and a folder that
    holds no run.
    """
    spec = getattr(options, "spec", options)
    model = getattr(spec, "model", None)
    if model is not None and not shapes and getattr(spec, "shape", None) is None:
        located("finst.vlm.names:check_name")(model)
    check = getattr(spec, "check", None) or partial(located("finst.vlm.spec:check_numbers"), spec)
    check()
    execution = getattr(options, "execution", None)
    if execution is not None:
        execution.check(spec.device)
    for folder in (*getattr(spec, "runs", ()), getattr(spec, "run", None), getattr(spec, "cma", None)):
        if isinstance(folder, Path):
            check_run(folder)


def _named(arguments: Sequence[str]) -> list[str]:
    """``MODEL ...`` as ``--model MODEL ...``. Raises FinstError when the model is given twice."""
    if not arguments or arguments[0].startswith("-"):
        return [*arguments]
    if any(argument.partition("=")[0] == "--model" for argument in arguments):
        raise FinstError(f"the model is given twice, as {arguments[0]!r} and by --model: expected one of the two")
    return ["--model", *arguments]


def _full_names(arguments: Sequence[str]) -> list[str]:
    """The arguments with other names of number formats, such as ``--dtype bf16``, as the options know them."""
    named, option = [], ""
    for argument in arguments:
        if argument.startswith("--"):
            option, separator, value = argument.partition("=")
            named.append(f"{option}={full_name(value)}" if separator and option in _FORMATS else argument)
        else:
            named.append(full_name(argument) if option in _FORMATS else argument)
    return named


def _help(commands: Sequence[Command]) -> str:
    width = max(len(command.name) for command in commands)
    listed = [f"  finst {command.name:<{width}}   {command.summary}" for command in commands]
    first = "finst finds, measures and edits the visual indexes inside vision-language models."
    last = "finst COMMAND --help lists the options of a command; finst --version prints the version."
    return "\n".join([first, "", *listed, "", last])
