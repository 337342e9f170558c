"""Every architecture is read as transformers reads it: the same tokens, pixels, layers and logits; patches in place.

A new family is a file in ``finst/vlm/families``, a tiny model in ``tests/tiny``, and a row in ``tests/tiny/rows.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers.models.smolvlm import processing_smolvlm

from finst.errors import FinstError
from finst.options import Placement
from finst.prompts import Prompt, colour_retrieval, scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Picture, Scene, on_grid
from finst.vlm.encode import Encoded, encode, first_tokens, token_texts
from finst.vlm.families import supported
from finst.vlm.families.base import DecoderInputs, decoder_inputs
from finst.vlm.open import VLM, Reader, open_reader, open_vlm
from finst.vlm.tokens import View
from tests.tiny import FAMILIES, ROWS, checkpoint, token_types

PLACEMENTS: tuple[Placement, ...] = ("prefill", "user_turn")
SCENE = on_grid([("red", "square"), ("orange", "star")], [(0, 0), (0, 1)], Grid(1, 2))
ROLES = [
    *[(word, "text") for word in ("In", "this", "image", "there", "is", "a")],
    ("red", "colour"),
    ("square", "noun"),
    ("and", "comma"),
]
"""Words and roles of the sentence's tokens, without its last word."""


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp(family), FAMILIES[family], template=False)


@pytest.fixture(scope="module")
def vlm(folder: Path) -> VLM:
    return open_vlm(str(folder))


@pytest.fixture(scope="module")
def reader(vlm: VLM) -> Reader:
    return vlm.reader


def contexts_of(reader: Reader) -> list[Encoded]:
    """One prompt about two pictures."""
    prompt = scene_description(SCENE, [0], 1)
    return [encode(reader, draw(scene), prompt) for scene in (SCENE, SCENE.swapped(0, 1))]


def inputs_of(vlm: VLM, contexts: list[Encoded]) -> DecoderInputs:
    ids = torch.stack([context.input_ids for context in contexts])
    with torch.inference_mode():
        given = vlm.reader.family.prepare(vlm.model, ids, [context.image_inputs for context in contexts], vlm.device)
        return decoder_inputs(vlm.reader.family, vlm.model, given)


