"""The order of naming gives IDs, on photographs: that of the first thing, written where the second is due (Fig 45)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import xarray as xr
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

from finst.engine.edits import Rows, unedited
from finst.engine.head_sets import head_sets
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.example import trial_example
from finst.experiments.interventions.coco.first_pass import SLOTS, Named, asking_of, named, read
from finst.experiments.interventions.coco.noun_phrases import MATCHES, annotated, items, same
from finst.experiments.interventions.coco.report import coco_effects, coco_figures, coco_findings
from finst.experiments.interventions.coco.spec import CocoSpec
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.effects import argmax_setting, effects, selection_split
from finst.experiments.interventions.heads import HeadSets, check_sizes, head_sets_of, warnings_of
from finst.experiments.interventions.protocol import (
    Intervention,
    InterventionReport,
    Prepared,
    check_intervention,
    require_identical,
)
from finst.experiments.units import check_numbers, documented, joined, spec_attrs, units_of
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.object import Picture
from finst.scenes.photos import Photograph, photos_of
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


def chosen(spec: CocoSpec) -> Sequence[Photograph]:
    """The pictures of a run."""
    return photos_of(spec.photos, spec.pictures, spec.px, spec.seed)


def sources_of(spec: CocoSpec, count: int) -> Bool[np.ndarray, "split picture"]:
    """Which of ``count`` pictures are each split's sources: half of them (rounded down); the others are its targets."""
    rng = np.random.default_rng([spec.seed, 1])
    return np.stack([rng.permutation(count) < count // 2 for _ in range(spec.splits)])


class Coco(Intervention[CocoSpec]):
    """The experiment."""

    name = "coco"
    spec = CocoSpec
    report = InterventionReport(coco_figures, coco_findings, coco_effects)

    def check(self, spec: CocoSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, too many heads, a folder without pictures, and a model that
        cannot be asked so."""
        check_numbers(spec, {"pictures": 4, "px": 56, "splits": 1, "naming_tokens": 1, "tokens": 1})
        check_intervention(spec, (1.0,))
        check_sizes(spec.ks, reader)
        if len(photos := chosen(spec)) < 4:
            raise FinstError(f"{spec.photos} gives {len(photos)} pictures: expected at least 4, two on either side")
        asking_of(spec).first(reader, _readable(spec, photos))

    def estimate(self, vlm: VLM, spec: CocoSpec) -> tuple[Sequence[Photograph], Named]:
        """The pictures, and what the model names in them."""
        photos = chosen(spec)
        return photos, named(vlm, asking_of(spec), photos, sources_of(spec, len(photos)))

    def plan(self, spec: CocoSpec) -> tuple[Unit, ...]:
        """Consecutive pictures."""
        return units_of(len(chosen(spec)), spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: CocoSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial (a picture), split, set, k: what is said with every edit, and without any."""
        maps = prepared.maps
        photos, found = prepared.estimates
        target = ~sources_of(spec, len(photos))
        sets = sets_of(maps, spec)
        asked = [index for index in unit.trials if found.namings[index].kept and target[:, index].any()]
        contexts = [
            asking_of(spec).second(vlm.reader, photos[index].picture(), found.namings[index].first) for index in asked
        ]
        rows = [edits(sets, found, target[:, index], one) for index, one in zip(asked, contexts, strict=True)]
        spoken = dict(
            zip(asked, decode_with_edits(vlm, contexts, rows, batch=spec.batch, new_tokens=spec.tokens), strict=True)
        )
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
        data = joined(require_identical(parts, SHARED))
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
        choosing = selection_split(["all"] * told.sizes["trial"], spec.seed)
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
                chosen_k=("match", [int(argmax_setting(one)["k"]) for one in of_top]),
                stays=stays.drop_vars("match"),
                choosing=("told", choosing),
            )
            .assign_coords(told=("told", told["trial"].values))
            .assign({name: data[name] for name in DOCUMENTATION})
            .assign_attrs({**ATTRS, **spec_attrs(spec)})
        )

    def example(self, spec: CocoSpec, reader: Reader) -> TrialExample:
        """The first picture with the first prompt."""
        picture = _readable(spec, chosen(spec))
        context = asking_of(spec).first(reader, picture)
        return trial_example(reader, picture, context, "whatever the model names first", (context.tokens.last,))


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
