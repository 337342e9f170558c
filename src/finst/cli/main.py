"""``finst COMMAND ...``: what is typed, turned into one of ``finst.cli.commands``.

Nothing heavy is imported before a command is chosen, so that ``finst --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from finst.errors import FinstError, choice


@dataclass(frozen=True)
class Command:
    """The words after ``finst``, what they do, and the function of ``finst.cli.commands`` that takes the arguments."""

    words: tuple[str, ...]
    summary: str
    function: str

    @property
    def name(self) -> str:
        """As typed after ``finst``."""
        return " ".join(self.words)


COMMANDS = (
    Command(("demo",), "the paper's central result on the built-in model, with a report", "demo"),
    Command(("run", "cma"), "causal mediation over every attention head of any model", "run_cma"),
    Command(("run", "pca"), "principal components by layer, coloured by position and features", "run_pca"),
    Command(("run", "rsa-stages"), "similarity with position and features at commas and last token", "run_rsa_stages"),
    Command(("run", "rsa-frame"), "similarity with relative and absolute position", "run_rsa_frame"),
    Command(("run", "rsa-entropy"), "similarity and accuracy when objects share features", "run_rsa_entropy"),
    Command(("run", "accuracy"), "accuracy by number of objects, entropy and placement", "run_accuracy"),
    Command(("run", "photoreal"), "steering which of two things is named, in all three stages", "run_intervention"),
    Command(("run", "reuse"), "position IDs of scene description written into spatial questions", "run_intervention"),
    Command(("run", "key-swap"), "indexes of two objects exchanged in the keys of their patches", "run_intervention"),
    Command(("run", "frame-patch"), "indexes of one arrangement in another: relative or absolute", "run_intervention"),
    Command(("run", "transfer"), "position IDs of every task written into every other, by stage", "run_intervention"),
    Command(("run", "rescue"), "low entropy with selection outputs of high entropy", "run_intervention"),
    Command(("run", "counting"), "counting while the strongest or weakest heads are silent", "run_intervention"),
    Command(("run", "coco"), "IDs of what is named first, written where the second thing is named", "run_intervention"),
    Command(("run", "interventions"), "all interventions, and one table of their effects", "run_interventions"),
    Command(("compare",), "puts finished runs of one experiment side by side on one page", "compare"),
    Command(("interventions",), "puts effects of finished interventions into one table", "interventions"),
    Command(("explain-discrepancy",), "which choices of a reproduction bend which results", "explain_discrepancy"),
    Command(("verify",), "replays random cells of a result by plain hooks and nnsight", "verify"),
    Command(("inspect",), "draws what a model sees: patches, objects, the role of every token", "inspect"),
    Command(("render",), "path-traced pictures of two things, left and right, with masks", "render"),
    Command(("models",), "lists published models: sizes, image tokens, memory, what is supported", "models"),
    Command(("check",), "tells before a download whether a model fits here and how long it will take", "check"),
    Command(("train", "organism"), "trains the built-in model from scratch", "train_organism"),
    Command(("bench", "sweep"), "times the engine against a plain hook loop and nnsight", "bench_sweep"),
    Command(("bench", "paper"), "times causal mediation at the paper's scale", "bench_paper"),
    Command(("bench", "precision"), "holds number formats against float32 by the scores they give", "bench_precision"),
    Command(("bench", "rsa"), "times representational similarity analysis of random activations", "bench_rsa"),
    Command(("bench", "grid"), "times grids of K and dose against one unedited pass", "bench_grid"),
    Command(("bench", "attribution"), "holds attribution patching against the exact map", "bench_attribution"),
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
        print("finst: whoever read the output closed it before the end", file=sys.stderr)
        # What is still buffered has nowhere to go, and Python would complain of it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _dispatch(arguments: list[str]) -> int:
    """The exit status that the command asks for, 0 unless it says otherwise."""
    for command in COMMANDS:
        count = len(command.words)
        if arguments[:count] == list(command.words):
            function = getattr(import_module("finst.cli.commands"), command.function)
            return function(f"finst {command.name}", arguments[count:]) or 0
    if arguments == ["--version"]:
        print(f"finst {version('finst')}")
        return 0
    words = [word for word in arguments if word not in ("-h", "--help")]
    matching = [command for command in COMMANDS if list(command.words[: len(words)]) == words]
    if not matching:
        raise choice("command", " ".join(words), (command.name for command in COMMANDS))
    print(_help(matching))
    return 0


def _help(commands: Sequence[Command]) -> str:
    width = max(len(command.name) for command in commands)
    listed = [f"  finst {command.name:<{width}}   {command.summary}" for command in commands]
    first = "finst finds, measures and edits the visual indexes inside vision-language models."
    last = "finst COMMAND --help lists the options of a command; finst --version tells the version."
    return "\n".join([first, "", *listed, "", last])
