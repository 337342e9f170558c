"""The planted models: they answer, by the heads that are planted, and experiments find what is there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from finst.builtin.planted import checkpoint
from finst.builtin.planted.mechanism import HEADS, LAYERS, PLANTED
from finst.engine.counterfactuals import counterfactuals
from finst.engine.decode_steps import sustained
from finst.engine.edits import Edit, rows_from, unedited
from finst.engine.generate import generate
from finst.engine.record import record
from finst.errors import FinstError
from finst.options import Entropy, Placement
from finst.prompts import Prompt, colour_retrieval, correct, scene_description, spatial_relation
from finst.scenes.designs import features
from finst.scenes.draw import draw
from finst.scenes.object import Cell, Grid, Scene, on_grid
from finst.scenes.shapes import COLOURS, SHAPES
from finst.vlm import open as opening
from finst.vlm.encode import Encoded, encode, first_tokens
from finst.vlm.open import VLM
from tests.planted import mediated, vlm

NAMES = tuple(PLANTED)
BINDING = ("planted", "planted-absolute")
EVERY_HEAD = tuple(itertools.product(range(LAYERS), range(HEADS)))


def scenes(seed: int, grid: Grid, cells: Sequence[Sequence[Cell]], entropy: Entropy) -> list[Scene]:
    """One for each set of cells, whose objects stand there in random order."""
    rng = np.random.default_rng(seed)
    return [
        on_grid(features(rng, len(some), entropy), [some[i] for i in rng.permutation(len(some))], grid)
        for some in cells
    ]


def context_of(model: VLM, scene: Scene, placement: Placement = "prefill") -> Encoded:
    """All objects but the last are described, in order."""
    last = len(scene.objects) - 1
    return encode(model.reader, draw(scene), scene_description(scene, range(last), last, placement))


def margins(model: VLM, some: Sequence[Scene], placement: Placement) -> list[float]:
    """Logits of the right first token above the best other one; scenes have equal numbers of objects."""
    logits = record(model, [context_of(model, scene, placement) for scene in some]).logits
    leads = []
    for scene, row in zip(some, logits, strict=True):
        prompt = scene_description(scene, [0], 1, placement)
        right = first_tokens(model.reader, prompt, [scene.objects[-1].colour])[0]
        others = row.clone()
        others[right] = -torch.inf
        leads.append(float(row[right] - others.max()))
    return leads


@pytest.mark.parametrize("placement", ["prefill", "user_turn"])
@pytest.mark.parametrize("name", NAMES)
def test_it_names_the_colour_that_is_left_out_wherever_objects_stand(name: str, placement: Placement) -> None:
    grid = Grid(2, 2)
    for count in (2, 3, 4):
        sets = list(itertools.combinations(grid.cells, count))
        some = [scene for seed, e in enumerate(("low", "any")) for scene in scenes(seed, grid, sets, e)]
        assert min(margins(vlm(name), some, placement)) > 10


def test_all_colours_and_shapes_are_told_apart() -> None:
    cells = [(0, 1), (1, 0)]
    pairs = list(itertools.product(COLOURS, SHAPES))
    some = [on_grid([pair, pairs[(i + 11) % len(pairs)]], cells, Grid(2, 2)) for i, pair in enumerate(pairs)]
    assert min(margins(vlm("planted"), some, "prefill")) > 10


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_on_the_larger_lattice_up_to_nine_objects(name: str) -> None:
    grid = Grid(3, 3)
    squares = [[(r + i, c + j) for i in (0, 1) for j in (0, 1)] for r in (0, 1) for c in (0, 1)]
    assert min(margins(vlm(name), scenes(0, grid, squares, "any"), "prefill")) > 10
    assert min(margins(vlm(name), scenes(1, grid, [grid.cells] * 4, "low"), "prefill")) > 5


@pytest.mark.parametrize("placement", ["prefill", "user_turn"])
@pytest.mark.parametrize("name", NAMES)
def test_it_gives_the_whole_answer_and_stops(name: str, placement: Placement) -> None:
    model = vlm(name)
    scene = scenes(3, Grid(2, 2), [Grid(2, 2).cells], "low")[0]
    generated = generate(model, record(model, [context_of(model, scene, placement)]), unedited(), 6)
    text = generated.texts(model.reader)[0]
    assert correct(text, scene.objects[-1].name)
    assert int(generated.lengths[0]) == 3, "colour, shape, end of turn"


def answer_of(model: VLM, scene: Scene, prompt: Prompt) -> str:
    """The whole answer, until the model ends its turn."""
    recording = record(model, [encode(model.reader, draw(scene), prompt)])
    return generate(model, recording, unedited(), 6).texts(model.reader)[0]


@pytest.mark.parametrize("name", BINDING)
def test_a_question_is_answered_by_the_colour_of_the_object_that_it_names(name: str) -> None:
    model, grid = vlm(name), Grid(3, 3)
    for cells in ([(0, 1), (1, 0)], [(2, 1), (2, 2), (0, 2)], [(1, 1), (1, 2), (2, 1), (2, 2)]):
        (scene,) = scenes(len(cells), grid, [cells], "high")
        for index, obj in enumerate(scene.objects):
            assert answer_of(model, scene, colour_retrieval(scene, index)) == obj.colour
    (scene,) = scenes(2, grid, [grid.cells], "high")
    for index, obj in enumerate(scene.objects):
        relation = "above" if obj.cell is not None and obj.cell[0] > 0 else "below"
        assert answer_of(model, scene, spatial_relation(scene, relation, index)) == obj.colour, "only the name matters"


def test_without_position_ids_every_question_has_the_same_answer() -> None:
    model, grid = vlm("planted-counting"), Grid(2, 2)
    some = scenes(4, grid, [grid.cells] * 2, "high")
    answers = {answer_of(model, scene, colour_retrieval(scene, index)) for scene in some for index in range(4)}
    assert len(answers) == 1
    assert answers < set(COLOURS)


def named(summary: xr.Dataset) -> dict[str, set[tuple[int, int]]]:
    """By stage, the heads above the noise."""
    above = summary["above"].transpose("condition", "layer", "head")
    return {
        str(stage): {(int(layer), int(head)) for layer, head in np.argwhere(above.sel(condition=stage).values)}
        for stage in summary["condition"].values
    }


@pytest.mark.parametrize(("name", "placement"), [*((name, "prefill") for name in NAMES), ("planted", "user_turn")])
def test_causal_mediation_names_the_planted_heads_and_no_other(name: str, placement: Placement) -> None:
    summary = mediated(name, pairs=8, placement=placement, pairs_per_unit=8)
    assert named(summary) == PLANTED[name].heads
    assert not summary["below"].any()
    if PLANTED[name].coding is not None:
        assert summary["order_holds"].values.tolist() == [True, True]
        assert summary["centre_mean"].values.tolist() == [2, 3, 4]


def answers_without(name: str, scene: Scene, sets: Sequence[Sequence[tuple[int, int]]]) -> list[bool]:
    """Whether the whole answer is right with each set of heads off, at all tokens and in all passes.

    A tie between two first tokens is not right, whichever of them is decoded.
    """
    model = vlm(name)
    context = context_of(model, scene)
    everywhere = tuple(range(len(context.tokens)))
    rows = rows_from([tuple(Edit(layer, (head,), everywhere, op="zero") for layer, head in heads) for heads in sets])
    recording = record(model, [context])
    generated = generate(model, recording, rows + sustained(rows, recording.length, range(2)), 3)
    texts = generated.texts(model.reader)[len(sets) :]
    best, second = counterfactuals(model, recording[0], rows, None).topk(2).values.T
    leads = zip(texts, best - second, strict=True)
    return [correct(text, scene.objects[-1].name) and bool(lead > 1) for text, lead in leads]


@pytest.mark.parametrize("name", NAMES)
def test_every_needed_head_is_needed_and_no_other_one_is(name: str) -> None:
    needed = sorted(PLANTED[name].needed)
    rest = [head for head in EVERY_HEAD if head not in needed]
    grid = Grid(3, 3)
    some = scenes(5, grid, [grid.cells] * 6, "low")
    outcomes = np.array([answers_without(name, scene, [rest, *([head] for head in needed)]) for scene in some])
    assert outcomes[:, 0].all()
    right = dict(zip(needed, outcomes[:, 1:].mean(axis=0).tolist(), strict=True))
    assert max(right.values()) < 1, right


def ids(name: str, scene: Scene, layer: int = LAYERS - 1) -> dict[str, np.ndarray]:
    """The position IDs on both objects' image tokens, at the described noun and at the last token."""
    model = vlm(name)
    context = context_of(model, scene)
    at = {
        "described object": context.tokens.object_patches(0)[0],
        "target object": context.tokens.object_patches(len(scene.objects) - 1)[0],
        "noun": context.tokens.positions("noun", 0)[0],
        "next": context.tokens.last,
    }
    stream = record(model, [context], sites=("resid",)).sites["resid"][0, layer]
    basis = {"noun": PLANTED[name].ids("named"), "next": PLANTED[name].ids("next")}
    return {key: (stream[pos] @ basis.get(key, PLANTED[name].ids("seen"))).numpy() for key, pos in at.items()}


