"""``finst COMMAND ...``: from the command line to options and one function.

Only what a command needs is imported, and heavy modules only after the options are parsed, so that help and refusals
are quick.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from inspect import cleandoc
from typing import Any, Literal

from finst.errors import FinstError, choice
from finst.experiments.registry import ENTRIES, located


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
        named = _named(arguments) if self.words[0] in ("run", "explain-discrepancy") else list(arguments)
        return tyro(whole, prog=f"finst {self.name}", args=named, description=description)


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
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without "±" gets "?"
    try:
        status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return status
    except FinstError as error:
        print(f"finst: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(": ".join(["finst: interrupted", *map(str, interrupt.args)]), file=sys.stderr)
        return 130
    except BrokenPipeError:
        print("finst: the reader of the output closed it before the end", file=sys.stderr)
        # Buffered output cannot be written, and Python would report that when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _dispatch(arguments: list[str]) -> int:
    """Runs the command; its exit status, 0 unless it returns another."""
    for command in COMMANDS:
        count = len(command.words)
        if arguments[:count] == list(command.words):
            options = command.parse(arguments[count:])
            if not command.shapes:
                _check_model(options)
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


def _check_model(options: Any) -> None:
    """Raises FinstError for a name that no model can have, before anything heavy is imported."""
    spec = getattr(options, "spec", options)
    model = getattr(spec, "model", None)
    if model is not None and getattr(spec, "shape", None) is None:
        located("finst.vlm.names:check_name")(model)


def _named(arguments: Sequence[str]) -> list[str]:
    """``MODEL ...`` as ``--model MODEL ...``."""
    bare = arguments and not arguments[0].startswith("-")
    return ["--model", *arguments] if bare else [*arguments]


def _help(commands: Sequence[Command]) -> str:
    width = max(len(command.name) for command in commands)
    listed = [f"  finst {command.name:<{width}}   {command.summary}" for command in commands]
    first = "finst finds, measures and edits the visual indexes inside vision-language models."
    last = "finst COMMAND --help lists the options of a command; finst --version prints the version."
    return "\n".join([first, "", *listed, "", last])
