"""The order of naming gives IDs, on photographs: that of the first thing, written where the second is due (Fig 45)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from operator import add

import numpy as np
import xarray as xr
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

from finst.engine.edits import Rows, unedited
from finst.engine.head_sets import head_sets
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.example import shown
from finst.experiments.interventions.coco.first_pass import SLOTS, Asking, Named, named, read
from finst.experiments.interventions.coco.noun_phrases import MATCHES, annotated, items, same
from finst.experiments.interventions.coco.report import coco_account, coco_effects, coco_figures
from finst.experiments.interventions.decoding import said
from finst.experiments.interventions.effect_table import EffectRow
from finst.experiments.interventions.effects import effects, halves, largest
from finst.experiments.interventions.heads import HeadSets, check_maps, check_sizes, head_sets_of, warnings_of
from finst.experiments.interventions.spec import InterventionSpec, agreed, check_intervention, record_of
from finst.experiments.units import check_numbers, joined, units_of
from finst.prompts import Wording
from finst.report.example import Shown
from finst.report.figures import NamedFigure
from finst.report.findings import Account
from finst.runs.experiment import Unit, documented
from finst.scenes.object import Picture
from finst.scenes.photos import DRAWN, Photograph, photos_of
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM, Reader

STAGE = "id_selection"

ATTRS = {"title": "The order of naming gives IDs", "paper": "arXiv 2506.15871, Figs 44 and 45"}

SECOND = "second slot"
"""The strongest heads again, but with their mean outputs at the second slot: any mean would do if this did too."""

STRIP, STRIP_PX = 8, 112
"""Pictures that the report shows, and their side."""

DOCUMENTATION = {
    "said": ("1", "what is said after the second prompt, as the model says it; empty for a split's sources"),
    "said_before": ("1", "the same without an edit"),
    "first": ("1", "the thing that the model names first"),
    "second": ("1", "the thing that it names second"),
    "reason": ("1", "why the picture is left out; empty if it is not"),
    "listed": ("1", "the second thing is from the first prompt's continuation"),
    "annotated": ("1", "whether the first thing is among what is known to be there; -1 where nothing is known"),
    "target": ("1", "the picture is a target of the split, not a source"),
    "picture": ("1", "name of the picture"),
    "heads": ("1", "the heads that are edited"),
    "warning": ("1", "what is arbitrary about the K strongest heads; empty if nothing"),
    "sources": ("pictures", "sources behind the means of a split"),
    "thumbnail": ("1", "some of the pictures, small"),
}

SHARED = ("heads", "warning", "sources", "thumbnail")
"""What all units of a run have alike."""


@dataclass(frozen=True)
class CocoSpec(InterventionSpec):
    """Outputs of selection heads before the first thing of a list is named, written where the second one is (Fig 45).

    A model goes on with "In this image there is 1. a"; half of the pictures of a split give the mean outputs at that
    prompt's last token, and in the other half they replace those at the last token of "... 1. a {first thing} 2. a". A
    hit repeats the first thing, by the whole phrase (exact) or by the head noun (lenient). The paper takes COCO's
    validation photographs of 2017, the top 50, 100 and 200 heads of some 800, and three random splits: --photos
    FOLDER --pictures 5000 --ks 50 100 200. Naming takes one picture at a time. The default, drawn scenes, takes two
    minutes on two cores with the built-in model.
    """

    photos: str = DRAWN
    """A folder of photographs, or one with COCO's val2017 and annotations (then those with two categories or more), or
    drawn: scenes of two to four shapes, for models that know nothing else, such as the built-in ones."""
    pictures: int = 120
    """Pictures, drawn by seed from the folder; all if it has fewer."""
    px: int = 448
    """Photographs are made smaller until their longer side has this length. LLaVA-1.5 sees the middle square."""
    splits: int = 3
    """Random divisions of the pictures into sources and targets."""
    wording: Wording | None = None
    """How the list is begun: the paper's sentence, or (enumeration) as the answer to the question for a numbered list
    of all coloured objects, which the organism was taught and goes on with, as it does not with the paper's. None:
    enumeration for drawn scenes, the paper's for photographs. The same for sources and targets."""
    ks: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 40)
    """Heads that are edited: the K strongest of ID selection."""
    naming_tokens: int = 40
    """New tokens in which the model names two things."""
    tokens: int = 15
    """New tokens after the second prompt, with and without edits."""

    @property
    def asking(self) -> Asking:
        """How all pictures are asked about."""
        wording = self.wording or ("enumeration" if self.photos == DRAWN else "paper")
        return Asking(self.placement, wording, self.naming_tokens, self.tokens, self.batch)


def chosen(spec: CocoSpec) -> Sequence[Photograph]:
    """The pictures of a run."""
    return photos_of(spec.photos, spec.pictures, spec.px, spec.seed)


