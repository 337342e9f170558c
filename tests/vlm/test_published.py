"""Shapes equal those of the published models."""

from __future__ import annotations

import re

import pytest

from finst.errors import FinstError
from finst.vlm.open import quiet
from finst.vlm.published import SHAPES, published, shape_named

PUBLISHED = {
    "qwen2-vl-2b": 2_208_985_600,
    "qwen2-vl-7b": 8_291_375_616,
    "qwen2.5-vl-3b": 3_754_622_976,
    "qwen2.5-vl-7b": 8_292_166_656,
    "qwen2.5-vl-32b": 33_452_718_336,
    "llava-1.5-7b": 7_063_427_072,
    "idefics2-8b": 8_402_768_112,
    "smolvlm2-500m": 507_482_304,
    "smolvlm2-2.2b": 2_246_784_880,
    "qwen3-vl-8b": 8_767_123_696,
    "gemma-3-4b": 4_300_079_472,
    "gemma-3-12b": 12_187_325_040,
}
"""Parameters in the weight files of the hub's checkpoints."""


def parameters(name: str) -> int:
    with quiet():
        return SHAPES[name].parameters()


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_parameters_as_the_published_model(name: str) -> None:
    assert parameters(name) == PUBLISHED[name]


@pytest.mark.parametrize("name", SHAPES)
def test_the_number_of_parameters_is_about_that_in_the_name(name: str) -> None:
    """Some names count the language model alone, without vision tower and projector."""
    size = re.search(r"([\d.]+)([bm])$", name)
    assert size is not None
    nominal = float(size[1]) * {"b": 1e9, "m": 1e6}[size[2]]
    assert 0.9 * nominal <= parameters(name) <= 1.1 * nominal + 0.7e9


def test_llava_13b() -> None:
    """Its model card gives 13.4 billion; the difference from the smaller model follows from the decoders' sizes."""

    def decoder(layers: int, width: int, mlp: int) -> int:
        return layers * (4 * width**2 + 3 * width * mlp + 2 * width) + width + 2 * 32064 * width

    projector = {width: (1024 + 1) * width + (width + 1) * width for width in (4096, 5120)}
    vision = PUBLISHED["llava-1.5-7b"] - decoder(32, 4096, 11008) - projector[4096]
    assert parameters("llava-1.5-13b") == decoder(40, 5120, 13824) + projector[5120] + vision
    assert round(parameters("llava-1.5-13b") / 1e9, 1) == 13.4


def test_names() -> None:
    assert shape_named("qwen2-vl-7b").name == "qwen2-vl-7b"
    with pytest.raises(FinstError, match="unknown shape 'gpt-2': expected one of qwen2-vl-2b, qwen2-vl-7b, "):
        shape_named("gpt-2")
    assert published("HuggingFaceM4/idefics2-8b-chatty") is published("idefics2-8b") is SHAPES["idefics2-8b"]
    assert published("organism") is None


def test_a_configuration_is_new_every_time() -> None:
    first = SHAPES["qwen2-vl-7b"].config()
    first.get_text_config().rope_parameters["mrope_section"][0] = 0
    assert SHAPES["qwen2-vl-7b"].config().get_text_config().rope_parameters["mrope_section"] == [16, 24, 24]
