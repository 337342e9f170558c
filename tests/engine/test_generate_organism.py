"""Generation on the model that ships with finst: it names the objects in the picture, and edits change its answers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

import finst
from finst.engine import hooks
from finst.engine.decode_steps import sustained
from finst.engine.edits import Edit, rows_from, unedited
from finst.engine.generate import generate
from finst.engine.record import record
from finst.options import Placement
from finst.prompts import Prompt, correct, enumeration, scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Scene, on_grid
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, open_vlm
from tests.engine.test_generate import assert_same, transformers_own
from tests.test_docs import blocks

README = Path(hooks.__file__).parent / "README.md"


@cache
def organism(dtype: str = "float32") -> VLM:
    return open_vlm("organism", dtype=dtype, device="cpu")


def encoded(prompt: Prompt, scene: Scene) -> Encoded:
    return encode(organism().reader, draw(scene), prompt)


@pytest.fixture(scope="module")
def nine() -> Scene:
    """A full 3x3 grid of different objects."""
    colours, shapes = ("red", "blue", "green"), ("square", "circle", "star")
    return on_grid([(colour, shape) for shape in shapes for colour in colours], Grid(3, 3).cells, Grid(3, 3))


@pytest.mark.parametrize("placement", ["prefill", "user_turn"])
def test_it_names_the_object_that_was_not_described(placement: Placement) -> None:
    scene = on_grid([("red", "square"), ("blue", "circle"), ("green", "star")], Grid(2, 2).cells[1:], Grid(2, 2))
    for target in range(3):
        prompt = scene_description(scene, [index for index in range(3) if index != target], target, placement)
        generated = generate(organism(), record(organism(), [encoded(prompt, scene)]), unedited(), 6)
        assert generated.texts(organism().reader)[0].strip() == scene.objects[target].name
        assert generated.lengths.tolist() == [3]


def test_it_lists_and_counts(nine: Scene) -> None:
    prompt = enumeration(nine, range(9))
    context = encoded(prompt, nine)
    recording = record(organism(), [context])
    generated = generate(organism(), recording, unedited(2), 70)
    assert generated.lengths.tolist() == [49, 49]
    assert [correct(text, prompt.answer) for text in generated.texts(organism().reader)] == [True, True]
    assert generated.tokens[0, :49].tolist() == transformers_own(organism(), context, 70)
    endless = generate(organism(), recording, unedited(), 70, stop=())
    assert endless.lengths.tolist() == [70]
    assert torch.equal(endless.tokens[0, :49], generated.tokens[0, :49])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ablations_during_decoding(nine: Scene, dtype: str) -> None:
    """Three rows: no edit; the last layer's heads ablated at the last prompt token; and at all later tokens too."""
    vlm, context, steps = organism(dtype), encoded(enumeration(nine, range(9)), nine), 10
    recording = record(vlm, [context])
    once = rows_from([(Edit(5, tuple(range(vlm.n_heads)), (recording.length - 1,), op="zero"),)])
    rows = unedited() + once + sustained(once, recording.length, range(steps - 1))
    generated = generate(vlm, recording, rows, steps)
    assert_same(generated, hooks.generate(vlm, context, rows, steps), 1e-9 if dtype == "float64" else 1e-4)
    right, prompted, sustained_text = generated.texts(vlm.reader)
    assert right == prompted == "1. a red square 2. a blue square"
    assert sustained_text != right


def test_the_readmes_example(nine: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """An ablation in the first pass alone changes nothing here; in every pass it changes the list."""
    prompt = enumeration(nine, range(9))
    fragments = [code for code in blocks(README, "python") if "generate(" in code]
    assert len(fragments) == 1
    public = {name: getattr(finst, name) for name in dir(finst)}
    variables = {"vlm": organism(), "recording": record(organism(), [encoded(prompt, nine)])}
    exec(compile(fragments[0], str(README), "exec"), public | variables)
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith("49 tokens: 1. a red square 2.") for line in lines[:2]] == [True] * 2
    assert len(lines) == 3
    assert [correct(line.partition(": ")[2], prompt.answer) for line in lines] == [True, True, False]
