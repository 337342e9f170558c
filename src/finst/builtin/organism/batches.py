"""From lessons to tensors, and drawing on the GPU; each fast step has its slow twin in the tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finst.builtin.organism.architecture import PATCH_PX, Architecture, patch_grid
from finst.builtin.organism.lessons import Lesson, Piece
from finst.builtin.organism.mixes import Mix, training_lesson
from finst.builtin.organism.resize import Taps, resize, taps
from finst.scenes.object import OBJECT_PX, Grid
from finst.scenes.shapes import COLOURS, SHAPES, coverage

IGNORED = -100
"""Label of a token that carries no loss."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Lessons on canvases of one size, padded on the right to one length."""

    input_ids: Int[Tensor, "lesson pos"]
    labels: Int[Tensor, "lesson pos"]
    objects: Int[Tensor, "lesson object 4"]
    """(colour, shape, left, top) of each object; -1 where there is none; one past the last name for an unnamed one."""
    width: int
    height: int
    image_start: int
    """Tokens before the image."""


class Writer:
    """Token ids and labels of lessons, from a table of pieces (tokens never span two pieces)."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self._tokenizer: Any = architecture.build_tokenizer()
        self.pad, self.end = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
        self.patch = self._tokenizer.get_vocab()[architecture.image_placeholder]
        self._known: dict[str, list[int]] = {}
        turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "."}]}]
        text: str = self._tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        before, after = text.split(architecture.image_placeholder)
        end_of_image, start_of_answer = after.split(".")
        self._before: list[int] = self._tokenizer.encode(before)
        self._end_of_image, self._start_of_answer = map(self.ids, (end_of_image, start_of_answer))
        self._gap = "" if start_of_answer[-1].isspace() else " "

    @property
    def image_start(self) -> int:
        """Tokens before the image."""
        return len(self._before)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text that stands in the middle of a conversation."""
        if text not in self._known:
            self._known[text] = self._tokenizer.encode(text, add_special_tokens=False)
        return self._known[text]

    def tokens(self, lesson: Lesson) -> tuple[list[int], list[int]]:
        """(input ids, labels) of a lesson; the end of the assistant's turn is learned."""
        rows, cols = patch_grid(self.architecture, lesson.scene.width, lesson.scene.height)
        given = [*self._before, *[self.patch] * (rows * cols), *self._end_of_image]
        first, *others = lesson.assistant
        said = [Piece(self._gap + first.text, first.learned), *others]
        stretches = [(given, False)]
        stretches += [(self.ids(piece.text), piece.learned) for piece in lesson.user]
        stretches += [(self._start_of_answer, False)]
        stretches += [(self.ids(piece.text), piece.learned) for piece in said]
        stretches += [([self.end], True)]
        ids = [token for stretch, _ in stretches for token in stretch]
        labels = [token if learned else IGNORED for stretch, learned in stretches for token in stretch]
        return ids, labels


def collate(lessons: Sequence[Lesson], writer: Writer, length: int | None = None) -> Batch:
    """Pads to ``length`` (default: the longest lesson)."""
    rows = [writer.tokens(lesson) for lesson in lessons]
    length = length or max(len(ids) for ids, _ in rows)
    input_ids = np.full((len(rows), length), writer.pad)
    labels = np.full((len(rows), length), IGNORED)
    for row, (ids, learned) in enumerate(rows):
        input_ids[row, : len(ids)], labels[row, : len(ids)] = ids, learned
    scene = lessons[0].scene
    objects = np.stack([object_table(lesson) for lesson in lessons])
    tensors = torch.from_numpy(input_ids), torch.from_numpy(labels), torch.from_numpy(objects)
    return Batch(*tensors, scene.width, scene.height, writer.image_start)


def object_table(lesson: Lesson, slots: int = 9) -> Int[np.ndarray, "object 4"]:
    """(colour, shape, left, top) of each object in the scene's order, padded with -1."""
    table = np.full((slots, 4), -1)
    colours, shapes = list(COLOURS), list(SHAPES)
    for slot, obj in enumerate(lesson.scene.objects):
        table[slot] = colours.index(obj.colour), shapes.index(obj.shape), obj.box[0], obj.box[1]
    filled = slice(len(lesson.scene.objects))
    if lesson.unnamed == "colour":
        table[filled, 0] = len(colours)
    if lesson.unnamed == "shape":
        table[filled, 1] = len(shapes)
    return table


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