@pytest.mark.parametrize("name", BINDING)
def test_position_ids_are_where_they_are_planted_and_swap_with_the_objects(name: str) -> None:
    scene = scenes(7, Grid(2, 2), [[(0, 0), (1, 1)]], "high")[0]
    here, there = ids(name, scene), ids(name, scene.swapped(0, 1))
    np.testing.assert_allclose(np.abs(here["target object"]), 1, atol=1e-4)
    for found in (here, there):
        np.testing.assert_allclose(found["noun"], found["described object"], atol=1e-4)
        np.testing.assert_allclose(found["next"], found["target object"] * 2 / 3, atol=0.01)
    np.testing.assert_allclose(there["described object"], here["target object"], atol=1e-4)
    np.testing.assert_allclose(there["next"], here["described object"] * 2 / 3, atol=0.01)
    assert np.abs(here["noun"] - here["target object"]).max() > 1


@pytest.mark.parametrize(("name", "moves"), [("planted", False), ("planted-absolute", True)])
def test_relative_ids_stay_and_absolute_ids_move_with_the_frame(name: str, moves: bool) -> None:
    found = []
    for row, col in itertools.product((0, 1), (0, 1)):
        cells = [(row + i, col + j) for i in (0, 1) for j in (0, 1)]
        scene = on_grid(features(np.random.default_rng(0), 4, "high"), cells, Grid(3, 3))
        found.append(ids(name, scene)["next"])
    spread = np.abs(np.array(found) - found[0]).max(axis=1)
    assert (spread[1:] > 0.5).all() if moves else (spread < 0.01).all()


