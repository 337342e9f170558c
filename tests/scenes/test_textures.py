"""Textures of renders: seamless noise, mixtures of colours, and colours that reflect at most all light."""

from __future__ import annotations

import numpy as np
import pytest

from finst.scenes.renders import textures

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


@pytest.mark.parametrize("shape", [(32, 32), (16, 48), (1, 64)])
def test_noise_is_standardised_and_seeded(shape: tuple[int, int]) -> None:
    first, again, other = (textures.noise(np.random.default_rng(seed), shape, 1.5) for seed in (0, 0, 1))
    assert first.shape == shape
    assert first.mean() == pytest.approx(0, abs=1e-12)
    assert first.std() == pytest.approx(1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noise_repeats_without_a_seam() -> None:
    field = textures.noise(np.random.default_rng(0), (64, 64), 2.0, finest=8)
    inner, seam = abs(np.diff(field, axis=0)).mean(), abs(field[0] - field[-1]).mean()
    assert seam < 2 * inner


def test_finest_suppresses_short_waves() -> None:
    rough, smooth = (textures.noise(np.random.default_rng(0), (64, 64), 0.5, finest) for finest in (0.0, 12.0))
    assert abs(np.diff(smooth, axis=0)).mean() < abs(np.diff(rough, axis=0)).mean() / 3


def test_mixtures_are_clipped_at_their_ends() -> None:
    mixed = textures.mixed(np.array([[-1.0, 0.0, 0.25, 1.0, 2.0]]), RED, BLUE)
    assert mixed[0].tolist() == [[1, 0, 0], [1, 0, 0], [0.75, 0, 0.25], [0, 0, 1], [0, 0, 1]]


def test_colours_reflect_between_no_and_all_light() -> None:
    rng = np.random.default_rng(0)
    sand, heights = textures.sand(rng, 32)
    salt, rims = textures.salt(rng, 32, 4)
    assert heights.shape == rims.shape == (32, 32)
    boards, painting, shore = textures.parquet(rng, 128, 4), textures.painting(rng, 24, 32), textures.shore(rng, 32, 48)
    assert (boards.shape, painting.shape, shore.shape) == ((128, 128, 3), (24, 32, 3), (32, 48, 3))
    for colours in (sand, salt, boards, painting, shore):
        assert 0 <= colours.min() < colours.max() <= 1


def test_a_shore_runs_from_water_to_dry_sand() -> None:
    shore = textures.shore(np.random.default_rng(0), 64, 64)
    water, sand = shore[0].mean(0), shore[-1].mean(0)
    assert water[2] > water[0]
    assert sand[0] > sand[2]
