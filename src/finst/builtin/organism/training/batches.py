"""From lessons to tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from finst.builtin.organism.architecture import Architecture, patch_grid
from finst.builtin.organism.lessons.lesson import Lesson
from finst.builtin.organism.lessons.mixes import Mix, training_lesson
from finst.builtin.organism.lessons.training_scenes import LOW_ENTROPY
from finst.scenes.object import Grid
from finst.scenes.shapes import COLOURS, SHAPES

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

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device; from pinned memory, without waiting for it."""
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in TENSORS}
        return replace(self, **moved)

    def pinned(self) -> Batch:
        """The same in memory that a GPU reads from while this process continues."""
        return replace(self, **{name: getattr(self, name).pin_memory() for name in TENSORS})


TENSORS = ("input_ids", "labels", "objects")
"""The fields of a batch that are tensors."""


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

    def prefix(self, width: int, height: int) -> list[int]:
        """Token ids up to the end of the image: those of all lessons on a canvas of ``width`` x ``height`` px."""
        rows, cols = patch_grid(self.architecture, width, height)
        return [*self._before, *[self.patch] * (rows * cols), *self._end_of_image]

    def text(self, lesson: Lesson) -> tuple[list[int], list[int]]:
        """(input ids, labels) of what follows the image; the end of the assistant's turn is learned."""
        first, *others = lesson.assistant
        ids: list[int] = []
        labels: list[int] = []

        def write(tokens: list[int], learned: bool) -> None:
            ids.extend(tokens)
            labels.extend(tokens if learned else [IGNORED] * len(tokens))

        for piece in lesson.user:
            write(self.ids(piece.text), piece.learned)
        write(self._start_of_answer, False)
        write(self.ids(self._gap + first.text), first.learned)
        for piece in others:
            write(self.ids(piece.text), piece.learned)
        write([self.end], True)
        return ids, labels

    def tokens(self, lesson: Lesson) -> tuple[list[int], list[int]]:
        """(input ids, labels) of a lesson."""
        prefix = self.prefix(lesson.scene.width, lesson.scene.height)
        ids, labels = self.text(lesson)
        return prefix + ids, [IGNORED] * len(prefix) + labels


def collate(lessons: Sequence[Lesson], writer: Writer, length: int | None = None) -> Batch:
    """Pads to ``length`` (default: the longest lesson)."""
    scene = lessons[0].scene
    prefix, rows = writer.prefix(scene.width, scene.height), [writer.text(lesson) for lesson in lessons]
    start = len(prefix)
    length = length or start + max(len(ids) for ids, _ in rows)
    input_ids = np.full((len(rows), length), writer.pad)
    labels = np.full((len(rows), length), IGNORED)
    input_ids[:, :start] = prefix
    for row, (ids, learned) in enumerate(rows):
        input_ids[row, start : start + len(ids)], labels[row, start : start + len(ids)] = ids, learned
    objects = np.stack([object_table(lesson) for lesson in lessons])
    tensors = torch.from_numpy(input_ids), torch.from_numpy(labels), torch.from_numpy(objects)
    return Batch(*tensors, scene.width, scene.height, writer.image_start)


_COLOUR = {name: index for index, name in enumerate(COLOURS)}
_SHAPE = {name: index for index, name in enumerate(SHAPES)}

SLOTS = 9
"""The most objects of a scene."""


def object_table(lesson: Lesson, slots: int = SLOTS) -> Int[np.ndarray, "object 4"]:
    """(colour, shape, left, top) of each object in the scene's order, padded with -1."""
    colour = len(COLOURS) if lesson.unnamed == "colour" else None
    shape = len(SHAPES) if lesson.unnamed == "shape" else None
    table = np.full((slots, 4), -1)
    table[: len(lesson.scene.objects)] = [
        (
            _COLOUR[obj.colour] if colour is None else colour,
            _SHAPE[obj.shape] if shape is None else shape,
            obj.box[0],
            obj.box[1],
        )
        for obj in lesson.scene.objects
    ]
    return table


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

    def __init__(
        self,
        architecture: Architecture,
        mix: Mix,
        tokens: int,
        seed: int,
        nearly_full: float = 0.0,
        low_entropy: float = LOW_ENTROPY,
    ) -> None:
        self.writer, self.mix, self.tokens, self.seed = Writer(architecture), mix, tokens, seed
        self.nearly_full, self.low_entropy = nearly_full, low_entropy

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
            lessons = [training_lesson(rng, grid, self.mix, self.nearly_full, self.low_entropy) for _ in range(count)]
            yield collate(lessons, self.writer, length)
            turn += workers
