"""The pictures and prompts of ``photoreal``: balanced splits for estimating and testing (Fig 3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from finst.errors import FinstError
from finst.experiments.interventions.photoreal.spec import PhotorealSpec
from finst.experiments.interventions.shown_pictures import lines_of, sifted
from finst.options import DRAWN
from finst.prompts import Prompt, scene_description
from finst.scenes.designs import Features
from finst.scenes.object import Obj, Picture
from finst.scenes.renders.folder import FiledSided, read_sided, unread
from finst.scenes.shapes import COLOURS, SHAPES
from finst.scenes.side_by_side_pairs import ROWS, SIDES, TwoThingPicture, drawn_sided
from finst.vlm.encode import Encoded, encode, unsayable
from finst.vlm.open import Reader

ROLES = ("described", "target", "none")
"""Whose colour is named: a hit is the described thing's; the right answer is the other one's, the target's."""


@dataclass(frozen=True)
class SideTrial:
    """A picture of two things, and which of them the prompt describes."""

    two_things: TwoThingPicture
    described: int
    """0: the left one; 1: the right one."""

    @property
    def side(self) -> str:
        """``left`` or ``right``: where the described thing stands."""
        return SIDES[self.described]

    @property
    def roles(self) -> dict[str, str]:
        """Roles by colour word."""
        return {colour: ROLES[index != self.described] for index, (colour, _) in enumerate(self.two_things.things)}

    def encoded(self, reader: Reader, spec: PhotorealSpec) -> tuple[Picture, Prompt, Encoded]:
        """The picture, the prompt, and both as the model takes them, without an answer.

        Raises FinstError for a picture that does not show two things, and for one that does not suit the model.
        """
        picture = self.two_things.picture()
        if len(picture.scene.objects) != len(SIDES):
            raise FinstError(
                f"picture {self.two_things.name!r} shows {len(picture.scene.objects)} things: expected one on the left "
                "and one on the right"
            )
        prompt = scene_description(picture.scene, [self.described], 1 - self.described, spec.placement)
        return picture, prompt, encode(reader, picture, prompt)


@dataclass(frozen=True)
class Split:
    """Trials with some pictures to estimate from, and with others to test on."""

    estimation: tuple[SideTrial, ...]
    """Every picture with its mirror image, and each described from both sides: whatever is described on the left is
    described on the right as often, beside the same other thing, in the same environment and place."""
    test: tuple[SideTrial, ...]
    """One a picture; sides take turns, place by place."""
    unmirrored: int
    """Pictures of ``test`` without their mirror image: nothing but their side is balanced."""
    reading: tuple[str, ...] = ()
    """Which pictures of the folder were left out or read in part, in words."""

    @property
    def colours(self) -> tuple[str, ...]:
        """Words that may be answers."""
        trials = (*self.estimation, *self.test)
        return tuple(sorted({colour for trial in trials for colour, _ in trial.two_things.things}))


