"""The first pass over photographs: the two things that a model names, and its heads' outputs as it names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

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
from finst.experiments.interventions.shown_pictures import Sifted, lines_of, once_a_size, sifted
from finst.options import DRAWN, Placement, Wording
from finst.prompts import begun_list
from finst.scenes.object import Picture
from finst.scenes.photos import Photograph, PhotoSet
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, Reader

SLOTS = ("first", "second")
"""The last token of ``1. a``, and of ``1. a {O0} 2. a``."""

REASONS = ("unreadable", "unsuited", "copy", "no first thing", "no second thing", "one thing twice")
"""Why a picture is left out: it cannot be shown, does not suit the model, or has the pixels of another (see
``shown_pictures``); the list does not begin with a phrase; neither the list's second item nor the answer to the second
prompt is a phrase; or both things have the same head noun, so that a repeated first thing would look like the second
one."""


@dataclass(frozen=True)
class NamedThings:
    """The two things that a model names in one picture without any edit."""

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
class FirstPass:
    """All pictures of a run without an edit."""

    photos: Sequence[Photograph]
    named: tuple[NamedThings, ...]
    means: Float[Tensor, "split slot layer 1 head d_head"]
    """Each head's mean output ``z`` over the kept sources of a split, at the last token of either prompt."""
    counts: tuple[int, ...]
    """Kept sources of each split."""
    reading: tuple[str, ...] = ()
    """Which pictures were left out or read in part, in words."""


@dataclass(frozen=True)
class ListPrompts:
    """How a list is begun and how long it may be; the same for sources and targets."""

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


Naming = Callable[[VLM, ListPrompts, Sequence[Sifted]], list[NamedThings]]
"""Gives the two things of each picture."""


def prompts_of(spec: CocoSpec) -> ListPrompts:
    """The prompts of all pictures of a run."""
    wording = spec.wording or ("enumeration" if spec.photos == DRAWN else "paper")
    return ListPrompts(spec.placement, wording, spec.naming_tokens, spec.tokens, spec.batch)


def suits(reader: Reader, prompts: ListPrompts) -> Callable[[Picture], None]:
    """Raises FinstError for a picture that the model cannot take, judged once a size.

    Raises FinstError at once for a prompt that no picture goes with.
    """
    begun_list((), prompts.placement, prompts.wording)
    return once_a_size(lambda picture: prompts.first(reader, picture))


def first_pass(
    vlm: VLM,
    prompts: ListPrompts,
    chosen: PhotoSet,
    sources: Bool[np.ndarray, "split picture"],
    naming: Naming,
) -> FirstPass:
    """Lets the model name two things in every picture; raises FinstError for a split without a source that is kept.

    ``naming`` gives the things, such as ``named_things``. Pictures are read ``prompts.batch`` at a time, and only sums
    of activations are held.
    """
    named: list[NamedThings] = []
    read: list[Sifted] = []
    shape = (len(sources), len(SLOTS), vlm.n_layers, 1, vlm.n_heads, vlm.d_head)
    sums = torch.zeros(shape, dtype=at_least_float32(vlm.dtype))
    shown = sifted(chosen.photos, suits(vlm.reader, prompts))
    while some := list(islice(shown, prompts.batch)):
        start = len(named)
        read += [one.without_pixels for one in some]
        chunk = naming(vlm, prompts, some)
        named += chunk
        places = [place for place, things in enumerate(chunk) if things.kept]
        members = torch.from_numpy(sources[:, [start + place for place in places]]).to(sums.dtype)
        kept = [(chunk[place], x) for place in places if (x := some[place].picture) is not None]
        for slot in range(len(SLOTS) if kept else 0):
            contexts = [
                prompts.second(vlm.reader, x, things.first) if slot else prompts.first(vlm.reader, x)
                for things, x in kept
            ]
            last = np.array([[context.tokens.last] for context in contexts])
            z = sampled(vlm, contexts, ("z",), last, batch=prompts.batch).values["z"].to(sums.dtype)
            sums[:, slot] += torch.einsum("sp,plqhd->slqhd", members, z)
    counts = (sources & np.array([things.kept for things in named])).sum(axis=1)
    reading = lines_of(read, chosen.notes)
    if not counts.all():
        raise FinstError(
            f"split {int(counts.argmin()) + 1} has no source in which {vlm.reader.id} names two things "
            f"({left_out(named)}): expected more pictures, others, or a model that continues "
            f"{begun_list((), prompts.placement, prompts.wording).sentence!r}{''.join(f'; {line}' for line in reading)}"
        )
    means = sums / torch.from_numpy(counts).to(sums.dtype).reshape(-1, *[1] * 5)
    means = means.to(vlm.device, vlm.dtype)
    return FirstPass(chosen.photos, tuple(named), means, tuple(counts.tolist()), reading)


def named_things(vlm: VLM, prompts: ListPrompts, shown: Sequence[Sifted]) -> list[NamedThings]:
    """The two things that the model names in each of the pictures.

    The second prompt is used where the first one's list has ended with its first item.
    """
    pictures = [one.picture for one in shown]
    contexts = [prompts.first(vlm.reader, picture) for picture in pictures if picture]
    texts = iter(unedited_texts(vlm, contexts, prompts, prompts.naming_tokens))
    lists = [{} if picture is None else items(next(texts), 1) for picture in pictures]
    unfinished = [
        picture if picture and listed.get(1) and not listed.get(2) else None
        for listed, picture in zip(lists, pictures, strict=True)
    ]
    contexts = [prompts.second(vlm.reader, x, listed[1]) for listed, x in zip(lists, unfinished, strict=True) if x]
    answers = iter(unedited_texts(vlm, contexts, prompts, prompts.tokens))
    return [
        NamedThings(one.reason) if one.reason else things_of(listed, items(next(answers), 2).get(2, "") if more else "")
        for one, listed, more in zip(shown, lists, unfinished, strict=True)
    ]


def unedited_texts(vlm: VLM, contexts: Sequence[Encoded], prompts: ListPrompts, tokens: int) -> list[str]:
    """Up to ``tokens`` new tokens after each context, as text."""
    rows = [unedited()] * len(contexts)
    return [text for (text,) in decode_with_edits(vlm, contexts, rows, batch=prompts.batch, new_tokens=tokens)]


def things_of(listed: dict[int, str], answer: str) -> NamedThings:
    """From the list that the first prompt begins, and the second prompt's answer where that was needed."""
    first, second = listed.get(1, ""), listed.get(2, "") or answer
    if not first:
        return NamedThings("no first thing")
    if not second:
        return NamedThings("no second thing", first)
    _, alike = same(first, second)
    return NamedThings("one thing twice" if alike else "", first, second, bool(listed.get(2)))


def left_out(named: Sequence[NamedThings]) -> str:
    """``12 of 60 pictures left out: 2 unreadable, 10 one thing twice``."""
    counts = Counter(things.reason for things in named if things.reason)
    reasons = ", ".join(f"{counts[reason]} {reason}" for reason in REASONS if reason in counts)
    return f"{counts.total()} of {len(named)} pictures left out{': ' * bool(reasons)}{reasons}"
