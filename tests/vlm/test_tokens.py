"""Every token has exactly one role, the right one: words by their tokens, objects by their pixels."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finst.errors import FinstError
from finst.options import Placement
from finst.prompts import Prompt, Span, colour_retrieval, enumeration, scene_description
from finst.scenes.designs import free_scene, grid_scene
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Picture, Scene, on_grid
from finst.vlm.encode import encode, first_tokens
from finst.vlm.families.base import decoder_inputs
from finst.vlm.open import Reader, open_vlm
from finst.vlm.tokens import Role, View, patch_coverage

seeds = st.integers(0, 2**32 - 1)
PLACEMENTS: tuple[Placement, ...] = ("prefill", "user_turn")


def decoded(reader: Reader, ids: torch.Tensor, positions: tuple[int, ...]) -> str:
    return reader.tokenizer.decode(ids[list(positions)])


@given(seed=seeds, count=st.integers(2, 6), placement=st.sampled_from(PLACEMENTS))
def test_words_have_the_roles_that_the_prompt_gave_them(
    reader: Reader, seed: int, count: int, placement: Placement
) -> None:
    rng = np.random.default_rng(seed)
    scene = grid_scene(rng, Grid(3, 2), count)
    *described, target = rng.permutation(count).tolist()
    prompt = scene_description(scene, described, target, placement)
    encoded = encode(reader, draw(scene), prompt)
    tokens, ids = encoded.tokens, encoded.input_ids
    assert len(tokens) == len(ids)
    for index in described:
        obj = scene.objects[index]
        assert decoded(reader, ids, tokens.positions("colour", index)).strip() == obj.colour
        assert decoded(reader, ids, tokens.positions("noun", index)).strip() == obj.shape
        assert decoded(reader, ids, tokens.described(index)).strip() == obj.name
        assert decoded(reader, ids, tokens.positions("comma", index)) in (",", " and")
    with pytest.raises(FinstError, match=rf"does not describe object {target}: expected one of"):
        tokens.described(target)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_other_roles(reader: Reader, placement: Placement) -> None:
    scene = on_grid([("red", "square"), ("purple", "star")], [(0, 0), (1, 1)], Grid(2, 2))
    prompt = scene_description(scene, [1], 0, placement)
    encoded = encode(reader, draw(scene), prompt)
    tokens, ids = encoded.tokens, encoded.input_ids
    template = tokens.positions("template")
    image = tokens.positions("image")
    assert tokens.grid == (10, 10)
    assert [tokens.roles[pos].patch for pos in image] == [(row, col) for row in range(10) for col in range(10)]
    assert set(ids[list(image)].tolist()) == {reader.config.image_token_id}
    assert tokens.positions("last") == (tokens.last,) == (len(ids) - 1,)
    text_positions = [pos for pos in range(len(ids)) if pos not in template and pos not in image]
    if placement == "prefill":
        assert decoded(reader, ids, tuple(text_positions)) == prompt.instruction + prompt.sentence
        assert decoded(reader, ids, (tokens.last,)) == " a"
    else:
        assert decoded(reader, ids, tuple(text_positions[:-1])) == prompt.sentence
        assert decoded(reader, ids, (tokens.last,)) == "\n"
    without_image = [pos for pos in range(len(ids)) if pos not in image[1:]]
    assert decoded(reader, ids, tuple(without_image)) == encoded.text


def test_template_of_the_tokenizer_or_of_the_family(reader: Reader) -> None:
    scene = on_grid([("red", "square"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2))
    text = encode(reader, draw(scene), scene_description(scene, [0], 1)).text
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    rest = (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|>\n"
        "<|im_start|>assistant\nIn this image there is a red square and a"
    )
    assert text == (rest if reader.tokenizer.chat_template else system + rest)


def test_answers_follow_the_last_token_of_the_prompt(reader: Reader) -> None:
    scene = on_grid([("red", "square"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2))
    for prompt in (scene_description(scene, [0], 1), colour_retrieval(scene, 1), enumeration(scene, [0, 1])):
        alone = encode(reader, draw(scene), prompt)
        both = encode(reader, draw(scene), prompt, prompt.answer)
        assert both.tokens.last == alone.tokens.last == len(alone.input_ids) - 1
        assert both.tokens.roles[: len(alone.tokens)] == alone.tokens.roles
        answer = both.tokens.positions("answer")
        assert decoded(reader, both.input_ids, answer) == prompt.continuation(prompt.answer)
        assert both.text == alone.text + prompt.continuation(prompt.answer)
        assert both.input_ids[answer[0]] == first_tokens(reader, prompt, [prompt.answer])[0]


def test_a_colour_of_several_tokens_has_them_all(reader: Reader) -> None:
    scene = on_grid([("orange", "square"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2))
    encoded = encode(reader, draw(scene), scene_description(scene, [0], 1))
    assert len(encoded.tokens.positions("colour", 0)) > 1
    assert decoded(reader, encoded.input_ids, encoded.tokens.positions("colour", 0)).strip() == "orange"


def test_a_token_of_two_spans_belongs_to_the_larger_part(reader: Reader) -> None:
    """No available tokenizer merges words, so two spans divide one word instead."""
    scene = on_grid([("red", "square"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2))
    sentence = "In this image there is a yellow"
    start = sentence.index("yellow")
    spans = (Span(start, start + 2, "colour", 0), Span(start + 2, len(sentence), "noun", 1))
    tokens = encode(reader, draw(scene), Prompt(sentence + " a", spans, "prefill", "")).tokens
    assert tokens.roles[tokens.last - 1] == Role("noun", 1)


def test_unknown_roles_and_objects_are_refused(reader: Reader) -> None:
    scene = on_grid([("red", "square")], [(0, 0)], Grid(1, 1))
    tokens = encode(reader, draw(scene), enumeration(scene, [0])).tokens
    with pytest.raises(Exception, match="noun"):
        tokens.positions("verb")  # pyright: ignore[reportArgumentType]
    with pytest.raises(FinstError, match="unknown object 1: expected one of 0"):
        tokens.object_patches(1)
    with pytest.raises(FinstError, match="it names none"):
        tokens.described(0)


def merged_cells(rows: torch.Tensor, grid: tuple[int, int], merge: int) -> set[tuple[int, int]]:
    """Cells of the token grid for some patch rows: merge*merge consecutive patches make one cell."""
    return {divmod(index // merge**2, grid[1]) for index in torch.nonzero(rows)[:, 0].tolist()}


def recoloured(picture: Picture, index: int) -> Picture:
    """The same picture with all pixels of one object's mask inverted."""
    image = picture.image.copy()
    image[picture.masks[index]] = 255 - image[picture.masks[index]]
    return Picture(picture.scene, image, picture.masks)


