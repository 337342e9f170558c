"""All texts that finst can write into a conversation: the tokenizers are cut to them and tested on them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from finst.options import Placement
from finst.prompts import STEPS, Prompt, colour_retrieval, enumeration, scene_description, spatial_relation
from finst.scenes.object import Grid, Scene, on_grid
from finst.scenes.shapes import COLOURS, SHAPES
from finst.vlm.families import FAMILIES

SPECIAL = r"<[^<> ]+>"
"""Pattern of special tokens."""

PLACEMENTS: tuple[Placement, ...] = ("prefill", "user_turn")

TURNS = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user <image>\n{}<|im_end|><|im_start|>assistant\n",
    "<|im_start|>user\n<image>\n{}<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>User:<image>{}<end_of_utterance>\nAssistant:",
    "User:<image>{}<end_of_utterance>\nAssistant:",
    "USER: <image>\n{} ASSISTANT:",
    "<bos><start_of_turn>user\n\n\n<start_of_image><image_soft_token><end_of_image>\n\n{}<end_of_turn>\n"
    "<start_of_turn>model\n",
)
"""Turns of published chat templates, beside those of the families' ``render``."""


def scenes() -> Iterator[Scene]:
    """Every colour with every shape, once as the first and once as the second of two objects, one above the other."""
    shapes = list(SHAPES)
    for colour, other in zip(COLOURS, [*list(COLOURS)[1:], *list(COLOURS)[:1]], strict=True):
        for shape, another in zip(shapes, shapes[1:] + shapes[:1], strict=True):
            yield on_grid([(colour, shape), (other, another)], [(0, 0), (1, 0)], Grid(2, 2))


def descriptions(placement: Placement) -> Iterator[tuple[Scene, Prompt]]:
    """Descriptions that name the first object, and that name both objects before a third."""
    for scene in scenes():
        yield scene, scene_description(scene, [0], 1, placement)
    for scene in scenes():
        third = on_grid(
            [*((o.colour, o.shape) for o in scene.objects), ("red", "star")], Grid(2, 2).cells[:3], Grid(2, 2)
        )
        yield third, scene_description(third, [1, 0], 2, placement)


def questions() -> Iterator[tuple[Scene, Prompt]]:
    """All prompts in the user's turn."""
    for scene in scenes():
        yield scene, colour_retrieval(scene, 0)
        yield scene, spatial_relation(scene, "above", 1)
        yield scene, enumeration(scene, [0, 1])


def conversations() -> Iterator[str]:
    """Whole conversations, with their answers."""
    turns = [*TURNS, *(family.render("{}") for family in FAMILIES)]
    prompts = [prompt for placement in PLACEMENTS for _, prompt in descriptions(placement)]
    prompts += [prompt for _, prompt in questions()]
    for turn in turns:
        for prompt in prompts:
            opened = turn.replace("{}", prompt.user) + prompt.prefill
            yield opened + prompt.continuation(prompt.answer)
            yield f"{opened} {prompt.prefill}{prompt.continuation(prompt.answer)}"
    yield " ".join(STEPS)


def words(texts: Iterable[str]) -> set[str]:
    """The parts between spaces and special tokens, across which no token of the cut tokenizers reaches."""
    parts = (part for text in texts for part in re.split(SPECIAL, text))
    return {word for part in parts for word in part.split(" ")}
