"""Checkpoints that a family does not support are refused with the reason, before any weight is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finst.errors import FinstError
from finst.prompts import Prompt
from finst.scenes.object import Picture, Scene
from finst.vlm.encode import encode
from finst.vlm.open import open_reader
from tests.tiny import FAMILIES, ROWS, checkpoint

QWEN3 = {"text_config": {"model_type": "qwen3"}}
LLAVA = r"is not supported: expected LLaVA-1\.5's 'clip_vision_model' and 'default'"
CONFIGS: list[tuple[str, dict[str, Any], str]] = [
    ("llava", {"vision_config": {"model_type": "siglip_vision_model"}}, LLAVA),
    ("llava", {"vision_feature_select_strategy": "full"}, LLAVA),
    ("llava_onevision", QWEN3, r"LLaVA-OneVision with the text model 'qwen3' is not supported: expected 'qwen2'"),
    ("idefics2", QWEN3, r"Idefics2 with the text model 'qwen3' is not supported: expected 'mistral'"),
    ("idefics3", QWEN3, r"Idefics3 or SmolVLM with the text model 'qwen3' is not supported: expected 'llama'"),
    ("smolvlm", QWEN3, r"Idefics3 or SmolVLM with the text model 'qwen3' is not supported: expected 'llama'"),
    ("internvl", QWEN3, r"InternVL3 with the text model 'qwen3' is not supported: expected 'qwen2'.* no norms between"),
    ("llava_onevision", {"vision_config": {"model_type": "clip_vision_model"}}, r"expected 'siglip_vision_model'"),
    ("llava_onevision", {"vision_feature_layer": -2}, r"'full' of layer -2 is not supported"),
    ("llava_onevision", {"vision_feature_select_strategy": "default"}, r"feature selection 'default'"),
    (
        "llava_onevision",
        {"vision_aspect_ratio": "square"},
        r"aspect ratio 'square' is not supported: .* 'anyres_max_N'",
    ),
    ("llava_onevision", {"image_grid_pinpoints": [[86, 86]]}, r"the configuration's image_grid_pinpoints"),
    ("internvl", {"vision_feature_select_strategy": "full"}, r"feature selection 'full' is not supported"),
    ("gemma3", {"text_config": {"final_logit_softcapping": 30.0}}, r"final_logit_softcapping 30.0 is not supported"),
    ("gemma3", {"text_config": {"use_bidirectional_attention": True}}, r"use_bidirectional_attention True is not"),
    ("gemma3", {"mm_tokens_per_image": 24}, r"24 tokens for 10x10 patches is not supported"),
    ("gemma3", {"mm_tokens_per_image": 16}, r"16 tokens for 10x10 patches is not supported"),
    ("gemma3", {"vision_config": {"image_size": 280}}, r"expected do_resize to 280x280 px"),
    ("idefics3", {"scale_factor": 4}, r"6 patches a side do not merge into image tokens of 4 a side"),
]
SQUARE = "expected do_resize to a shortest_edge of 84 px, do_center_crop to 84x84 px"
PROCESSORS: list[tuple[str, dict[str, Any], str]] = [
    ("qwen2_5_vl", {"patch_size": 16}, r"makes patches of \(16, 2, 2\) and the vision tower takes \(14, 2, 2\)"),
    ("llava", {"size": {"shortest_edge": 98}}, SQUARE),
    ("llava", {"size": {"height": 84, "width": 84}}, SQUARE),
    ("llava", {"crop_size": {"height": 84, "width": 70}}, SQUARE),
    ("llava", {"do_resize": False}, SQUARE),
    ("llava", {"do_center_crop": False}, SQUARE),
    ("llava", {"do_pad": True}, SQUARE),
    ("llava_onevision", {"size": {"height": 98, "width": 98}}, r"expected do_resize to 86x86 px without a crop"),
    ("llava_onevision", {"do_resize": False}, r"expected do_resize to 86x86 px without a crop"),
    ("llava_onevision", {"do_center_crop": True}, r"expected do_resize to 86x86 px without a crop"),
    ("idefics2", {"do_resize": False}, r"expected do_resize with a longest_edge and a shortest_edge of at least 14 px"),
    ("idefics2", {"size": {"shortest_edge": 13, "longest_edge": 98}}, r"a shortest_edge of at least 14 px"),
    ("idefics3", {"max_image_size": {"longest_edge": 98}}, r"makes squares of 98 px and .* takes 84 px"),
    ("smolvlm", {"max_image_size": {"longest_edge": 98}}, r"makes squares of 98 px and .* takes 128 px"),
    ("internvl", {"size": {"height": 98, "width": 98}}, r"expected do_resize to 84x84 px"),
    ("internvl", {"do_resize": False}, r"expected do_resize to 84x84 px"),
]
NAMES = {family: row.refuses_as for family, row in ROWS.items() if row.refuses_as}
"""Names, in error messages, of the families that see whole pictures in patches of 14 px."""


def without_weights(folder: Path, family: str) -> str:
    """A checkpoint whose weights cannot be read."""
    checkpoint(folder, FAMILIES[family])
    (folder / "model.safetensors").write_bytes(b"not weights")
    return str(folder)


def changed(folder: Path, file: str, changes: dict[str, Any]) -> str:
    """The checkpoint with some entries of one of its files replaced; sections are updated."""
    content = json.loads((folder / file).read_text())
    for key, value in changes.items():
        content[key] = content[key] | value if key.endswith("_config") else value
    (folder / file).write_text(json.dumps(content))
    return str(folder)


@pytest.mark.parametrize(("family", "changes", "message"), CONFIGS)
def test_other_architectures(family: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    without_weights(tmp_path, family)
    with pytest.raises(FinstError, match=message):
        open_reader(changed(tmp_path, "config.json", changes))


@pytest.mark.parametrize(("family", "changes", "message"), PROCESSORS)
def test_other_image_processors(family: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    without_weights(tmp_path, family)
    with pytest.raises(FinstError, match=message):
        open_reader(changed(tmp_path, "preprocessor_config.json", changes))


@pytest.mark.parametrize("family", NAMES)
def test_pictures_smaller_than_a_patch(family: str, tmp_path: Path) -> None:
    reader = open_reader(without_weights(tmp_path, family))
    for width, height in ((200, 13), (13, 200), (1, 1), (14, 14)):
        image = np.zeros((height, width, 3), dtype=np.uint8)
        picture = Picture(Scene(width, height, ()), image, np.zeros((0, height, width), dtype=bool))
        question = Prompt("What is this?", (), "user_turn", "")
        if min(width, height) >= 14:
            assert encode(reader, picture, question).tokens.positions("image")
            continue
        with pytest.raises(
            FinstError, match=rf"{width}x{height} px does not suit {NAMES[family]}: expected at least 14"
        ):
            encode(reader, picture, question)
