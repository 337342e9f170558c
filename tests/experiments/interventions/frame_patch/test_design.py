"""Pairs of arrangements: the relative and the absolute rival of a picture."""

from __future__ import annotations

import pytest

from finst.experiments.interventions.frame_patch.design import PAIRS, arrangements_of, overlap_of, pairs_of
from finst.scenes.object import Scene
from finst.scenes.sets import absolute
from tests.experiments.interventions.small import FRAMES


def place(scene: Scene, cell: tuple[int, int]) -> tuple[int, int]:
    """A cell within the scene's arrangement."""
    rows, cols = zip(*(absolute(obj) for obj in scene.objects), strict=True)
    return cell[0] - min(rows), cell[1] - min(cols)


def test_the_other_picture_leaves_a_relative_and_an_absolute_rival():
    pairs = pairs_of(FRAMES)
    assert len(pairs) == 24
    for pair in pairs:
        cells = [absolute(obj) for obj in pair.scene.objects]
        source = next(obj for obj in pair.source.objects if absolute(obj) == (1, 1))
        assert pair.source_prompt.answer == source.name
        assert cells[pair.absolute] == (1, 1)
        assert place(pair.scene, cells[pair.relative]) == place(pair.source, (1, 1))
        described = {span.object for span in pair.prompt.spans}
        assert described == set(range(4)) - {pair.relative, pair.absolute}
        assert not {obj.colour for obj in pair.source.objects} & {obj.colour for obj in pair.scene.objects}
        rivals = [pair.roles[pair.scene.objects[index].colour] for index in (pair.relative, pair.absolute)]
        assert rivals == ["relative", "absolute"]
        assert list(pair.roles.values()).count("described") == 2
    wheres = [tuple(sorted(absolute(obj) for obj in pair.source.objects)) for pair in pairs]
    assert {wheres.count(where) for where in wheres} == {6}


@pytest.mark.parametrize("trial", range(len(PAIRS)))
def test_arrangements_are_named_by_their_corners_and_overlap_by_shared_cells(trial: int):
    source, other = PAIRS[trial % len(PAIRS)]
    name = arrangements_of(trial + len(PAIRS))
    assert name == f"{source[0]}{source[1]}-{other[0]}{other[1]}"
    cells = [{(row + i, col + j) for i in (0, 1) for j in (0, 1)} for row, col in (source, other)]
    assert len(cells[0] & cells[1]) == {"adjacent": 2, "diagonal": 1}[overlap_of(name)]
