"""The guards in ``conftest.py`` work: no network, and types and shapes are checked."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from finst.report.wording import counted
from finst.scenes.object import Scene
from finst.scenes.to_rgb import on_white
from tests.conftest import NetworkForbiddenError


def test_no_test_reaches_a_network() -> None:
    with pytest.raises(NetworkForbiddenError, match="tests reach no network"):
        socket.create_connection(("127.0.0.1", 9))
    with socket.socket() as plain, pytest.raises(NetworkForbiddenError):
        plain.connect(("127.0.0.1", 9))
    with pytest.raises((NetworkForbiddenError, urllib.error.URLError)):
        urllib.request.urlopen("http://example.org")


def test_the_hub_is_offline() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_a_wrong_shape_raises() -> None:
    pixels, alpha = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)
    assert on_white(pixels, alpha).shape == (4, 5, 3)
    with pytest.raises(TypeCheckError):
        on_white(pixels[..., :2], alpha)
    with pytest.raises(TypeCheckError):
        on_white(pixels, alpha[:-1])
    with pytest.raises(TypeCheckError):
        on_white(pixels.astype(np.float32), alpha)


def test_a_wrong_type_raises_also_where_no_shape_is_named() -> None:
    with pytest.raises(BeartypeCallHintViolation):
        Scene("280", 280, ())  # pyright: ignore[reportArgumentType]
    with pytest.raises(BeartypeCallHintViolation):
        counted("3", "head")  # pyright: ignore[reportArgumentType]
