"""Renders: extent and orientation of solids, balance of sets, contents of pictures."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finst.errors import FinstError
from finst.scenes.renders.camera import Shot, photograph, placed
from finst.scenes.renders.environments import ENVIRONMENTS
from finst.scenes.renders.render import Rendering, rendering
from finst.scenes.renders.sets import shots
from finst.scenes.renders.solids import MOST, Solid, ellipsoid, inside, solid
from finst.scenes.renders.spec import RenderSpec
from finst.scenes.renders.things import ANIMALS, PAINTS, thing, vocabulary
from finst.scenes.renders.tracer import developed, without_fireflies
from finst.scenes.shapes import OUTLINES, SHAPES, coverage

COLOURS = ("green", "red", "white")
FEW = RenderSpec(count=2, px=64, spp=1, things=("heart", "star"))


def sides(count: int, seed: int = 0) -> list[Counter[tuple[str, str]]]:
    chosen = shots(COLOURS, ANIMALS, tuple(ENVIRONMENTS), count, seed).values()
    return [Counter(shot.things[side] for shot in chosen) for side in (0, 1)]


def test_the_whole_set_has_every_combination_with_two_jitters() -> None:
    chosen = shots(COLOURS, ANIMALS, tuple(ENVIRONMENTS), 324, 0)
    counts = Counter((shot.things, shot.environment) for shot in chosen.values())
    things = list(product(COLOURS, ANIMALS))
    pairs = [(left, right) for left, right in product(things, things) if left[0] != right[0]]
    assert counts == {(pair, environment): 2 for pair in pairs for environment in ENVIRONMENTS}
    assert len(counts) == 162
    assert len({shot.seed for shot in chosen.values()}) == 324


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 400), seed=st.integers(0, 9))
def test_any_beginning_of_the_set_is_balanced(count: int, seed: int) -> None:
    for counter in sides(count, seed):
        numbers = [counter[thing] for thing in product(COLOURS, ANIMALS)]
        assert max(numbers) - min(numbers) <= (count % 9 != 0)


@pytest.mark.parametrize(("colours", "step"), [(2, 3), (3, 18), (4, 24), (5, 30)])
def test_mirror_images_come_near_each_other(colours: int, step: int) -> None:
    """Every combination also comes with its sides exchanged. With four colours some blocks are half as long."""
    words = ("red", "green", "blue", "black", "white")[:colours]
    for count in (step, 2 * step, 3 * step):
        chosen = shots(words, ANIMALS, tuple(ENVIRONMENTS), 2 * count, 2).values()
        counts = Counter((shot.things, shot.environment) for shot in chosen)
        alone = [1 for (things, place), number in counts.items() if counts[(things[1], things[0]), place] != number]
        assert len(alone) <= (12 if colours == 4 else 0)


@pytest.mark.parametrize("colours", [2, 3, 4])
def test_every_pair_comes_once_in_every_environment(colours: int) -> None:
    words = ("red", "green", "blue", "black")[:colours]
    things = list(product(words, ANIMALS))
    pairs = [(left, right) for left, right in product(things, things) if left[0] != right[0]]
    chosen = shots(words, ANIMALS, tuple(ENVIRONMENTS), 3 * len(pairs), 0).values()
    assert Counter((shot.things, shot.environment) for shot in chosen) == {
        (pair, place): 1 for pair in pairs for place in ENVIRONMENTS
    }


@pytest.mark.parametrize("count", [9, 54, 100])
def test_environments_are_balanced_too(count: int) -> None:
    for beginning in (count, count - 1):
        chosen = list(shots(COLOURS, ANIMALS, tuple(ENVIRONMENTS), count, 1).values())[:beginning]
        numbers = Counter(shot.environment for shot in chosen)
        assert max(numbers.values()) - min(numbers.values()) <= 3
    assert (max(numbers.values()) - min(numbers.values()) == 0) or beginning % 9


def test_a_smaller_set_is_the_beginning_of_a_larger_set_and_seeds_differ() -> None:
    words = (COLOURS, ANIMALS, tuple(ENVIRONMENTS))
    large = list(shots(*words, 200, 3).items())
    assert list(shots(*words, 50, 3).items()) == large[:50]
    assert list(shots(*words, 50, 4)) != [name for name, _ in large[:50]]


@pytest.mark.parametrize(
    ("words", "count", "message"),
    [
        ((("red",), ("camel",), ("beach",)), 1, "at least 2 colours"),
        ((("red", "red"), ("camel",), ("beach",)), 1, "each once"),
        ((("red", "blue"), (), ("beach",)), 1, "at least 1 thing"),
        ((("red", "blue"), ("camel",), ()), 1, "at least 1 environment"),
        ((("red", "blue"), ("camel",), ("beach",)), 0, "at least 1"),
    ],
)
def test_sets_that_cannot_be_are_refused(
    words: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], count: int, message: str
) -> None:
    with pytest.raises(FinstError, match=message):
        shots(*words, count, 0)


def test_the_surface_of_a_ball_is_a_ball() -> None:
    ball = solid(ellipsoid((0.1, 0, 0.5), (0.4, 0.4, 0.4)), (-0.4, -0.5, 0), (0.6, 0.5, 1), 0.05)
    radial = ball.vertices - [0.1, 0, 0.5]
    assert np.allclose(np.linalg.norm(radial, axis=1), 0.4, atol=0.005)
    assert np.allclose(ball.normals, radial / 0.4, atol=0.05)


@pytest.mark.parametrize("word", ["star", "cross", "triangle"])
def test_the_distance_to_an_outline_is_negative_where_drawing_covers(word: str) -> None:
    corners = np.array(OUTLINES[word], dtype=float)
    low, high = corners.min(0), corners.max(0)
    centres = (np.arange(40) + 0.5) / 40
    points = low + np.stack(np.meshgrid(centres, centres), axis=-1) * (high - low)
    distance, drawn = inside(corners, points), coverage(word, 40, 40)
    clear = abs(distance) > 0.06
    assert clear.mean() > 0.5
    assert np.array_equal(distance[clear] < 0, drawn[clear] > 0.5)


@pytest.mark.parametrize("word", ["camel", "heart"])
def test_things_stand_on_the_ground_with_equal_sizes(word: str) -> None:
    vertices = thing(word).vertices
    low, high = vertices.min(0), vertices.max(0)
    length, height = np.hypot(*(high - low)[:2]), high[2] - low[2]
    assert low[2] == pytest.approx(0)
    assert np.allclose((low + high)[:2], 0, atol=1e-6)
    assert (length + height) / 2 == pytest.approx(1) or max(length, height) == pytest.approx(MOST)


def test_a_thing_without_extent_is_refused() -> None:
    with pytest.raises(FinstError, match="no extent"):
        Solid(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.zeros((3, 3))).standing()


@pytest.mark.parametrize("seed", range(20))
def test_left_and_right_never_meet_in_the_middle(seed: int) -> None:
    solids = thing("heart"), thing("camel")
    poses = placed(np.random.default_rng(seed), solids)
    across = [(s.vertices @ p[:3, :3].T + p[:3, 3])[:, 0] for s, p in zip(solids, poses, strict=True)]
    assert across[0].max() < 0 < across[1].min()


def test_only_single_glaring_pixels_are_dimmed() -> None:
    light = np.ones((7, 7, 3))
    light[3, 3] = 100
    light[:, 6] = 50
    calm = without_fireflies(light)
    assert calm[3, 3, 0] == pytest.approx(1.5)
    assert (calm[:, 6] == 50).all()
    assert (calm[:, :3] == 1).all()
    assert developed(light, 1.0).max() > developed(light, 0.01).max()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_masks_are_the_things(environment: str) -> None:
    solids = thing("circle"), thing("square")
    shot = Shot((("red", "circle"), ("green", "square")), environment, (5,))
    photo = photograph(shot, solids, 64, 4)
    left, right = photo.masks
    columns = [np.flatnonzero(mask.any(0)) for mask in (left, right)]
    assert columns[0].max() < columns[1].min()
    assert min(left.sum(), right.sum()) > 64
    colour = [photo.image[mask].mean(0) for mask in (left, right)]
    assert colour[0][0] > 2 * colour[0][1:].max()
    assert colour[1][1] > 1.5 * colour[1][[0, 2]].max()
    assert photo.image[~left & ~right].std() > 5


def test_a_mask_is_where_the_picture_changes_with_the_colour() -> None:
    solids = thing("circle"), thing("square")
    images = [
        photograph(Shot(((colour, "circle"), ("gray", "square")), "museum", (1,)), solids, 48, 4)
        for colour in ("white", "blue")
    ]
    changed = (abs(images[0].image.astype(int) - images[1].image).sum(-1)) > 150
    left = images[0].masks[0]
    assert np.array_equal(left, images[1].masks[0])
    assert (changed & left).sum() > 0.85 * left.sum()
    assert (changed & ~left).sum() < 0.15 * left.sum()


def test_words_of_things(tmp_path: Path) -> None:
    assert vocabulary((), None) == ANIMALS
    assert vocabulary(("shapes",), None) == SHAPES
    assert vocabulary(("camel", "animals", "star"), None) == ("camel", "dolphin", "elephant", "star")
    with pytest.raises(FinstError, match=r"unknown thing 'dragon'.*camel"):
        vocabulary(("dragon",), None)
    with pytest.raises(FinstError, match="no meshes"):
        vocabulary((), tmp_path)
    assert set(PAINTS) > {"white", "red"}


def wedge(folder: Path, name: str = "polar_bear.obj") -> Path:
    """A mesh file of a wedge that is two units tall along y."""
    corners = [(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 1)]
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in corners)
    (folder / name).write_text(text + "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    return folder


def test_a_folder_of_meshes_becomes_things(tmp_path: Path) -> None:
    wedge(tmp_path)
    assert vocabulary((), tmp_path) == ("polar bear",)
    assert vocabulary(("polar bear", "camel"), tmp_path) == ("polar bear", "camel")
    tall, flat = (np.ptp(thing("polar bear", tmp_path, up).vertices, axis=0) for up in ("y", "z"))
    assert tall[2] == pytest.approx(2 * tall[0])
    assert flat[1] == pytest.approx(2 * flat[2])
    assert np.allclose(np.linalg.norm(thing("polar bear", tmp_path).normals, axis=1), 1)


def test_damaged_and_ambiguous_meshes_are_named(tmp_path: Path) -> None:
    (tmp_path / "dolphin.ply").write_text("not a mesh")
    with pytest.raises(FinstError, match=r"dolphin\.ply cannot be read as a mesh"):
        thing("dolphin", tmp_path)
    wedge(tmp_path, "Dolphin.obj")
    with pytest.raises(FinstError, match="are named dolphin"):
        vocabulary((), tmp_path)


def run(work: Rendering) -> dict[str, bytes]:
    for name in work.left:
        work.render(name)
    work.finish()
    return {str(file.relative_to(work.out)): file.read_bytes() for file in work.out.rglob("*") if file.is_file()}


def test_same_bytes_again_and_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(rendering(FEW, tmp_path / "a"))
    assert run(rendering(FEW, tmp_path / "b")) == first
    again = rendering(FEW, tmp_path / "a")
    assert again.left == []
    gone = list(again.shots)[1]
    (tmp_path / "a" / "masks" / f"{gone}.png").unlink()
    done: list[str] = []
    original = Rendering.render
    monkeypatch.setattr(Rendering, "render", lambda work, name: (done.append(name), original(work, name)))
    assert run(rendering(FEW, tmp_path / "a")) == first
    assert done == [gone]


def test_another_seed_gives_other_pictures_of_the_same_words(tmp_path: Path) -> None:
    solids = thing("star"), thing("heart")
    things = (("red", "star"), ("blue", "heart"))
    first, second = (photograph(Shot(things, "beach", (seed,)), solids, 32, 1).image for seed in (0, 1))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"px": 8}, "at least 32 px"),
        ({"spp": 0}, "at least 32 px and 1 path"),
        ({"colours": ("red", "mauve")}, "unknown colour 'mauve'.*white"),
        ({"environments": ("moon",)}, "unknown environment 'moon'.*salt desert"),
        ({"things": ("dragon",)}, "unknown thing"),
        ({"count": -1}, "at least 1"),
    ],
)
def test_what_cannot_be_rendered_is_refused_before_anything_is_written(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(FinstError, match=message):
        rendering(RenderSpec(**changes), tmp_path / "new")  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "new").exists()


def test_folders_of_other_contents_are_left_alone(tmp_path: Path) -> None:
    rendering(FEW, tmp_path / "a")
    with pytest.raises(FinstError, match=r"other settings \(px, seed\)"):
        rendering(RenderSpec(count=2, px=65, spp=1, seed=1, things=("heart", "star")), tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "holiday.png").write_bytes(b"")
    with pytest.raises(FinstError, match="holds other files"):
        rendering(FEW, tmp_path / "b")


@pytest.mark.parametrize("package", ["mitsuba", "trimesh", "skimage.measure"])
def test_the_error_without_the_extra_names_it(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    thing.cache_clear()
    spec = RenderSpec(things=("polar bear", "star"), meshes=wedge(tmp_path))
    with pytest.raises(FinstError, match=r"pip install 'finst\[photoreal\]'"):
        rendering(spec, tmp_path / "out")
