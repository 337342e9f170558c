"""The box that a page marks as the target is around the object that the answer names, in pixels of the picture."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finst.errors import FinstError
from finst.experiments.example import context_view
from finst.experiments.registry import REGISTRY
from finst.prompts import scene_description
from finst.report.example import ContextView
from finst.report.findings import Findings
from finst.report.page import report_page, view_entry
from finst.runs.experiment import Experiment
from finst.scenes.designs import free_scene
from finst.scenes.draw import draw
from finst.scenes.object import Obj, Scene
from finst.scenes.shapes import COLOURS
from finst.vlm.encode import encode
from finst.vlm.open import Reader, open_reader
from tests import tiny

SMALL: dict[str, dict[str, Any]] = {
    "coco": {"pictures": 4},
    "counting": {"trials": 6},
    "pca": {"trials": 2},
    "photoreal": {"trials": 8, "estimation": 8},
    "rescue": {"trials": (1,), "estimation": (1,), "grids": ("2x2",)},
    "transfer": {"trials": 8},
}
"""Settings that draw few pictures; other experiments draw few by default."""

RESTS = {"coco", "counting"}
"""Experiments whose answer may name every object."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return open_reader(str(tiny.checkpoint(Path(tmp_path_factory.mktemp("targets")) / "tiny")))


def views(name: str, reader: Reader, seed: int) -> list[ContextView]:
    """All pictures that the page of an experiment shows."""
    experiment: Experiment[Any] = REGISTRY[name].load()
    spec = experiment.spec(seed=seed, **SMALL.get(name, {}))
    if name == "cma":
        from finst.experiments.cma.example import pair_example

        return list(pair_example(spec, reader, seed % 3).views)
    return [experiment.example(spec, reader).view]


def box(outline: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a path of horizontal and vertical lines, in px."""
    starts = [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)", outline)]
    xs = [x for x, _ in starts] + [float(x) for x in re.findall(r"H([\d.]+)", outline)]
    ys = [y for _, y in starts] + [float(y) for y in re.findall(r"V([\d.]+)", outline)]
    return min(xs), min(ys), max(xs), max(ys)


def named_in(view: ContextView, place: tuple[float, float, float, float]) -> Obj:
    """The one object whose pixels are in a box: its colour and its extent, read from the picture."""
    left, top, right, bottom = (round(value) for value in place)
    pixels = view.image[top:bottom, left:right].astype(int)
    there = (pixels != 255).any(axis=-1)
    rows, cols = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
    middle = np.median(pixels[there], axis=0)
    colour = min(COLOURS, key=lambda word: abs(np.array(COLOURS[word]) - middle).sum())
    extent = (left + cols[0], top + rows[0], left + cols[-1] + 1, top + rows[-1] + 1)
    return Obj(colour, "", tuple(int(value) for value in extent))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", [name for name in REGISTRY if name not in RESTS])
def test_the_marked_box_is_around_the_pixels_of_what_the_answer_names(name: str, seed: int, reader: Reader) -> None:
    for view in views(name, reader, seed):
        entry = view_entry(view, (1, 1))
        marked = [cells for cells in entry["cells"] if cells["target"]]
        assert len(marked) == (2 if name == "frame-patch" else 1)
        answer = view.answer.split()
        for cells in marked:
            place = box(cells["outline"])
            found = named_in(view, place)
            assert found.colour in answer
            left, top, right, bottom = found.box
            assert place[0] <= left < right <= place[2]
            assert place[1] <= top < bottom <= place[3]
            if len(answer) == 2:  # colour and shape
                assert cells["name"] == view.answer


@pytest.mark.parametrize("name", sorted(RESTS))
def test_where_any_object_may_be_named_all_are_marked(name: str, reader: Reader) -> None:
    (view,) = views(name, reader, 0)
    assert view.targets == tuple(range(len(view.cells)))


def in_the_middle(scene: Scene, width: int, height: int) -> Scene:
    """The same objects on a larger canvas, where a model that crops its middle sees them all."""
    dx, dy = (width - scene.width) // 2, (height - scene.height) // 2
    shift = (dx, dy, dx, dy)
    moved = (replace(o, box=tuple(a + b for a, b in zip(o.box, shift, strict=True))) for o in scene.objects)
    return Scene(width, height, tuple(moved))


@pytest.mark.parametrize("family", ["llava", "llava_onevision", "qwen2_vl"])
@pytest.mark.parametrize("size", [(448, 224), (224, 448)])
def test_outlines_are_where_a_model_that_crops_or_pads_has_its_tokens(
    family: str, size: tuple[int, int], tmp_path: Path
) -> None:
    cropping = open_reader(str(tiny.checkpoint(tmp_path / family, tiny.FAMILIES[family])))
    scene = in_the_middle(free_scene(np.random.default_rng(1), 224, 224, 3), *size)
    prompt = scene_description(scene, [0, 1], 2)
    picture = draw(scene)
    context = encode(cropping, picture, prompt)
    view = context_view("one", "A scene.", picture, context, prompt.answer, [2])
    (target,) = [cells for cells in view_entry(view, context.tokens.grid)["cells"] if cells["target"]]
    rows, cols = np.nonzero(picture.masks[2])
    left, top, right, bottom = box(target["outline"])
    assert left <= cols.min() < cols.max() < right + 1e-6
    assert top <= rows.min() < rows.max() < bottom + 1e-6
    (rows_of, cols_of) = (view.lattice.rows, view.lattice.cols) if view.lattice else ((), ())
    tall, wide = (max(stop - start for start, stop in spans) for spans in (rows_of, cols_of))
    assert cols.min() - left < wide
    assert rows.min() - top < tall


def test_an_example_with_objects_and_without_a_target_is_refused(reader: Reader) -> None:
    scene = free_scene(np.random.default_rng(0), 280, 280, 2)
    prompt = scene_description(scene, [0], 1)
    picture = draw(scene)
    context = encode(reader, picture, prompt)
    for targets, words in (([], "no target"), ([7], "target 7"), ([0], "names the target")):
        with pytest.raises(FinstError, match=words):
            context_view("one", "A scene.", picture, context, prompt.answer, targets)


def test_a_page_marks_the_target_in_its_picture_and_says_which_it_is(reader: Reader) -> None:
    experiment: Experiment[Any] = REGISTRY["rsa-stages"].load()
    example = experiment.example(experiment.spec(), reader)
    findings = Findings("counting", "n = 2", (), ("n",), (("1",),), ())
    html = report_page(findings, (), example, {"spec": {"model": "tiny", "dtype": "float32"}})
    (name,) = example.view.target_names
    assert re.findall(r'class="cell target" data-object="\d+" d="[^"]+"><title>target: ([\w ]+)<', html) == [name]
    assert f"dashed: the target ({name})" in html