@contextmanager
def outputs_of(modules: Sequence[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """The outputs of the modules (the first entry of tuples), in the order of their calls."""
    kept: list[torch.Tensor] = []

    def keep(_: nn.Module, args: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def test_every_family_is_tested() -> None:
    assert set(supported()) == set(ROWS)
    assert all(row.body.family == name for name, row in ROWS.items())


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_every_layer_and_the_logits_are_the_plain_models(folder: Path, dtype: str, tolerance: float) -> None:
    """Context by context: transformers' norms round float64 to float32, and other batches round differently."""
    vlm = open_vlm(str(folder), dtype=dtype)
    modules = [vlm.decoder.rotary_emb, *vlm.layers, vlm.model.get_output_embeddings()]
    answers = []
    for context in contexts_of(vlm.reader):
        inputs, ids = inputs_of(vlm, [context]), context.input_ids[None]
        with torch.inference_mode(), outputs_of(modules) as ours:
            more = vlm.reader.family.decoder_arguments(vlm.model, inputs)
            call = {"inputs_embeds": inputs.embeds, "position_ids": inputs.position_ids, **more}
            hidden = vlm.decoder(**call).last_hidden_state
            answers.append(vlm.model.get_output_embeddings()(hidden)[0, -1])
        with torch.inference_mode(), outputs_of(modules) as theirs:
            vlm.model(input_ids=ids, **context.image_inputs, **token_types(vlm, ids))
        assert len(ours) == len(theirs) >= len(modules), "some have rotary tables for each kind of layer"
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.shape == other.shape
            assert (mine - other).abs().max() < tolerance
    assert (answers[0] - answers[1]).abs().max() > 0.01
    assert answers[0].dtype == vlm.dtype


def test_one_pass_of_the_vision_tower_serves_all_contexts(vlm: VLM) -> None:
    contexts = contexts_of(vlm.reader)
    patches = next(module for module in vlm.model.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
    with outputs_of([patches]) as passes:
        together = inputs_of(vlm, contexts)
    assert len(passes) == 1
    for index, context in enumerate(contexts):
        alone = inputs_of(vlm, [context])
        assert (together.embeds[index] - alone.embeds[0]).abs().max() < 1e-5
        assert torch.equal(together.position_ids[..., index, :], alone.position_ids[..., 0, :])


def test_tokens_and_pixels_are_those_of_transformers_own_processor(
    reader: Reader, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing_smolvlm, "num2words", str)  # a package that SmolVLM requires, only for videos
    row = ROWS[family]
    processor = row.processor(
        image_processor=row.image_processor.from_pretrained(reader.path, **row.untiled), tokenizer=reader.tokenizer
    )
    picture = draw(SCENE)
    ours = encode(reader, picture, scene_description(SCENE, [0], 1))
    theirs = processor(images=[Image.fromarray(picture.image)], text=ours.text, return_tensors="pt", **row.untiled)
    assert torch.equal(ours.input_ids, theirs["input_ids"][0])
    for name, values in ours.image_inputs.items():
        assert torch.equal(values, theirs[name])


def blocks(picture: Picture, view: View) -> Iterator[Picture]:
    """The picture with the pixels under one image token inverted, token by token."""
    rows, cols = (spans.round().clip(0).astype(int) for spans in (view.rows, view.cols))
    for top, bottom in rows:
        for left, right in cols:
            image = picture.image.copy()
            image[top:bottom, left:right] = 255 - image[top:bottom, left:right]
            yield Picture(picture.scene, image, picture.masks)


def noise(width: int, height: int) -> Picture:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(Scene(width, height, ()), image, np.zeros((0, height, width), dtype=bool))


@pytest.mark.parametrize("size", [(168, 168), (280, 168), (150, 215)], ids=lambda size: "{}x{}".format(*size))
def test_each_patch_is_where_the_map_has_it(vlm: VLM, size: tuple[int, int]) -> None:
    """The image token that changes most with some pixels is the one that the map has there, with the real resize.

    In each view, among the view's own tokens. Where the map has no patches, all tokens change.
    """
    picture, prompt = noise(*size), Prompt("What is this?", (), "user_turn", "")
    clean = encode(vlm.reader, picture, prompt)
    roles = clean.tokens.roles
    for index, view in enumerate(clean.tokens.views):
        changed = View.even((4, 4), view.window) if clean.tokens.unplaced else view
        shown = [encode(vlm.reader, inverted, prompt) for inverted in blocks(picture, changed)]
        embeds = inputs_of(vlm, [clean, *shown]).embeds
        positions = [pos for pos in clean.tokens.positions("image") if roles[pos].view == index]
        moved = (embeds[1:] - embeds[0])[:, positions].norm(dim=-1)
        if clean.tokens.unplaced:
            assert (moved / moved.sum(dim=-1, keepdim=True)).max() < 0.5
            assert moved.min() > 0.01
        else:
            patches = [roles[positions[k]].patch for k in moved.argmax(dim=-1).tolist()]
            assert patches == [divmod(k, view.grid[1]) for k in range(view.grid[0] * view.grid[1])]


def test_objects_lie_on_the_patches_that_change_with_them(vlm: VLM) -> None:
    picture, prompt = draw(SCENE), scene_description(SCENE, [0], 1)
    for index in range(2):
        image = picture.image.copy()
        image[picture.masks[index]] = 0
        changed = Picture(picture.scene, image, picture.masks)
        contexts = [encode(vlm.reader, shown, prompt) for shown in (picture, changed)]
        tokens = contexts[0].tokens
        if tokens.unplaced:
            with pytest.raises(
                FinstError, match=r"no image tokens belong to an object: Idefics2's perceiver mixes all"
            ):
                tokens.object_patches(index)
            continue
        embeds = inputs_of(vlm, contexts).embeds
        moved = (embeds[0] - embeds[1]).norm(dim=-1)
        for view in range(len(tokens.views)):
            mine = [pos for pos in tokens.positions("image") if tokens.roles[pos].view == view]
            largely, at_all = (set(tokens.object_patches(index, above=above, view=view)) for above in (0.2, 0))
            by_movement = [mine[k] for k in moved[mine].argsort(descending=True).tolist()]
            assert largely <= set(by_movement[: len(at_all)])
            assert set(by_movement[: len(largely)]) <= at_all <= set(tokens.object_patches(index))


def conversation(family: str, prompt: Prompt) -> str:
    """The rendered conversation without spaces at its end, which belong to the next word."""
    return ROWS[family].conversation.format(user=prompt.user, words=prompt.prefill).rstrip(" ")


def written(family: str, text: str) -> str:
    """A conversation as its template writes it."""
    for token, kept in ROWS[family].around.items():
        text = text.replace(token, kept)
    return text


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_decoder_gets_the_whole_conversation(reader: Reader, family: str, placement: Placement) -> None:
    prompt = scene_description(SCENE, [0], 1, placement)
    encoded = encode(reader, draw(SCENE), prompt)
    tokens, image = encoded.tokens, encoded.tokens.positions("image")
    assert [(tokens.roles[pos].view, tokens.roles[pos].patch) for pos in image if not tokens.unplaced] == [
        (index, divmod(k, view.grid[1]))
        for index, view in enumerate(tokens.views)
        for k in range(view.areas.size if not tokens.unplaced else 0)
    ]
    of_picture = torch.nonzero(encoded.input_ids == reader.config.image_token_id)[:, 0].tolist()
    assert set(image) <= set(of_picture)
    assert of_picture == list(range(of_picture[0], of_picture[-1] + 1))
    texts = token_texts(reader, encoded.input_ids.tolist())
    whole = "".join(text for pos, text in enumerate(texts) if pos not in of_picture[1:])
    assert whole == conversation(family, prompt)
    assert written(family, whole).endswith(encoded.text)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_token_has_the_right_role(reader: Reader, family: str, placement: Placement) -> None:
    prompt = scene_description(SCENE, [0], 1, placement)
    encoded = encode(reader, draw(SCENE), prompt)
    texts = token_texts(reader, encoded.input_ids.tolist())
    words = [(text.strip(), role.kind) for text, role in zip(texts, encoded.tokens.roles, strict=True)]
    start = words.index(("In", "text"))
    assert words[start : start + len(ROLES)] == ROLES
    assert encoded.tokens.described(0) == (start + 6, start + 7)
    before, after = words[:start], words[start + len(ROLES) :]
    if placement == "prefill":
        assert after == [("a", "last")]
        assert "".join(text for text, kind in before if kind == "text") == prompt.instruction.replace(" ", "")
    else:
        assert after[0] == ("a", "text")
        assert after[-1] == (conversation(family, prompt)[-1].strip(), "last")
        assert {kind for _, kind in after[1:-1]} == {"template"}
    assert {kind for _, kind in before} == {"template", "image", *(["text"] if placement == "prefill" else [])}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_word_of_several_tokens_has_them_all(reader: Reader, placement: Placement) -> None:
    encoded = encode(reader, draw(SCENE), scene_description(SCENE, [1], 0, placement))
    texts = token_texts(reader, encoded.input_ids.tolist())
    colour, noun = (encoded.tokens.positions(kind, 1) for kind in ("colour", "noun"))
    assert len(colour) > 1
    assert ["".join(texts[pos] for pos in word).strip() for word in (colour, noun)] == ["orange", "star"]
    assert encoded.tokens.described(1) == colour + noun


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_answers_are_tokenised_as_they_would_be_generated(reader: Reader, family: str, placement: Placement) -> None:
    prompt = scene_description(SCENE, [0], 1, placement)
    alone, both = (encode(reader, draw(SCENE), prompt, answer) for answer in (None, "blue star"))
    assert both.tokens.roles[: len(alone.tokens)] == alone.tokens.roles
    answer = both.tokens.positions("answer")
    assert answer[0] == alone.tokens.last + 1
    texts = token_texts(reader, both.input_ids.tolist())
    answer_text = "".join(texts[pos] for pos in answer)
    assert answer_text.strip() == "blue star"
    assert (answer_text[0] == " ") == (placement == "prefill" or ROWS[family].conversation.endswith(" {words}"))
    assert both.input_ids[answer[0]] == first_tokens(reader, prompt, ["red", "blue"])[1]


def test_templates_that_come_with_a_tokenizer(family: str, tmp_path: Path) -> None:
    reader = open_reader(str(checkpoint(tmp_path, FAMILIES[family], template=True)))
    assert reader.tokenizer.chat_template
    for prompt in (scene_description(SCENE, [0], 1), colour_retrieval(SCENE, 0)):
        text = encode(reader, draw(SCENE), prompt).text
        assert written(family, conversation(family, prompt)).endswith(text)
        assert text.count(prompt.user) == 1


def test_a_template_that_opens_the_sequence_itself_is_not_opened_twice(tmp_path: Path) -> None:
    reader = open_reader(str(checkpoint(tmp_path, FAMILIES["llava"])))
    reader.tokenizer.chat_template = "{{ bos_token }}" + reader.tokenizer.chat_template
    ids = encode(reader, draw(SCENE), scene_description(SCENE, [0], 1)).input_ids
    assert (ids == reader.tokenizer.bos_token_id).sum() == 1
    assert ids[0] == reader.tokenizer.bos_token_id


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "llava", FAMILIES["llava"])


def test_a_picture_that_is_cut_shows_its_middle(llava: Path) -> None:
    reader = open_reader(str(llava))
    tokens = contexts_of(reader)[0].tokens
    assert (tokens.grid, tokens.window) == ((6, 6), (56, 0, 224, 168))
    assert tokens.coverage.mean(axis=1) * 168 * 168 == pytest.approx(draw(SCENE).masks.sum(axis=(1, 2)))
    scene = on_grid([("red", "square"), ("blue", "star")], [(0, 0), (0, 2)], Grid(1, 3))
    with pytest.raises(FinstError, match=r"x 112 to 280 and y 0 to 168 of a picture of 392x168 px.* red square off"):
        encode(reader, draw(scene), scene_description(scene, [0], 1))


def test_image_tokens_that_see_each_other_are_at_the_same_positions_in_a_batch(tmp_path: Path) -> None:
    vlm = open_vlm(str(checkpoint(tmp_path, FAMILIES["gemma3"])))
    context = contexts_of(vlm.reader)[0]
    ids = torch.stack([context.input_ids, context.input_ids.roll(1)])
    family, pictures = vlm.reader.family, [context.image_inputs] * 2
    assert family.prepare(vlm.model, ids[:1], pictures[:1], vlm.device).blocks == ((5, 30),)
    with pytest.raises(FinstError, match="at different positions: expected the same in all contexts"):
        family.prepare(vlm.model, ids, pictures, vlm.device)


def test_gemma_sees_a_wide_picture_as_one_square(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, FAMILIES["gemma3"])
    file = folder / "preprocessor_config.json"
    wide = {"pan_and_scan_min_crop_size": 8, "pan_and_scan_max_num_crops": 4, "pan_and_scan_min_ratio_to_activate": 1.2}
    file.write_text(json.dumps(json.loads(file.read_text()) | wide | {"do_pan_and_scan": True}))
    context = contexts_of(open_reader(str(folder)))[0]
    assert context.image_inputs["pixel_values"].shape == (1, 3, 140, 140)
    assert (context.tokens.grid, context.tokens.window) == ((5, 5), (0, 0, 280, 168))


def test_prefix_language_models_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "paligemma"}))
    with pytest.raises(FinstError, match=r"'paligemma' is not supported: all tokens of its prompt see each other"):
        open_reader(str(tmp_path))