def longest(architecture: Architecture, grid: Grid) -> int:
    """A length in tokens, a multiple of 8, that every lesson on the grid's canvas fits into.

    Canvases of equally many patches have one length, so that there is one shape to compile.
    """
    patches = _patches(architecture, grid)
    alike = [other for other in architecture.grids if _patches(architecture, other) == patches]
    return -(-(patches + 38 + 5 * max(len(other.cells) for other in alike)) // 8) * 8


def _patches(architecture: Architecture, grid: Grid) -> int:
    rows, cols = patch_grid(architecture, grid.width, grid.height)
    return rows * cols


class LessonStream(torch.utils.data.IterableDataset):
    """Endless batches of a mix, about ``tokens`` tokens and one canvas each; every worker draws its own."""

    def __init__(self, architecture: Architecture, mix: Mix, tokens: int, seed: int, nearly_full: float = 0.0) -> None:
        self.writer, self.mix, self.tokens, self.seed = Writer(architecture), mix, tokens, seed
        self.nearly_full = nearly_full

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rng = np.random.default_rng([self.seed, number])
        turn = number
        architecture = self.writer.architecture
        while True:
            grid = architecture.grids[turn % len(architecture.grids)]
            length = longest(architecture, grid)
            count = max(1, self.tokens // length)
            lessons = [training_lesson(rng, grid, self.mix, self.nearly_full) for _ in range(count)]
            yield collate(lessons, self.writer, length)
            turn += workers


class Painter:
    """Draws many scenes at once on a device and cuts them into normalised patches.

    ``colour_noise`` is the standard deviation, in grey levels, of a shift of each object's colour. The shifts and what
    unnamed objects look like come from torch's global generator; without both, drawing is exact.
    """

    def __init__(self, architecture: Architecture, device: torch.device | str, colour_noise: float = 0.0) -> None:
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

    def draw(self, batch: Batch) -> Float[Tensor, "image height width 3"]:
        """Grey levels in 0..255, whole numbers, as ``finst.scenes.draw`` gives them."""
        objects = batch.objects.to(self.colours.device)
        image = torch.full((len(objects), batch.height, batch.width, 3), 255.0, device=objects.device)
        for slot in range(objects.shape[1]):
            rows = torch.nonzero(objects[:, slot, 0] >= 0)[:, 0]
            colour, shape, left, top = objects[rows, slot].unbind(1)
            ys = (top[:, None] + self.offsets)[:, :, None]
            xs = (left[:, None] + self.offsets)[:, None, :]
            under = image[rows[:, None, None], ys, xs]
            share = self.masks[_chosen(shape, len(SHAPES), len(self.masks))][..., None]
            paint = self.colours[_chosen(colour, len(COLOURS), len(self.colours))]
            if self.colour_noise:
                paint = (paint + self.colour_noise * torch.randn_like(paint)).clamp(0, 255)
            image[rows[:, None, None], ys, xs] = under + share * (paint[:, None, None] - under)
        return image.round()

    def resized(self, image: Float[Tensor, "image height width 3"]) -> Float[Tensor, "image rows cols 3"]:
        """As the image processor resizes what ``draw`` returns."""
        length = image.shape[1]
        if self.side in (None, length):
            return image
        if length not in self._taps:
            self._taps[length] = taps(length, self.side, image.device)
        return resize(image, self._taps[length])

    def patches(self, batch: Batch) -> Float[Tensor, "image patch values"]:
        """What the image processor would return for each drawn image, cut into the patches that its tower takes."""
        image = (self.resized(self.draw(batch)) / 255 - self.mean) / self.std
        rows, cols = (length // PATCH_PX for length in image.shape[1:3])
        cut = image.view(len(image), rows, PATCH_PX, cols, PATCH_PX, 3).permute(0, 1, 3, 5, 2, 4)
        return cut.reshape(len(image), rows * cols, -1)


def _chosen(index: Int[Tensor, "object"], names: int, entries: int) -> Int[Tensor, "object"]:
    """Named indices as they are, unnamed ones each at random from what comes after the ``names``."""
    return torch.where(index < names, index, torch.randint_like(index, names, entries))
