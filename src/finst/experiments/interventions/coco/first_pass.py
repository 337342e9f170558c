"""The first pass over photographs: which two things a model names, and what its heads put out as it names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from finst.engine.activations import sampled
from finst.engine.edits import unedited
from finst.engine.precision import at_least_float32
from finst.errors import FinstError
from finst.experiments.interventions.coco.noun_phrases import items, same
from finst.experiments.interventions.coco.spec import CocoSpec
from finst.experiments.interventions.decoding import decode_with_edits
from finst.options import DRAWN, Placement, Wording
from finst.prompts import begun_list
from finst.scenes.object import Picture
from finst.scenes.photos import Photograph
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, Reader

SLOTS = ("first", "second")
"""The last token of ``1. a``, and of ``1. a {O0} 2. a``."""

REASONS = ("unreadable", "no first thing", "no second thing", "one thing twice")
"""Why a picture is left out: its file is damaged; the list does not begin with a phrase; it neither goes on with a
second item nor is the second prompt answered with a phrase; or both have the same head noun, so that to repeat the
first could not be told from going on."""


@dataclass(frozen=True)
class Naming:
    """What a model says of one picture without any edit."""

    reason: str = ""
    """One of ``REASONS``; empty for a picture that is kept."""
    first: str = ""
    second: str = ""
    listed: bool = False
    """The second thing is from the first prompt's own continuation, not from the second prompt."""

    @property
    def kept(self) -> bool:
        """Whether two things were named."""
        return not self.reason


@dataclass(frozen=True, eq=False)
class Named:
    """Of all pictures of a run."""

    namings: tuple[Naming, ...]
    means: Float[Tensor, "split slot layer 1 head d_head"]
    """Each head's mean output over the kept sources of a split, at the last token of either prompt."""
    counts: tuple[int, ...]
    """Kept sources of each split."""


@dataclass(frozen=True)
class Asking:
    """How pictures are asked about; the same for sources and targets."""

    placement: Placement
    wording: Wording
    naming_tokens: int
    """Budget of the list that the first prompt begins."""
    tokens: int
    """Budget of the thing after the second prompt, with and without edits."""
    batch: int

    def first(self, reader: Reader, picture: Picture) -> Encoded:
        """``In this image there is 1. a``."""
        return encode(reader, picture, begun_list((), self.placement, self.wording))

    def second(self, reader: Reader, picture: Picture, first: str) -> Encoded:
        """``In this image there is 1. a {O0} 2. a``."""
        return encode(reader, picture, begun_list((first,), self.placement, self.wording))


def asking_of(spec: CocoSpec) -> Asking:
    """How all pictures of a run are asked about."""
    wording = spec.wording or ("enumeration" if spec.photos == DRAWN else "paper")
    return Asking(spec.placement, wording, spec.naming_tokens, spec.tokens, spec.batch)


def read(photo: Photograph) -> Picture | None:
    """The picture, or None when its file is damaged."""
    try:
        return photo.picture()
    except FinstError:
        return None


def named(vlm: VLM, asking: Asking, photos: Sequence[Photograph], sources: Bool[np.ndarray, "split picture"]) -> Named:
    """Lets the model name two things in every picture; raises FinstError for a split without a source that is kept.

    Pictures are read ``asking.batch`` at a time, and only sums of activations are held.
    """
    namings: list[Naming] = []
    shape = (len(sources), len(SLOTS), vlm.n_layers, 1, vlm.n_heads, vlm.d_head)
    sums = torch.zeros(shape, dtype=at_least_float32(vlm.dtype))
    for start in range(0, len(photos), asking.batch):
        chunk = photos[start : start + asking.batch]
        pictures = [read(photo) for photo in chunk]
        told = _named(vlm, asking, pictures)
        namings += told
        of = torch.from_numpy(sources[:, start : start + len(chunk)][:, [one.kept for one in told]]).to(sums.dtype)
        kept = [(one, x) for one, x in zip(told, pictures, strict=True) if one.kept and x is not None]
        for slot in range(len(SLOTS) if kept else 0):
            contexts = [
                asking.second(vlm.reader, x, one.first) if slot else asking.first(vlm.reader, x) for one, x in kept
            ]
            last = np.array([[context.tokens.last] for context in contexts])
            z = sampled(vlm, contexts, ("z",), last, batch=asking.batch).values["z"].to(sums.dtype)
            sums[:, slot] += torch.einsum("sp,plqhd->slqhd", of, z)
    counts = (sources & np.array([one.kept for one in namings])).sum(axis=1)
    if not counts.all():
        raise FinstError(
            f"split {int(counts.argmin()) + 1} has no source in which {vlm.reader.id} names two things "
            f"({reasons_told(namings)}): expected more pictures, others, or a model that goes on with "
            f"{begun_list((), asking.placement, asking.wording).sentence!r}"
        )
    means = sums / torch.from_numpy(counts).to(sums.dtype).reshape(-1, *[1] * 5)
    return Named(tuple(namings), means.to(vlm.device, vlm.dtype), tuple(counts.tolist()))


def _named(vlm: VLM, asking: Asking, pictures: Sequence[Picture | None]) -> list[Naming]:
    """The second prompt asks where the first one's list has ended with its first item."""
    lists = iter(_spoken(vlm, [asking.first(vlm.reader, x) for x in pictures if x], asking, asking.naming_tokens))
    found = [{} if x is None else items(next(lists), 1) for x in pictures]
    ask = [x if x and one.get(1) and not one.get(2) else None for one, x in zip(found, pictures, strict=True)]
    contexts = [asking.second(vlm.reader, x, one[1]) for one, x in zip(found, ask, strict=True) if x]
    answers = iter(_spoken(vlm, contexts, asking, asking.tokens))
    return [
        Naming(REASONS[0]) if x is None else naming(one, items(next(answers), 2).get(2, "") if asked else "")
        for one, x, asked in zip(found, pictures, ask, strict=True)
    ]


def _spoken(vlm: VLM, contexts: Sequence[Encoded], asking: Asking, tokens: int) -> list[str]:
    rows = [unedited()] * len(contexts)
    return [text for (text,) in decode_with_edits(vlm, contexts, rows, batch=asking.batch, new_tokens=tokens)]


def naming(listed: dict[int, str], asked: str) -> Naming:
    """Of the list that the first prompt begins, and the second prompt's answer where that was needed."""
    first, second = listed.get(1, ""), listed.get(2, "") or asked
    if not first:
        return Naming(REASONS[1])
    if not second:
        return Naming(REASONS[2], first)
    _, alike = same(first, second)
    return Naming(REASONS[3] if alike else "", first, second, bool(listed.get(2)))


def reasons_told(namings: Sequence[Naming]) -> str:
    """``12 of 60 pictures left out: 2 unreadable, 10 one thing twice``."""
    said_ = [one.reason for one in namings]
    told = ", ".join(f"{said_.count(reason)} {reason}" for reason in REASONS if reason in said_)
    return f"{sum(map(bool, said_))} of {len(said_)} pictures left out{': ' * bool(told)}{told}"
