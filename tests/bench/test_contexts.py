"""Synthetic contexts have the given length and their roles, and differ only in their pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finst.bench.contexts import synthetic_contexts
from finst.bench.random_vlm import random_vlm
from finst.engine.record import record
from finst.errors import FinstError
from finst.vlm.encode import Encoded
from finst.vlm.published import SHAPES
from tests.bench.tiny import TINY


def made(shape: str, tokens: int | None, suffix: int = 10, count: int = 3, seed: int = 0) -> tuple[Encoded, ...]:
    reader = (TINY if shape == "tiny" else SHAPES[shape]).reader()
    return synthetic_contexts(reader, tokens=tokens, suffix=suffix, count=count, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("shape", "tokens", "length", "side"),
    [
        ("qwen2-vl-7b", 230, 230, 14),
        ("qwen2-vl-7b", 640, 640, 25),
        ("qwen2-vl-7b", 110, 110, 10),
        ("qwen2-vl-7b", 14, 14, 2),
        ("qwen2.5-vl-3b", None, 230, 14),
        ("llava-1.5-7b", None, 610, 24),
        ("llava-1.5-13b", 587, 587, 24),
    ],
)
def test_length_and_picture(shape: str, tokens: int | None, length: int, side: int) -> None:
    for context in made(shape, tokens):
        image = SHAPES[shape].config().image_token_id
        assert len(context.input_ids) == len(context.tokens) == length
        assert context.tokens.grid == (side, side)
        positions = context.tokens.positions("image")
        assert list(positions) == list(range(positions[0], positions[0] + side**2))
        assert (context.input_ids == image).nonzero()[:, 0].tolist() == list(positions)
        assert context.tokens.roles[positions[-1]].patch == (side - 1, side - 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_published_shape(shape: str) -> None:
    """Pictures as the family encodes them, also where some or all of their tokens have no place in the picture."""
    reader = SHAPES[shape].reader()
    (context,) = synthetic_contexts(
        reader, tokens=None, suffix=10, count=1, rng=np.random.default_rng(0), picture_px=280
    )
    of_picture = context.input_ids == reader.config.image_token_id
    assert len(context.tokens) == len(of_picture) == int(of_picture.sum()) + 34
    assert set(context.tokens.positions("image")) <= set(of_picture.nonzero()[:, 0].tolist())
    assert context.tokens.described(0) == (len(of_picture) - 10, len(of_picture) - 9)


@pytest.mark.parametrize("suffix", [3, 4, 10, 20])
def test_described_tokens_begin_the_suffix(suffix: int) -> None:
    (context,) = made("tiny", 50, suffix, count=1)
    assert context.tokens.described(0) == (50 - suffix, 51 - suffix)
    assert context.tokens.last == 49


def test_only_pixels_differ() -> None:
    clean, swapped, changed = made("tiny", 50)
    assert torch.equal(clean.input_ids, swapped.input_ids)
    assert torch.equal(clean.input_ids, changed.input_ids)
    pixels = [context.image_inputs["pixel_values"] for context in (clean, swapped, changed)]
    assert not torch.equal(pixels[0], pixels[1])
    assert not torch.equal(pixels[0], pixels[2])
    assert torch.equal(made("tiny", 50)[2].image_inputs["pixel_values"], pixels[2])
    assert not torch.equal(made("tiny", 50, seed=1)[0].input_ids, clean.input_ids)


def test_a_model_takes_them_and_its_logits_depend_on_the_pixels() -> None:
    vlm = random_vlm(TINY, torch.float32, torch.device("cpu"))
    recording = record(vlm, made("tiny", 50))
    assert recording.length == 50
    effect = (recording.logits[1:] - recording.logits[0]).abs().amax(dim=1)
    assert (effect > 0.1).all()


@pytest.mark.parametrize(
    ("shape", "tokens", "suffix", "message"),
    [
        ("tiny", 50, 2, "suffix is 2: expected at least 3 tokens"),
        ("tiny", 10, 10, "tokens is 10: a picture and a suffix of 10 tokens need at least 14"),
        ("tiny", 5, 10, "need at least 14"),
        ("tiny", None, 40, "tokens is 230: a picture and a suffix of 40 tokens need at least 236"),
        ("llava-1.5-7b", 230, 10, "tokens is 230: a picture and a suffix of 10 tokens need at least 586"),
    ],
)
def test_no_room(shape: str, tokens: int | None, suffix: int, message: str) -> None:
    with pytest.raises(FinstError, match=message):
        made(shape, tokens, suffix)
