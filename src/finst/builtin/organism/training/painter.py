"""Drawing many scenes at once on a device, without waiting for it; the tests hold it against the slow drawing."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.builtin.organism.architecture import PATCH_PX, Architecture
from finst.builtin.organism.training.batches import Batch
from finst.builtin.organism.training.resize import Taps, resize, taps
from finst.scenes.object import OBJECT_PX
from finst.scenes.shapes import COLOURS, SHAPES, coverage


def unnamed_colours(count: int = 512, distance: float = 80.0) -> Float[np.ndarray, "colour 3"]:
    """RGB colours, fixed, at least ``distance`` grey levels from every named one and from white."""
    anything = np.random.default_rng(0).integers(0, 256, (20 * count, 3)).astype(float)
    known = np.array([*COLOURS.values(), (255, 255, 255)])
    far = np.linalg.norm(anything[:, None] - known, axis=-1).min(1) >= distance
    return anything[far][:count]


def unnamed_shapes(count: int = 128) -> Float[np.ndarray, "shape height width"]:
    """Coverage of blobs, fixed: closed curves of random radius around the middle of an object's box."""
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:OBJECT_PX, :OBJECT_PX] - (OBJECT_PX - 1) / 2
    angle, radius = np.arctan2(ys, xs), np.hypot(ys, xs)
    waves = np.arange(1, 6)
    size, phase = rng.normal(0, 0.2, (count, 5, 1, 1)), rng.uniform(0, 2 * np.pi, (count, 5, 1, 1))
    edge = 1 + (size * np.cos(waves[:, None, None] * angle + phase)).sum(1)
    edge *= OBJECT_PX / 2 / edge.max((1, 2), keepdims=True)
    return np.clip(edge - radius + 0.5, 0, 1)


class Painter:
    """Draws many scenes at once on a device and cuts them into normalised patches.

    ``colour_noise`` is the standard deviation, in grey levels, of a shift of each object's colour. The shifts and what
    unnamed objects look like come from torch's global generator; without both, drawing is exact. Every scene is drawn
    as if it had as many objects as there are slots, the missing ones without covering anything: so shapes depend on
    the canvas alone, and nothing waits for the device. ``compiled`` fuses what comes after drawing into one kernel.
    """

    def __init__(
        self,
        architecture: Architecture,
        device: torch.device | str,
        colour_noise: float = 0.0,
        *,
        compiled: bool = False,
    ) -> None:
        processor = architecture.build_image_processor()
        self.side = architecture.side
        self._taps: dict[int, Taps] = {}
        named_shapes = np.stack([coverage(shape, OBJECT_PX, OBJECT_PX) for shape in SHAPES])
        masks, colours = [named_shapes, unnamed_shapes()], [list(COLOURS.values()), unnamed_colours()]
        self.masks = torch.tensor(np.concatenate(masks), dtype=torch.float32, device=device)
        self.colours = torch.tensor(np.concatenate(colours), dtype=torch.float32, device=device)
        self.colour_noise = colour_noise
        self.mean = torch.tensor(processor.image_mean, device=device)
        self.std = torch.tensor(processor.image_std, device=device)
        self.offsets = torch.arange(OBJECT_PX, device=device)
        self._finished = torch.compile(finished, dynamic=False) if compiled else finished

    def draw(self, batch: Batch) -> Float[Tensor, "image height width 3"]:
        """Grey levels in 0..255, whole numbers, as ``finst.scenes.draw`` gives them."""
        return self._drawn(batch).round()

    def _drawn(self, batch: Batch) -> Float[Tensor, "image height width 3"]:
        objects = batch.objects.to(self.colours.device)
        there = (objects[..., 0] >= 0)[:, :, None, None]
        colour, shape, left, top = objects.clamp(min=0).unbind(-1)
        shares = self.masks[_chosen(shape, len(SHAPES), len(self.masks))] * there
        paints = self.colours[_chosen(colour, len(COLOURS), len(self.colours))]
        if self.colour_noise:
            paints = (paints + self.colour_noise * torch.randn_like(paints)).clamp(0, 255)
        image = torch.full((len(objects), batch.height, batch.width, 3), 255.0, device=objects.device)
        rows = torch.arange(len(objects), device=objects.device)[:, None, None]
        for slot in range(objects.shape[1]):
            ys = (top[:, slot, None] + self.offsets)[:, :, None]
            xs = (left[:, slot, None] + self.offsets)[:, None, :]
            under = image[rows, ys, xs]
            image[rows, ys, xs] = under + shares[:, slot, ..., None] * (paints[:, slot, None, None] - under)
        return image

    def _lines(self, length: int) -> Taps | None:
        """How the image processor resizes lines of ``length`` px, if it does."""
        if self.side in (None, length):
            return None
        if length not in self._taps:
            self._taps[length] = taps(length, self.side, self.colours.device)
        return self._taps[length]

    def patches(self, batch: Batch) -> Float[Tensor, "image patch values"]:
        """What the image processor would return for each drawn image, cut into the patches that its tower takes."""
        return self._finished(self._drawn(batch), self._lines(batch.height), self.mean, self.std)


def finished(
    image: Float[Tensor, "image height width 3"], lines: Taps | None, mean: Float[Tensor, "3"], std: Float[Tensor, "3"]
) -> Float[Tensor, "image patch values"]:
    """Pictures rounded to whole grey levels, resized, normalised and cut into patches."""
    image = image.round()
    if lines is not None:
        image = resize(image, lines)
    image = (image / 255 - mean) / std
    rows, cols = (length // PATCH_PX for length in image.shape[1:3])
    cut = image.view(len(image), rows, PATCH_PX, cols, PATCH_PX, 3).permute(0, 1, 3, 5, 2, 4)
    return cut.reshape(len(image), rows * cols, -1)


def _chosen(index: Int[Tensor, "image object"], names: int, entries: int) -> Int[Tensor, "image object"]:
    """Named indices as they are, unnamed ones each at random from what comes after the ``names``."""
    return torch.where(index < names, index, torch.randint_like(index, names, entries))
