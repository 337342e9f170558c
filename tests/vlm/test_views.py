"""Pictures in two views, or as one block: the token map matches the model's input."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlavaOnevisionConfig
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

from finst.errors import FinstError
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid
from finst.vlm.encode import encode
from finst.vlm.families.llava_onevision import LlavaOneVision
from finst.vlm.open import open_reader, open_vlm
from finst.vlm.tokens import Role, View
from tests.tiny import FAMILIES, checkpoint

SCENE = on_grid([("red", "square"), ("blue", "star")], [(0, 0), (0, 1)], Grid(1, 2))


def gradient(width: int, height: int) -> np.ndarray:
    """A picture whose red is x and whose green is y, in 255ths of the picture."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return (255 * np.stack([x, y, np.zeros_like(x)], axis=-1)).round().astype(np.uint8)


def seen_at(pixel_values: Tensor, patch: int, processor: Any) -> Tensor:
    """[square, patch, (x, y)] in 255ths: the middle of the part of the picture in each patch of each square."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor.image_mean, processor.image_std))
    levels = 255 * (pixel_values * std + mean)
    return torch.nn.functional.avg_pool2d(levels, patch)[:, :2].flatten(2).transpose(1, 2)


@pytest.mark.parametrize(
    ("size", "tiled", "blur"),
    [
        ((280, 280), (27, 27), 0),
        ((392, 392), (54, 54), 0),
        ((640, 480), (40, 54), 0),
        ((1000, 300), (25, 81), 0),
        ((1300, 1000), (70, 92), 0.3),
    ],
    ids=("one tile", "four", "with margins", "wide", "shrunk"),
)
def test_onevisions_patches_are_where_the_model_packs_them(
    size: tuple[int, int], tiled: tuple[int, int], blur: float
) -> None:
    """At the published sizes: the pixels behind each token, of a picture whose colours encode positions.

    Up to one level of grey, and a share ``blur`` of a patch where the model averages neighbours.
    """
    config, processor = LlavaOnevisionConfig(), LlavaOnevisionImageProcessorPil()
    image = gradient(*size)
    pixels = LlavaOneVision().pixels(config, processor, image)
    assert tuple(view.grid for view in pixels.views) == ((27, 27), tiled)
    squares = seen_at(pixels.inputs["pixel_values"][0], 14, processor)
    line_end = torch.full((2,), -1.0)
    packed, counts = LlavaOnevisionModel.pack_image_features(
        cast(Any, SimpleNamespace(config=config)), [squares], pixels.inputs["image_sizes"], line_end
    )
    assert counts.tolist() == [len(pixels.roles)]
    level = np.array(size) / 255
    checked = 0
    for where, role in zip((packed[0].numpy() * level), pixels.roles, strict=True):
        if role.patch is None:
            assert role == Role("template")
            assert where.tolist() == (-level).tolist()
            continue
        view = pixels.views[role.view]
        rows, cols = view.rows[role.patch[0]], view.cols[role.patch[1]]
        if min(*rows, *cols) >= 0 and rows[1] <= size[1] and cols[1] <= size[0]:
            tolerance = level + blur * np.array([np.ptp(cols), np.ptp(rows)])
            assert (abs(where - np.array([cols.mean(), rows.mean()])) < tolerance).all()
            checked += 1
    assert checked > 0.9 * sum(view.areas.size for view in pixels.views)


def test_an_objects_tokens_are_those_of_both_views(tmp_path: Path) -> None:
    reader = open_reader(str(checkpoint(tmp_path, FAMILIES["llava_onevision"])))
    tokens = encode(reader, draw(SCENE), scene_description(SCENE, [0], 1)).tokens
    both, whole, tiled = (tokens.object_patches(0, view=view) for view in (None, 0, 1))
    assert both == whole + tiled
    assert whole
    assert tiled
    assert {tokens.roles[pos].view for pos in whole} == {0}
    assert {tokens.roles[pos].view for pos in tiled} == {1}
    with pytest.raises(FinstError, match="unknown view 2: expected one of 0, 1"):
        tokens.object_patches(0, view=2)


def test_views_in_px() -> None:
    view = View.even((2, 4), (8, 0, 48, 10))
    assert (view.grid, view.window) == ((2, 4), (8, 0, 48, 10))
    assert view.areas.tolist() == [50] * 8


def test_idefics2_takes_pictures_of_one_size_in_a_batch(tmp_path: Path) -> None:
    vlm = open_vlm(str(checkpoint(tmp_path, FAMILIES["idefics2"])))
    other = on_grid([("red", "square"), ("blue", "star")], [(0, 0), (1, 0)], Grid(2, 1))
    contexts = [encode(vlm.reader, draw(scene), scene_description(scene, [0], 1)) for scene in (SCENE, other)]
    ids = torch.stack([context.input_ids for context in contexts])
    with pytest.raises(
        FinstError, match=r"Idefics2 keeps the shape .* 280x168 and 168x280 px: expected pictures of one"
    ):
        vlm.reader.family.prepare(vlm.model, ids, [context.image_inputs for context in contexts], vlm.device)
