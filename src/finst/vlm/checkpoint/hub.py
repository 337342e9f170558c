"""The Hugging Face hub: whether it can be reached, and why files of a repository are not to be had."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, Queue
from threading import Thread

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from finst.errors import FinstError
from finst.vlm.names import unknown_model
from finst.vlm.quiet import cause

_PATIENCE_S = 2.0
"""Seconds to wait for any answer of the hub before its cache is used instead."""


class UnavailableError(FinstError):
    """A model of the hub may exist, and its files cannot be had now."""


def reach() -> None:
    """Raises whatever the network raises, or TimeoutError, when the hub gives no answer within two seconds.

    The client itself would try six times with pauses. A look-up of the hub's name has no time limit of its own, so it
    waits in a thread. Does nothing in the client's offline mode, where the client refuses at once.
    """
    if constants.HF_HUB_OFFLINE:
        return
    answers: Queue[Exception | None] = Queue()
    Thread(target=_ask, args=(answers,), daemon=True).start()
    try:
        failure = answers.get(timeout=_PATIENCE_S)
    except Empty:
        raise TimeoutError(f"no answer within {_PATIENCE_S:g} s") from None
    if failure is not None:
        raise failure


def _ask(answers: Queue[Exception | None]) -> None:
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE_S)
    except Exception as error:  # whatever the client's version raises without a network
        answers.put(error)
    else:
        answers.put(None)


def refusal(repo: str, revision: str | None, what: str, error: Exception) -> FinstError:
    """The error for a repository of the hub whose files (``what``) are neither in its cache nor to be had.

    An ``UnavailableError``, unless the hub says that there is no such repository or revision.
    """
    name = repo if revision is None else f"{repo} at {revision}"
    page = f"{constants.ENDPOINT}/{repo}"
    login = "log in with hf auth login or set HF_TOKEN"
    answer = next((part for part in _chain(error) if isinstance(part, (HfHubHTTPError, HFValidationError))), None)
    status = getattr(getattr(answer, "response", None), "status_code", None)
    if isinstance(answer, GatedRepoError) or (status == 403 and not isinstance(answer, DisabledRepoError)):
        return UnavailableError(
            f"{name} is gated: the hub does not give its files to everyone, and not to you now; accept its conditions "
            f"at {page}, then {login} to a token that may read it"
        )
    if isinstance(answer, RevisionNotFoundError):
        return FinstError(f"{repo} has no revision {revision!r}: expected a branch, tag or commit of {page}")
    if isinstance(answer, RepositoryNotFoundError) or status in (401, 404):
        return unknown_model(name, f"the hub has no such repository, or it is private: for a private one, {login}")
    if isinstance(answer, HFValidationError):
        return unknown_model(name, "no such folder, and no name that the hub takes")
    if isinstance(answer, DisabledRepoError):
        return UnavailableError(f"{name} is disabled by the hub: expected another model")
    if answer is not None:
        return UnavailableError(f"{name}: the hub does not give {what} now ({cause(answer)}): try again later")
    if constants.HF_HUB_OFFLINE:
        why, expected = "HF_HUB_OFFLINE is set", "that variable unset"
    else:
        why, expected = f"{constants.ENDPOINT} cannot be reached, {cause(error)}", "a connection"
    return UnavailableError(
        f"{name}: no network ({why}), and the hub's cache on this machine lacks {what}: expected {expected}, a cached "
        "model, a built-in one, or a folder with config.json and model*.safetensors"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
