"""Grids, boxes, and the refusal of impossible scenes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finst.errors import FinstError
from finst.scenes.draw import draw
from finst.scenes.object import OBJECT_PX, Grid, Obj, Scene, on_grid

CELL_PX = 28

grids = st.builds(Grid, st.integers(1, 5), st.integers(1, 5))


@pytest.mark.parametrize(
    ("grid", "size"), [(Grid(2, 2), (280, 280)), (Grid(3, 3), (392, 392)), (Grid(3, 2), (280, 392))]
)
def test_the_papers_canvases(grid: Grid, size: tuple[int, int]) -> None:
    assert (grid.width, grid.height) == size


@given(grids)
def test_every_object_fills_whole_28_px_cells_of_the_canvas(grid: Grid) -> None:
    assert grid.width % CELL_PX == 0
    assert grid.height % CELL_PX == 0
    for cell in grid.cells:
        left, top, right, bottom = grid.box(cell)
        assert left % CELL_PX == top % CELL_PX == 0
        assert (right - left, bottom - top) == (OBJECT_PX, OBJECT_PX) == (2 * CELL_PX, 2 * CELL_PX)


@given(grids)
def test_cells_come_in_reading_order_with_a_gap_of_one_object_between_and_around(grid: Grid) -> None:
    assert list(grid.cells) == sorted(grid.cells)
    for row, col in grid.cells:
        left, top, right, bottom = grid.box((row, col))
        next_left = grid.box((row, col + 1))[0] if col + 1 < grid.cols else grid.width
        next_top = grid.box((row + 1, col))[1] if row + 1 < grid.rows else grid.height
        assert next_left - right == next_top - bottom == OBJECT_PX
        assert min(left, top) >= OBJECT_PX


def test_box_moves_and_refuses_cells_beyond_the_grid() -> None:
    grid = Grid(2, 3)
    left, top, right, bottom = grid.box((1, 2))
    assert grid.box((1, 2), dx=-3, dy=5) == (left - 3, top + 5, right - 3, bottom + 5)
    for cell in [(2, 0), (0, 3), (-1, 0)]:
        with pytest.raises(FinstError, match="is not on the 2x3 grid"):
            grid.box(cell)


@given(st.integers(1, 99), st.integers(1, 99))
def test_a_grid_is_parsed_from_its_name(rows: int, cols: int) -> None:
    assert Grid.parse(f"{rows}x{cols}") == Grid(rows, cols)


@pytest.mark.parametrize("text", ["", "2", "2x", "x2", "0x2", "2x0", "2X2", "2x2x2", "-1x2", "2.0x2", "²x2", "2 x 2"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(FinstError, match="expected ROWSxCOLUMNS"):
        Grid.parse(text)


def test_colours_and_shapes_that_cannot_be_drawn_are_refused_with_the_valid_ones() -> None:
    box = (0, 0, 56, 56)
    with pytest.raises(FinstError, match=r"unknown colour 'mauve'.*red.*gray"):
        draw(Scene(56, 56, (Obj("mauve", "circle", box),)))
    with pytest.raises(FinstError, match=r"unknown shape 'blob'.*circle.*hexagon"):
        draw(Scene(56, 56, (Obj("red", "blob", box),)))
    with pytest.raises(FinstError, match=r"unknown shape 'duck'.*circle.*hexagon"):
        assert Obj("white", "duck", box).mask is None


coordinates = st.integers(-60, 340)


@given(coordinates, coordinates, coordinates, coordinates)
def test_a_scene_holds_exactly_the_boxes_on_its_canvas(left: int, top: int, right: int, bottom: int) -> None:
    obj = Obj("red", "circle", (left, top, right, bottom))
    if 0 <= left < right <= 280 and 0 <= top < bottom <= 200:
        assert Scene(280, 200, (obj,)).objects == (obj,)
    else:
        with pytest.raises(FinstError, match=r"red circle .* is off the canvas"):
            Scene(280, 200, (obj,))


def test_swapped_objects_keep_their_features_and_their_numbers() -> None:
    scene = on_grid([("red", "circle"), ("blue", "star"), ("pink", "cross")], [(0, 0), (1, 1), (0, 1)], Grid(2, 2))
    swapped = scene.swapped(0, 1)
    assert [obj.name for obj in swapped.objects] == [obj.name for obj in scene.objects]
    assert (swapped.objects[0].box, swapped.objects[0].cell) == (scene.objects[1].box, scene.objects[1].cell)
    assert (swapped.objects[1].box, swapped.objects[1].cell) == (scene.objects[0].box, scene.objects[0].cell)
    assert swapped.objects[2] == scene.objects[2]
    assert swapped.swapped(0, 1) == scene


def test_with_object_changes_one_object_only() -> None:
    scene = on_grid([("red", "circle"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2))
    changed = scene.with_object(1, colour="cyan")
    assert changed.objects == (scene.objects[0], Obj("cyan", "star", scene.objects[1].box, (1, 1)))
    assert scene.objects[1].colour == "blue"
