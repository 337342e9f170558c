"""Settings of every test: no network, no hub, one thread of torch, the same examples every time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import settings

import tests.checker  # noqa: F401  (pytest's --jaxtyping-packages names it and does not import it)

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"

settings.register_profile("finst", deadline=None, derandomize=True, max_examples=50, print_blob=True)
settings.load_profile("finst")


class NetworkForbiddenError(RuntimeError):
    """A test tried to reach a network."""


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Every connection and name look-up raises an error; sockets between local processes still work."""
    connect = socket.socket.connect

    def refuse(*arguments: object, **_: object) -> None:
        raise NetworkForbiddenError(f"tests reach no network, and this test tried {arguments[-1]!r}")

    def local_only(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX:
            refuse(address)
        connect(self, address)  # pyright: ignore[reportArgumentType]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_only)
        patch.setattr(socket.socket, "connect_ex", local_only)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Workers share the cores, so torch takes only one; sums are then the same on any number of cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models that finst builds at their first use are cached in a folder of this run, not of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