@pytest.mark.parametrize("name", BINDING)
def test_ids_appear_in_the_layer_of_their_head(name: str) -> None:
    scene = scenes(7, Grid(2, 2), [[(0, 0), (1, 1)]], "high")[0]
    by_layer = [ids(name, scene, layer) for layer in range(LAYERS)]
    assert [bool(np.abs(found["noun"]).max() > 0.1) for found in by_layer] == [False, False, True, True, True, True]
    assert [bool(np.abs(found["next"]).max() > 0.1) for found in by_layer] == [False, False, False, True, True, True]


def correlations(streams: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Correlations of each layer's cosines between trials with the target's similarities, over pairs of trials."""
    unit = streams / np.linalg.norm(streams, axis=-1, keepdims=True)
    pairs = np.triu_indices(len(target), 1)
    return np.array([np.corrcoef((unit[:, n] @ unit[:, n].T)[pairs], target[pairs])[0, 1] for n in range(LAYERS)])


@pytest.mark.parametrize("name", BINDING)
def test_similarity_of_the_residual_stream_peaks_where_the_stages_are(name: str) -> None:
    corners = [(row, col) for row in (0, 1) for col in (0, 1)] * 6
    frames = [[(row + i, col + j) for i in (0, 1) for j in (0, 1)] for row, col in corners]
    some = scenes(11, Grid(3, 3), frames, "any")
    contexts = [context_of(vlm(name), scene) for scene in some]
    streams = record(vlm(name), contexts, sites=("resid",)).sites["resid"].double().numpy()
    each = range(len(some))
    last, comma = (
        np.stack([streams[i, :, pos] for i, pos in zip(each, at, strict=True)])
        for at in ([c.tokens.last for c in contexts], [c.tokens.positions("comma", 0)[0] for c in contexts])
    )
    corner = np.array(corners)[:, None]
    cells = np.array([[obj.cell for obj in scene.objects] for scene in some])
    places = cells - corner if name == "planted" else cells
    described, next_ = (-np.linalg.norm(places[:, None, i] - places[None, :, i], axis=-1) for i in (0, -1))
    values = np.array([(scene.objects[-1].colour, scene.objects[-1].shape) for scene in some])
    features_alike = (values[:, None] == values[None]).mean(-1)
    position, feature, retrieved = (
        correlations(*pair) for pair in ((last, next_), (last, features_alike), (comma, described))
    )
    assert position.argmax() == 3
    assert position[3] > 0.9 > position[4] + 0.2
    assert feature[4] > 0.8 > feature[3] + 0.4
    assert retrieved[2] > 0.8 > retrieved[1] + 0.4


@pytest.mark.parametrize("name", BINDING)
def test_swapping_the_keys_of_two_objects_swaps_the_answer(name: str) -> None:
    """Fig 4's edit, K_o0 += a (d_1 - d_0) and the reverse, at the layer of feature retrieval."""
    model = vlm(name)
    ((layer, head),) = PLANTED[name].heads["feature_retrieval"]
    scene = scenes(9, Grid(2, 2), [[(0, 0), (1, 1)]], "high")[0]
    context = context_of(model, scene)
    patches = [context.tokens.object_patches(index) for index in (0, 1)]
    recording = record(model, [context], sites=("k",))
    keys = recording.sites["k"][0, layer][:, head]
    apart = (keys[patches[1][0]] - keys[patches[0][0]])[None, None]
    swap = tuple(Edit(layer, (head,), patches[i], sign * apart, "k", "add") for i, sign in ((0, 1), (1, -1)))
    answers = first_tokens(model.reader, scene_description(scene, [0], 1), [obj.colour for obj in scene.objects])
    kept, edited = counterfactuals(model, recording[0], unedited() + rows_from([swap]), answers).tolist()
    assert kept[1] - kept[0] > 10
    assert edited[0] - edited[1] > 10


def test_what_is_written_is_the_same_every_time_and_used_again(tmp_path: Path) -> None:
    for copy in ("one", "two"):
        checkpoint.write(PLANTED["planted"], tmp_path / copy)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert "model.safetensors" in files
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)
    made = checkpoint.folder("planted")
    before = (made / "model.safetensors").stat().st_mtime_ns
    assert (made / "model.safetensors").read_bytes() == (tmp_path / "one" / "model.safetensors").read_bytes()
    assert checkpoint.folder("planted") == made
    assert (made / "model.safetensors").stat().st_mtime_ns == before


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(FinstError, match="XDG_CACHE_HOME"):
        checkpoint.folder("planted")
    with pytest.raises(FinstError, match="planted-counting"):
        checkpoint.folder("planted-magic")


def test_the_models_that_can_be_opened_are_those_that_are_planted() -> None:
    assert {name for name, package in opening.BUILTIN.items() if package == "planted"} == set(PLANTED)
