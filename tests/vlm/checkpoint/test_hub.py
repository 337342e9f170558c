"""Models of the hub: gated, private, absent, and without a network; a small server stands for the hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError

from finst.errors import FinstError
from finst.vlm import open as opening
from finst.vlm.checkpoint import hub
from finst.vlm.open import open_reader, open_vlm

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Refusing(BaseHTTPRequestHandler):
    """Answers every question about a repository by the name of its owner: STATUS-CODE/anything."""

    def do_GET(self) -> None:
        parts = self.path.split("/")
        status, _, code = next((part for part in parts if part[:3].isdigit()), "200-").partition("-")
        self.send_response(int(status))
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Says nothing."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def outcomes(cache: Path, endpoint: str, *commands: list[str]) -> list[tuple[int, str, str]]:
    """Status, output and errors of ``finst`` commands in one process that is online with this endpoint."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {k: v for k, v in environment.items() if not k.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache)}
    code = f"""
import contextlib, io, json
from finst.cli.main import main
done = []
for command in {commands!r}:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(command)
    done.append((status, out.getvalue(), err.getvalue()))
print(json.dumps(done))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    return [tuple(outcome) for outcome in json.loads(done.stdout)]


ANSWERS = {
    "403-GatedRepo/model": "403-GatedRepo/model is gated",
    "401-GatedRepo/model": "401-GatedRepo/model is gated",
    "403-Other/model": "403-Other/model is gated",
    "404-RepoNotFound/model": "unknown model '404-RepoNotFound/model' (the hub has no such repository, or it is",
    "401-Other/model": "unknown model '401-Other/model' (the hub has no such repository, or it is private",
    "404-RevisionNotFound/model": "404-RevisionNotFound/model has no revision 'v9'",
    "451-Other/model": "451-Other/model: the hub does not give its small files",
}
"""How refusals of repositories begin, by what the hub answers."""


def test_what_the_hub_answers_is_said(tmp_path: Path, endpoint: str) -> None:
    commands = []
    for repo in ANSWERS:
        revision = ["--revision", "v9"] if "Revision" in repo else []
        commands += [["check", repo, *revision], ["run", "cma", repo, *revision, "--out", str(tmp_path / "run")]]
    done = outcomes(tmp_path, endpoint, *commands)
    for words, check, run in zip(ANSWERS.values(), done[::2], done[1::2], strict=True):
        assert check == run
        assert check[:2] == (2, "")
        assert check[2].startswith(f"finst: {words}")
        assert check[2].count("\n") == 1
        assert ("accept its conditions at" in check[2]) == ("gated" in words)


def test_no_network_is_said_and_cached_models_open(tmp_path: Path, folder: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    repo = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(folder, repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    cached = ["check", "someone/tiny", "--pairs", "1", "--device", "cpu", "--json"]
    absent, found = outcomes(tmp_path, nowhere, ["check", "someone/absent"], cached)
    assert (absent[0], absent[2].count("\n")) == (2, 1)
    assert absent[2].startswith(f"finst: someone/absent: no network ({nowhere} cannot be reached, ConnectError")
    assert "unknown model" not in absent[2]
    assert (found[0], found[2]) == (0, "")
    assert json.loads(found[1])["experiments"]["accuracy"] == "yes"


def test_an_answer_is_awaited_for_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_ask", lambda answers: time.sleep(30))
    started = time.perf_counter()
    with pytest.raises(TimeoutError, match="no answer within 2 s"):
        hub.reach()
    assert time.perf_counter() - started < 10  # the rest is the machine's load


def test_gated_models_that_are_not_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repo: str, *, local_files_only: bool = False, **_: object) -> str:
        raise LocalEntryNotFoundError("no") if local_files_only else GatedRepoError.__new__(GatedRepoError, "no")

    monkeypatch.setattr(opening, "snapshot_download", download)
    with pytest.raises(FinstError, match=r"google/gemma-3-4b-it is gated: .* accept its conditions at .*HF_TOKEN"):
        open_vlm("google/gemma-3-4b-it")


def test_offline_mode_is_no_unknown_model() -> None:
    with pytest.raises(hub.UnavailableError, match=r"no/such-model: no network \(HF_HUB_OFFLINE is set\)"):
        open_reader("no/such-model")
