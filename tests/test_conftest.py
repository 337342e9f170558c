"""The guards in ``conftest.py`` work: no network, and types and shapes are checked."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from finst.scenes.draw import draw
from finst.scenes.object import Grid, Picture, Scene, on_grid
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
    scene = on_grid([("red", "circle")], [(0, 0)], Grid(2, 2))
    right = draw(scene)
    with pytest.raises(TypeCheckError):
        Picture(scene, right.image[..., :2], right.masks)
    with pytest.raises(TypeCheckError):
        Picture(scene, right.image, right.masks[:, :-1])
    with pytest.raises(TypeCheckError):
        Picture(scene, right.image.astype(np.float32), right.masks)


def test_a_wrong_type_raises() -> None:
    with pytest.raises(TypeCheckError):
        Scene("280", 280, ())  # pyright: ignore[reportArgumentType]