def pictures_of(spec: PhotorealSpec) -> Sequence[TwoThingPicture]:
    """All available pictures. Raises FinstError for a missing folder and for one without pictures."""
    if spec.pictures == DRAWN:
        each = spec.estimation // len(ROWS) + -(-spec.trials // len(ROWS))
        return drawn(len(ROWS) * 2 * -(-each // 2), spec.seed)
    return read_sided(Path(spec.pictures))


def shown(
    reader: Reader, spec: PhotorealSpec, pictures: Sequence[TwoThingPicture]
) -> tuple[Sequence[TwoThingPicture], tuple[str, ...]]:
    """The pictures that the model can be shown, and what is said about the others.

    Drawings can always be. Files are read and judged once a process, and again when they change.
    """
    if spec.pictures == DRAWN:
        return pictures, ()
    filed = [one for one in pictures if isinstance(one, FiledSided)]
    stamps = tuple(_stamp(file) for one in filed for file in (one.file, one.mask_file))
    names, lines = _shown(reader, spec, stamps)
    return [one for one in pictures if one.name in names], lines


def _stamp(file: Path | None) -> tuple[str, int, int]:
    """Changes when a file does."""
    if file is None or not file.exists():
        return str(file), 0, 0
    status = file.stat()
    return str(file), status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _shown(reader: Reader, spec: PhotorealSpec, stamps: object) -> tuple[frozenset[str], tuple[str, ...]]:
    """Names of the pictures that the model can be shown, and what is said about the others."""

    def check(picture: Picture) -> None:
        encode(reader, picture, scene_description(picture.scene, [0], 1, spec.placement))

    read = [one.without_pixels for one in sifted(pictures_of(spec), check)]
    return frozenset(one.name for one in read if one.reason is None), lines_of(read, unread(spec.pictures))


def drawn(count: int, seed: int) -> Sequence[TwoThingPicture]:
    """``count`` different drawings (an even number), each beside its mirror image; rows equally often (within one
    pair)."""
    once: dict[frozenset[Obj], TwoThingPicture] = {}
    for picture in drawn_sided(2 * count, seed):
        once.setdefault(frozenset(picture.scene.objects), picture)
    pairs, every = -(-count // 2), list(once.values())
    taken: dict[str, list[int]] = {row: [] for row in ROWS}
    for index, picture in enumerate(every):
        if len(taken[picture.place]) < 2 * -(-pairs // len(ROWS)):
            taken[picture.place].append(index)
    return [every[index] for index in sorted(chain(*taken.values()))[: 2 * pairs]]


def places_of(pictures: Iterable[TwoThingPicture]) -> tuple[str, ...]:
    """The places (heights) of a set, which are estimated and reported apart."""
    return tuple(sorted({picture.place for picture in pictures}))


def split_of(pictures: Sequence[TwoThingPicture], spec: PhotorealSpec) -> Split:
    """Drawn by seed, each place with its share; pictures that are not estimated from are tested on, mirrored pairs
    first.

    Raises FinstError for numbers that do not divide among the places, and for too few pictures or mirrored pairs.
    """
    places = places_of(pictures)
    if spec.estimation % (2 * len(places)):
        raise FinstError(
            f"estimation is {spec.estimation}: expected a multiple of {2 * len(places)}, pictures with their mirror "
            f"images{_at_each(places)}"
        )
    if spec.trials < 4 * len(places):
        raise FinstError(
            f"trials is {spec.trials}: expected at least {4 * len(places)}, so that both halves have either "
            f"side{_at_each(places)}"
        )
    rng = np.random.default_rng([spec.seed, 1])
    mixed = [pictures[index] for index in rng.permutation(len(pictures))]
    splits = [
        _split_at([picture for picture in mixed if picture.place == place], spec, len(places), trials, index)
        for index, (place, trials) in enumerate(zip(places, _shares(spec.trials, len(places)), strict=True))
    ]
    return Split(
        tuple(trial for split in splits for trial in split.estimation),
        tuple(trial for split in splits for trial in split.test),
        sum(split.unmirrored for split in splits),
    )


def _split_at(pictures: Sequence[TwoThingPicture], spec: PhotorealSpec, places: int, trials: int, first: int) -> Split:
    """The split of one of several ``places``; ``first`` (0 or 1) is the side of the first trial."""
    pairs, alone = mirrored(pictures)
    wanted = spec.estimation // 2 // places
    where = f" ({pictures[0].place})" if places > 1 else ""
    if len(pairs) < wanted:
        raise FinstError(
            f"{spec.pictures}{where} holds {len(pictures)} pictures, of which {len(pairs)} pairs are mirrored (the "
            "same two things in the same environment, on exchanged sides): "
            f"estimation {spec.estimation} needs {wanted} pairs, or left and right would differ in more than sides"
        )
    others = [picture for pair in pairs[wanted:] for picture in pair] + alone
    if len(others) < trials:
        raise FinstError(
            f"{spec.pictures}{where} holds {len(pictures)} pictures, {2 * wanted} to estimate from and {len(others)} "
            f"others to test on: expected at least {trials} (trials)"
        )
    return Split(
        tuple(SideTrial(picture, side) for pair in pairs[:wanted] for picture in pair for side in (0, 1)),
        tuple(SideTrial(picture, (index + index // 2 + first) % 2) for index, picture in enumerate(others[:trials])),
        max(0, trials - 2 * (len(pairs) - wanted)),
    )


def _shares(count: int, parts: int) -> list[int]:
    """``count`` in nearly equal parts, the first ones larger."""
    return [len(range(part, count, parts)) for part in range(parts)]


def _at_each(places: Sequence[str]) -> str:
    return f" in each place ({', '.join(places)})" if len(places) > 1 else ""


def check_words(reader: Reader, split: Split, spec: PhotorealSpec) -> None:
    """Raises FinstError for colours and kinds that the tokenizer does not know: their names would all be the same."""
    trials = (*split.test, *split.estimation)
    words = {word for trial in trials for thing in trial.two_things.things for word in thing}
    unknown = unsayable(reader, sorted(words))
    if unknown:
        known = [", ".join(sorted({*words} - {*unsayable(reader, words)})) or "none" for words in (COLOURS, SHAPES)]
        raise FinstError(
            f"{spec.pictures} shows {', '.join(unknown)}, and the tokenizer of {reader.id} has no tokens for that: "
            f"expected words that it knows; of finst render's it knows the --colours {known[0]} and the --things "
            f"{known[1]}"
        )


def mirrored(
    pictures: Iterable[TwoThingPicture],
) -> tuple[list[tuple[TwoThingPicture, TwoThingPicture]], list[TwoThingPicture]]:
    """Pictures paired with one of the same things on exchanged sides in the same place, and those left over."""
    waiting: dict[tuple[str, str, Features, Features], list[TwoThingPicture]] = defaultdict(list)
    pairs: list[tuple[TwoThingPicture, TwoThingPicture]] = []
    for picture in pictures:
        left, right = picture.things
        others = waiting[picture.place, picture.environment, right, left]
        if others:
            pairs.append((others.pop(0), picture))
        else:
            waiting[picture.place, picture.environment, left, right].append(picture)
    return pairs, [picture for alone in waiting.values() for picture in alone]