@given(seed=seeds, shape=st.sampled_from([(2, 2), (3, 3), (3, 2), (1, 4)]), jitter=st.sampled_from([0, 20]))
def test_object_patches_are_those_whose_pixels_change_with_the_object(
    reader: Reader, seed: int, shape: tuple[int, int], jitter: int
) -> None:
    scene = grid_scene(np.random.default_rng(seed), Grid(*shape), 2, jitter_px=jitter)
    picture, prompt = draw(scene), enumeration(scene, [0, 1])
    before = encode(reader, picture, prompt)
    assert before.tokens.grid == (scene.height // 28, scene.width // 28)
    merge = reader.config.vision_config.spatial_merge_size
    for index in range(2):
        after = encode(reader, recoloured(picture, index), prompt)
        moved = (after.image_inputs["pixel_values"] != before.image_inputs["pixel_values"]).any(dim=1)
        patches = {before.tokens.roles[pos].patch for pos in before.tokens.object_patches(index)}
        assert patches == merged_cells(moved, before.tokens.grid, merge)


@given(seed=seeds, size=st.sampled_from([(300, 200), (215, 333), (1000, 900), (120, 120)]))
def test_masks_follow_the_resize_of_the_model(reader: Reader, seed: int, size: tuple[int, int]) -> None:
    scene = free_scene(np.random.default_rng(seed), *size, 2)
    picture, prompt = draw(scene), enumeration(scene, [0, 1])
    before = encode(reader, picture, prompt)
    rows, cols = before.tokens.grid
    assert (rows * 28, cols * 28) != (scene.height, scene.width)
    merge = reader.config.vision_config.spatial_merge_size
    for index in range(2):
        after = encode(reader, recoloured(picture, index), prompt)
        change = (after.image_inputs["pixel_values"] - before.image_inputs["pixel_values"]).abs()
        touched = merged_cells(change.amax(dim=1) > 0, (rows, cols), merge)
        assert {before.tokens.roles[p].patch for p in before.tokens.object_patches(index, above=0.02)} <= touched
        strongly = merged_cells((change > 1).float().mean(dim=1) > 0.2, (rows, cols), merge)
        assert strongly <= {before.tokens.roles[p].patch for p in before.tokens.object_patches(index)}
        share = before.tokens.coverage[index].mean()
        assert share == pytest.approx(picture.masks[index].mean())


def test_image_tokens_of_an_object_are_those_that_its_pixels_reach(reader: Reader) -> None:
    """With the real vision tower and merger, and attention between patches switched off."""
    vlm = open_vlm(reader)
    model = copy.deepcopy(vlm.model)
    for block in model.model.visual.blocks:
        torch.nn.init.zeros_(block.attn.proj.weight)
        torch.nn.init.zeros_(block.attn.proj.bias)
    scene = on_grid([("red", "star"), ("blue", "heart")], [(0, 2), (1, 0)], Grid(2, 3))
    picture = draw(scene)
    for index in range(2):
        contexts = [
            encode(reader, shown, enumeration(scene, [0, 1])) for shown in (picture, recoloured(picture, index))
        ]
        with torch.inference_mode():
            ids, pictures = torch.stack([c.input_ids for c in contexts]), [c.image_inputs for c in contexts]
            given = reader.family.prepare(model, ids, pictures, vlm.device)
            embeds = decoder_inputs(reader.family, model, given).embeds
        moved = torch.nonzero((embeds[0] != embeds[1]).any(dim=-1))[:, 0].tolist()
        assert tuple(moved) == contexts[0].tokens.object_patches(index)


def test_positions_are_those_the_model_works_out_itself(reader: Reader) -> None:
    vlm = open_vlm(reader)
    scene: Scene = on_grid([("red", "star"), ("blue", "heart")], [(0, 2), (1, 0)], Grid(2, 3))
    encoded = encode(reader, draw(scene), enumeration(scene, [0, 1]))
    ids = encoded.input_ids[None]
    with torch.inference_mode():
        given = reader.family.prepare(vlm.model, ids, [encoded.image_inputs], vlm.device)
        inputs = decoder_inputs(reader.family, vlm.model, given)
        ours = vlm.decoder(inputs_embeds=inputs.embeds, position_ids=inputs.position_ids).last_hidden_state
        is_image = (ids == reader.config.image_token_id).int()
        whole = vlm.model.model(input_ids=ids, mm_token_type_ids=is_image, **encoded.image_inputs)
    assert torch.equal(ours, whole.last_hidden_state)


def test_coverage_is_the_share_of_the_patch() -> None:
    masks = np.zeros((2, 4, 8), dtype=bool)
    masks[0, :2, :4] = True
    masks[1, 1, 5] = True
    window = (0, 0, 8, 4)
    assert patch_coverage(masks, View.even((2, 4), window)) == pytest.approx(
        np.array([[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0.25, 0, 0, 0, 0, 0]])
    )
    # Three columns over eight pixels: with the border at 16/3 px, a third of pixel 5 is in the second column.
    assert patch_coverage(masks, View.even((1, 3), window))[1] == pytest.approx(
        [0, 1 / 3 * 3 / 8 / 4, 2 / 3 * 3 / 8 / 4]
    )
    assert patch_coverage(masks, View.even((8, 16), window)).mean(axis=1) == pytest.approx(masks.mean(axis=(1, 2)))
