"""Environments of renders: their names, and what every one of them needs."""

from __future__ import annotations

import numpy as np
import pytest

from finst.errors import FinstError
from finst.scenes.renders.environments import ENVIRONMENTS, surroundings
from finst.scenes.renders.spec import ENVIRONMENT_NAMES, RenderSpec


def test_the_spec_names_all_environments_in_order() -> None:
    assert tuple(ENVIRONMENTS) == ENVIRONMENT_NAMES == RenderSpec().environments


def test_an_unknown_environment_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(FinstError) as error:
        surroundings("moon", np.random.default_rng(0))
    assert all(name in str(error.value) for name in ("'moon'", *ENVIRONMENT_NAMES))


@pytest.mark.parametrize("name", ENVIRONMENT_NAMES)
def test_every_environment_has_ground_light_and_jitter(name: str) -> None:
    first, again, other = (surroundings(name, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.exposure > 0
    grounds = [key for key in first.parts if key in ("sand", "crust", "floor")]
    assert len(grounds) == 1
    assert {"sky", "room"} & set(first.parts)
    assert set(first.parts) == set(other.parts)
    lights = "sky" if "sky" in first.parts else "canvas_0"
    assert str(first.parts[lights]["type"]) == str(again.parts[lights]["type"])
    if lights == "sky":
        assert first.parts["sky"]["sun_direction"] == again.parts["sky"]["sun_direction"]
        assert first.parts["sky"]["sun_direction"] != other.parts["sky"]["sun_direction"]
        assert np.linalg.norm(first.parts["sky"]["sun_direction"]) == pytest.approx(1)
        assert first.parts["sky"]["sun_direction"][1] < 0 < first.parts["sky"]["sun_direction"][2]
