"""Tiny models with one clean and two source contexts, opened once a session and shared by all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from finst.engine.record import Recording, record
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid
from finst.vlm.encode import Encoded, encode, first_tokens
from finst.vlm.open import VLM, open_vlm
from finst.vlm.visibility import reached
from tests.tiny import FAMILIES, ORGANISM_GEOMETRY, Body, checkpoint


@dataclass(frozen=True, eq=False, repr=False)
class Case:
    """A model, the contexts of one mediation pair on a small canvas, and their recording."""

    vlm: VLM
    contexts: tuple[Encoded, ...]
    """clean, swapped, changed"""
    answers: tuple[int, ...]
    recording: Recording

    @property
    def clean(self) -> Encoded:
        return self.contexts[0]

    @property
    def positions(self) -> dict[str, tuple[int, ...]]:
        tokens = self.clean.tokens
        seen = tokens.positions("image") if tokens.unplaced else tokens.object_patches(0)
        return {"described": tokens.described(0), "last": (tokens.last,), "patches": seen}

    def first_reached(self, positions: Iterable[int]) -> int:
        """The first token that may change with what is at ``positions``: they or one of their block."""
        return int(reached(self.recording.blocks, np.array(list(positions))).min())


OpenCase = Callable[..., Case]


@pytest.fixture(scope="session")
def open_case(tmp_path_factory: pytest.TempPathFactory) -> OpenCase:
    """``open_case(body, dtype, device)``; cached."""

    @cache
    def folder(body: Body) -> str:
        return str(checkpoint(tmp_path_factory.mktemp("tiny"), body))

    @cache
    def case(body: Body = ORGANISM_GEOMETRY, dtype: str = "float32", device: str = "cpu") -> Case:
        vlm = open_vlm(folder(body), dtype=dtype, device=device)
        clean = on_grid([("red", "square"), ("blue", "circle")], [(0, 0), (0, 1)], Grid(1, 2))
        scenes = (clean, clean.swapped(0, 1), clean.with_object(1, colour="green", shape="star"))
        prompt = scene_description(clean, described=[0], target=1)
        contexts = tuple(encode(vlm.reader, draw(scene), prompt) for scene in scenes)
        answers = tuple(first_tokens(vlm.reader, prompt, ["red", "blue", "green"]))
        return Case(vlm, contexts, answers, record(vlm, contexts))

    return case


@pytest.fixture(scope="session")
def case(open_case: OpenCase) -> Case:
    """organism's geometry, float32."""
    return open_case()


@pytest.fixture(scope="session")
def exact(open_case: OpenCase) -> Case:
    """organism's geometry, float64: differences above 1e-9 are errors, not rounding."""
    return open_case(ORGANISM_GEOMETRY, "float64")


@pytest.fixture(scope="session", params=FAMILIES)
def family_case(request: pytest.FixtureRequest, open_case: OpenCase) -> Case:
    """Each architecture in turn, float64."""
    return open_case(FAMILIES[request.param], "float64")
