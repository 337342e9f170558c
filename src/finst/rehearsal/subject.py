"""The model of a rehearsal: its true shape, and random weights unless it comes with finst."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from finst.bench.random_vlm import with_random_weights
from finst.errors import FinstError
from finst.rehearsal.words import with_stand_in_words
from finst.vlm.checkpoint.hub import UnavailableError
from finst.vlm.names import BUILTIN, is_folder
from finst.vlm.open import PARTS, VLM, Reader, open_reader, open_vlm, placement
from finst.vlm.published import published
from finst.vlm.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class Subject:
    """A model without weights, and what of it is not its own."""

    reader: Reader
    stand_ins: tuple[str, ...] = ()
    """What stands for what, one sentence each."""

    @property
    def trained(self) -> bool:
        """Whether its own weights are used."""
        return self.reader.id in BUILTIN


def subject_of(model: ModelSpec) -> Subject:
    """The model of this name: built-in, a folder, a hub id, or the name of a published shape.

    A folder of that name is taken first. Where the files of a published checkpoint cannot be had, its shape is that of
    finst's registry and its tokenizer a stand-in. Raises FinstError as ``open_reader`` does, and for a revision of a
    shape.
    """
    shape = published(model.model)
    if shape is not None and model.model == shape.name and not is_folder(model.model):
        if model.revision is not None:
            raise FinstError(f"{model.model} has no revision {model.revision!r}: only models of the hub have revisions")
        return _of_shape(shape.reader())
    try:
        reader = open_reader(model.model, revision=model.revision)
    except UnavailableError:
        if shape is None:
            raise
        return _of_shape(replace(shape.reader(), id=model.model))
    return Subject(reader, () if reader.id in BUILTIN else (RANDOM,))


RANDOM = "Random weights stand for the model’s own."  # noqa: RUF001 (shown text)
WORDS = "A tokenizer of one token a word stands for the model’s own, whose files are not here."  # noqa: RUF001


def _of_shape(reader: Reader) -> Subject:
    return Subject(with_stand_in_words(reader), (RANDOM, WORDS))


@contextmanager
def opened(subject: Subject, model: ModelSpec) -> Iterator[VLM]:
    """The model with weights. Raises FinstError for a dtype or device that is not available, or without enough memory.

    Random weights need a device of their own: ``cuda:all`` and quantised weights are refused.
    """
    reader = subject.reader
    if subject.trained:
        yield open_vlm(reader, dtype=model.dtype, device=model.device)
        return
    dtype, device = placement(model.dtype, model.device)
    with TemporaryDirectory() as empty:  # so that the hash of the weights is that of no file
        vlm = with_random_weights(replace(reader, path=Path(empty)), dtype, device)
        yield replace(vlm, parts=PARTS.get(model.dtype, 0))