def sources_of(spec: CocoSpec, count: int) -> Bool[np.ndarray, "split picture"]:
    """Which of ``count`` pictures are each split's sources: half of them (rounded down); the others are its targets."""
    rng = np.random.default_rng([spec.seed, 1])
    return np.stack([rng.permutation(count) < count // 2 for _ in range(spec.splits)])


def all_named(vlm: VLM, spec: CocoSpec) -> Named:
    """What the model names in all pictures, and the means of every split."""
    photos = chosen(spec)
    return named(vlm, spec.asking, photos, sources_of(spec, len(photos)))


@dataclass(frozen=True)
class Coco:
    """The experiment, with the heads that causal mediation found."""

    maps: HeadMaps | None = None
    chosen: Callable[[CocoSpec], Sequence[Photograph]] = field(
        default_factory=lambda: lru_cache(maxsize=1)(chosen), repr=False, compare=False
    )
    named: Callable[[VLM, CocoSpec], Named] = field(
        default_factory=lambda: lru_cache(maxsize=1)(all_named), repr=False, compare=False
    )
    """Pictures and what is named in them are the same for all units, so both are found once a process."""

    @property
    def name(self) -> str:
        """As on the command line and in the run's record."""
        return "coco"

    def check(self, spec: CocoSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, too many heads, a folder without pictures, and a model that
        cannot be asked so."""
        check_numbers(spec, {"pictures": 4, "px": 56, "splits": 1, "naming_tokens": 1, "tokens": 1})
        check_intervention(spec, (1.0,))
        check_sizes(spec.ks, reader)
        if len(photos := self.chosen(spec)) < 4:
            raise FinstError(f"{spec.photos} gives {len(photos)} pictures: expected at least 4, two on either side")
        spec.asking.first(reader, _readable(spec, photos))

    def plan(self, spec: CocoSpec) -> tuple[Unit, ...]:
        """Consecutive pictures."""
        return units_of(len(self.chosen(spec)), spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: CocoSpec, unit: Unit) -> xr.Dataset:
        """Dims trial (a picture), split, set, k: what is said with every edit, and without any."""
        maps = check_maps(self.maps, vlm)
        photos, found = self.chosen(spec), self.named(vlm, spec)
        target = ~sources_of(spec, len(photos))
        sets = sets_of(maps, spec)
        asked = [index for index in unit.trials if found.namings[index].kept and target[:, index].any()]
        contexts = [
            spec.asking.second(vlm.reader, photos[index].picture(), found.namings[index].first) for index in asked
        ]
        rows = [edits(sets, found, target[:, index], one) for index, one in zip(asked, contexts, strict=True)]
        spoken = dict(zip(asked, said(vlm, contexts, rows, batch=spec.batch, new_tokens=spec.tokens), strict=True))
        texts = np.full((len(photos), spec.splits, len(sets), len(spec.ks)), "", dtype=object)
        for index, (_, *edited) in spoken.items():
            texts[index, target[:, index]] = np.array(edited, dtype=object).reshape(-1, len(sets), len(spec.ks))
        trials = list(unit.trials)
        namings = [found.namings[index] for index in trials]
        small = [index for index, one in enumerate(found.namings) if one.kept and target[:, index].any()][:STRIP]
        data = xr.Dataset(
            {
                "said": (("trial", "split", "set", "k"), texts[trials].astype(str)),
                "said_before": ("trial", np.array([spoken[index][0] if index in spoken else "" for index in trials])),
                "first": ("trial", np.array([one.first for one in namings])),
                "second": ("trial", np.array([one.second for one in namings])),
                "reason": ("trial", np.array([one.reason for one in namings])),
                "listed": ("trial", np.array([one.listed for one in namings])),
                "annotated": ("trial", np.array([_annotated(photos[i], found.namings[i].first) for i in trials])),
                "target": (("trial", "split"), target[:, trials].T),
                "picture": ("trial", np.array([photos[index].name for index in trials])),
                "heads": (("set", "k"), np.array([one.texts for one in sets])),
                "warning": ("k", np.array(warnings_of(maps, STAGE, spec.ks, spec.seed))),
                "sources": ("split", np.array(found.counts)),
                "thumbnail": (
                    ("shown", "row", "col", "rgb"),
                    np.array([thumbnail(photos[index].picture()) for index in small], dtype=np.uint8).reshape(
                        -1, STRIP_PX, STRIP_PX, 3
                    ),
                ),
            },
            coords={
                "trial": trials,
                "split": np.arange(1, spec.splits + 1),
                "set": [one.name for one in sets],
                "k": list(spec.ks),
                "shown": small,
            },
            attrs=ATTRS,
        )
        return documented(data, DOCUMENTATION)

    def summarise(self, spec: CocoSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims match, set, k, group: how often the first thing is repeated, before and after.

        Groups are the targets of every split; ``all``, each picture once, in the first split of which it is a target;
        and ``reporting``, the half of these that K was not chosen on. Raises FinstError when parts were measured with
        other heads, and when a split has no target left.
        """
        data = joined(agreed(parts, SHARED))
        told = data.isel(trial=np.flatnonzero((data["reason"] == "") & data["target"].any("split")))
        left = told["target"].sum("trial").values
        if left.min() == 0 or told.sizes["trial"] < 2:
            raise FinstError(
                f"{told.sizes['trial']} targets are left in which the model names two things: expected two or more, "
                "and one in each split; more pictures may help"
            )
        hits, before = repeats(told["said"], told["first"]), repeats(told["said_before"], told["first"])
        once = told["target"].argmax("split")
        first = hits.isel(split=once).drop_vars("split")
        choosing = halves(["all"] * told.sizes["trial"], spec.seed)
        of_top = first.sel(set="top").isel(trial=np.flatnonzero(choosing)).mean("trial").transpose("match", "k")
        groups = {"all": (first, np.full(told.sizes["trial"], True)), "reporting": (first, ~choosing)}
        groups |= {
            f"split {n}": (hits.sel(split=n, drop=True), told["target"].sel(split=n).values)
            for n in told["split"].values
        }
        found = [
            effects(before.isel(trial=inside), of.isel(trial=inside), ["all"] * int(inside.sum()), 1 - spec.alpha).isel(
                group=0, drop=True
            )
            for of, inside in groups.values()
        ]
        _, stays = repeats(told["said"], told["second"]).isel(split=once).drop_vars("split").mean("trial")
        stays.attrs = {"units": "1", "long_name": "share that names the second thing all the same (head noun)"}
        return (
            xr.concat(
                found,
                xr.Variable("group", list(groups)),
                data_vars="all",
                coords="minimal",
                compat="override",
                join="exact",
            )
            .assign(
                chosen_k=("match", [int(largest(one)["k"]) for one in of_top]),
                stays=stays.drop_vars("match"),
                choosing=("told", choosing),
            )
            .assign_coords(told=("told", told["trial"].values))
            .assign({name: data[name] for name in DOCUMENTATION})
            .assign_attrs({**ATTRS, **record_of(spec)})
        )

    def draw(self, summary: xr.Dataset) -> tuple[NamedFigure, ...]:
        """Bars for every K, and some pictures with what was said."""
        return coco_figures(summary)

    def account(self, summary: xr.Dataset) -> Account:
        """What was found, in words."""
        return coco_account(summary)

    def effects(self, summary: xr.Dataset) -> tuple[EffectRow, ...]:
        """For the table of all interventions."""
        return coco_effects(summary)

    def example(self, spec: CocoSpec, reader: Reader) -> Shown:
        """The first picture with the first prompt."""
        picture = _readable(spec, self.chosen(spec))
        context = spec.asking.first(reader, picture)
        return shown(reader, picture, context, "whatever the model names first", (context.tokens.last,))


def _readable(spec: CocoSpec, photos: Sequence[Photograph]) -> Picture:
    """The first picture that can be read. Raises FinstError when none can."""
    for photo in photos:
        if (picture := read(photo)) is not None:
            return picture
    raise FinstError(f"none of {len(photos)} files in {spec.photos} is a whole picture: expected photographs")


def sets_of(maps: HeadMaps, spec: CocoSpec) -> tuple[HeadSets, ...]:
    """The strongest heads twice (for the means of either slot), and their controls."""
    top, *controls = head_sets_of(maps, STAGE, spec.ks, spec.draws, spec.seed)
    return top, replace(top, name=SECOND), *controls


def edits(sets: Sequence[HeadSets], found: Named, splits: Bool[np.ndarray, "split"], context: Encoded) -> Rows:
    """An unedited row, then one for every split (of ``splits``), set and K, in this order."""
    last = (context.tokens.last,)
    rows = [
        head_sets(
            found.means[split, SLOTS.index("second" if one.name == SECOND else "first")],
            last,
            np.array(heads),
            (len(heads),),
        )
        for split in np.flatnonzero(splits).tolist()
        for one in sets
        for heads in one.sets
    ]
    return reduce(add, rows, unedited())


def repeats(texts: xr.DataArray, names: xr.DataArray) -> xr.DataArray:
    """Whether what is said after the second prompt is the thing that ``names`` says, by each of ``MATCHES``."""
    found = xr.apply_ufunc(
        lambda text, name: np.array(same(items(text, 2).get(2, ""), name)),
        texts,
        names,
        output_core_dims=[["match"]],
        vectorize=True,
        output_dtypes=[bool],
    )
    return found.assign_coords(match=list(MATCHES)).transpose("match", ...)


def _annotated(photo: Photograph, name: str) -> int:
    return -1 if photo.categories is None or not name else int(annotated(name, photo.categories))


def thumbnail(picture: Picture) -> UInt8[np.ndarray, "row col 3"]:
    """Small, whole, on a white square."""
    image = ImageOps.pad(Image.fromarray(picture.image), (STRIP_PX, STRIP_PX), color="white")
    return np.array(image, dtype=np.uint8)
