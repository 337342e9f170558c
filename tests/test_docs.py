"""The commands and Python in the documents work, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from finst.cli.main import Command, main

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "src").rglob("README.md"))]
COMPLETE = [document for document in DOCUMENTS if document.parent in (ROOT, ROOT / "docs")]
"""Documents whose Python can be run as it stands; those in the rooms of the package show fragments."""

CHEAP = ("finst demo", "finst inspect organism")
"""Lines that begin like this are run and not only parsed."""


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def lines(word: str) -> list[str]:
    """The lines of all shell blocks that call ``word``, without prompts and comments, each once."""
    text = "\n".join(block for document in DOCUMENTS for block in blocks(document, "bash"))
    typed = [line.removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines()]
    return list(dict.fromkeys(shlex.join(shlex.split(line, comments=True)) for line in typed if line.startswith(word)))


class Parsed(Exception):  # noqa: N818 (nothing went wrong)
    """The command line was understood."""


@pytest.fixture
def only_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Command.parse

    def only(self: Command, arguments: Sequence[str]) -> None:
        raise Parsed(parse(self, arguments))

    monkeypatch.setattr(Command, "parse", only)


def test_the_documents_show_how_to_begin() -> None:
    assert lines("finst ")
    assert lines("make ")
    assert blocks(ROOT / "README.md", "python")


@pytest.mark.usefixtures("only_parse")
@pytest.mark.parametrize("line", lines("finst "))
def test_every_command_and_option_exists(line: str) -> None:
    with pytest.raises(Parsed):
        main(shlex.split(line)[1:])


@pytest.mark.parametrize("line", [line for line in lines("finst ") if line.startswith(CHEAP)])
def test_cheap_commands_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)[1:]) == 0
    assert any(tmp_path.iterdir())


@pytest.mark.parametrize("line", lines("make "))
def test_every_target_of_make_exists(line: str, tmp_path: Path) -> None:
    made = subprocess.run(
        [*shlex.split(line), "--dry-run", f"VENV={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("document", COMPLETE, ids=lambda path: path.name)
def test_python_runs_as_written(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    text = document.read_text()
    for block in blocks(document, "python"):
        before = text[: text.index(block)].count("\n")  # so that a traceback names the document's own lines
        exec(compile("\n" * before + block, str(document), "exec"), namespace)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (document.parent / target).exists()] == []


def test_tables_of_effects_are_those_of_the_numbers_beside_them() -> None:
    text = (ROOT / "docs" / "interventions.md").read_text()
    tables = re.findall(r"<!-- effects (\S+) -->\n\n(.*?)\n\n<!-- end -->", text, re.DOTALL)
    assert tables
    for model, table in tables:
        command = [sys.executable, ROOT / "docs" / "figures" / "effects.py", model]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{table}\n"
