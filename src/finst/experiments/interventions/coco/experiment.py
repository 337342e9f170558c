"""The order of naming gives IDs, on photographs: the first thing's ID, written where the second is due (Fig 45)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

from finst.engine.edits import Rows
from finst.errors import FinstError
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.example import trial_example
from finst.experiments.interventions.coco.first_pass import (
    SLOTS,
    FirstPass,
    ListPrompts,
    NamedThings,
    first_pass,
    named_things,
    prompts_of,
    suits,
)
from finst.experiments.interventions.coco.noun_phrases import annotated
from finst.experiments.interventions.coco.report import SECOND, coco_effects, coco_figures, coco_findings
from finst.experiments.interventions.coco.spec import CocoSpec
from finst.experiments.interventions.coco.summary import summary_of
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.heads import (
    HeadSets,
    check_sizes,
    head_sets_of,
    heads_of,
    names_of,
    rows_by_size,
    sizes_of,
    warnings_of,
    with_unedited,
)
from finst.experiments.interventions.protocol import Intervention, InterventionReport, Prepared, check_intervention
from finst.experiments.interventions.shown_pictures import DOCUMENTED, READING, Sifted, lines_of, sifted
from finst.experiments.interventions.unit_data import EDITED_HEADS, head_variables
from finst.report.example import TrialExample
from finst.report.wording import listed
from finst.runs.experiment import Unit
from finst.scenes.object import Picture
from finst.scenes.photos import Photograph, PhotoSet, photo_set
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM, Reader

STAGE = "id_selection"

ATTRS = {"title": "The order of naming gives IDs", "paper": "arXiv 2506.15871, Figs 44 and 45"}

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
    **EDITED_HEADS,
    "sources": ("pictures", "sources behind the means of a split"),
    "thumbnail": ("1", "some of the pictures, small"),
    **DOCUMENTED,
}


def run_photos(spec: CocoSpec) -> Sequence[Photograph]:
    """The pictures of a run."""
    return chosen_photos(spec).photos


def chosen_photos(spec: CocoSpec) -> PhotoSet:
    """The pictures of a run, and what of their folder is not among them."""
    return photo_set(spec.photos, spec.pictures, spec.px, spec.seed)


def sources_of(spec: CocoSpec, count: int) -> Bool[np.ndarray, "split picture"]:
    """Which of ``count`` pictures are each split's sources: half of them (rounded down); the others are its targets."""
    rng = np.random.default_rng([spec.seed, 1])
    return np.stack([rng.permutation(count) < count // 2 for _ in range(spec.splits)])


class Coco(Intervention[CocoSpec]):
    """Mean outputs before the first thing is named, written where the second one is due."""

    name = "coco"
    spec = CocoSpec
    report = InterventionReport(coco_figures, coco_findings, coco_effects)
    attrs = ATTRS
    documentation = DOCUMENTATION
    ranked_by = STAGE
    shared = ("heads", "warning", "sources", "thumbnail", READING)

    def check(self, spec: CocoSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, too many heads, fewer than four different pictures that the model
        can be shown, and a prompt that it cannot take."""
        check_intervention(spec)
        check_sizes(sizes_of(spec, heads_of(reader)), reader)
        chosen = chosen_photos(spec)
        read = [one.without_pixels for one in sifted(chosen.photos, suits(reader, prompts_of(spec)))]
        shown = sum(one.reason is None for one in read)
        if shown < 4:
            fault = f"{spec.photos} gives {shown} pictures that can be shown: expected at least 4, two on either side"
            raise FinstError("; ".join((fault, *lines_of(read, chosen.notes))))

    def trials(self, spec: CocoSpec) -> int:
        """The number of pictures."""
        return len(run_photos(spec))

    def estimate(self, vlm: VLM, spec: CocoSpec) -> FirstPass:
        """The things that the model names, and means over the sources of every split."""
        chosen = chosen_photos(spec)
        return first_pass(vlm, prompts_of(spec), chosen, sources_of(spec, len(chosen.photos)), self.two_things)

    def two_things(self, vlm: VLM, prompts: ListPrompts, shown: Sequence[Sifted]) -> list[NamedThings]:
        """The two things that the model names in each picture."""
        return named_things(vlm, prompts, shown)

    def measure(self, vlm: VLM, spec: CocoSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial (a picture), split, set, k: the text after the second prompt, with every edit and without any."""
        first: FirstPass = prepared.estimates
        photos, named, prompts = first.photos, first.named, prompts_of(spec)
        target = ~sources_of(spec, len(photos))
        used = [index for index, things in enumerate(named) if things.kept and target[:, index].any()]
        sets, trials = sets_of(prepared.maps, spec), list(unit.trials)
        ks = sizes_of(spec, prepared.maps.heads)
        edited = [index for index in trials if index in used]
        contexts = [prompts.second(vlm.reader, photos[index].picture(), named[index].first) for index in edited]
        rows = [edit_rows(sets, first, target[:, i], context) for i, context in zip(edited, contexts, strict=True)]
        answers = decode_with_edits(vlm, contexts, rows, batch=spec.batch, new_tokens=spec.tokens)
        edits = {"split": np.arange(1, spec.splits + 1).tolist(), "set": names_of(sets), "k": ks}
        before = dict.fromkeys(trials, "")
        texts = np.full((len(photos), *map(len, edits.values())), "", dtype=object)
        for index, (unedited, *others) in zip(edited, answers, strict=True):
            before[index] = unedited
            texts[index, target[:, index]] = np.array(others, dtype=object).reshape(-1, *texts.shape[2:])
        thumbnails = np.array([thumbnail(photos[index].picture()) for index in used[:STRIP]], dtype=np.uint8)
        return self.dataset(
            unit,
            edits,
            {
                "said": (("trial", *edits), texts[trials].astype(str)),
                "said_before": ("trial", np.array([*before.values()])),
                **{
                    name: ("trial", np.array([getattr(named[index], name) for index in trials]))
                    for name in ("first", "second", "reason", "listed")
                },
                "annotated": ("trial", np.array([_annotated(photos[index], named[index].first) for index in trials])),
                "target": (("trial", "split"), target[:, trials].T),
                "picture": ("trial", np.array([photos[index].name for index in trials])),
                **head_variables(sets, warnings_of(prepared.maps, STAGE, ks, spec.seed)),
                "sources": ("split", np.array(first.counts)),
                READING: ((), "\n".join(first.reading)),
                "thumbnail": (("shown", "row", "col", "rgb"), thumbnails.reshape(-1, STRIP_PX, STRIP_PX, 3)),
            },
            {"shown": used[:STRIP]},
        )

    def analyse(self, spec: CocoSpec, data: xr.Dataset) -> xr.Dataset:
        """Dims match, set, k, group: how often the first thing is repeated, before and after (see ``summary_of``).

        Raises FinstError when a split has no target left.
        """
        return summary_of(data, spec.seed, spec.alpha)

    def example(self, spec: CocoSpec, reader: Reader) -> TrialExample:
        """The first picture with the first prompt."""
        prompts = prompts_of(spec)
        shown = (one.picture for one in sifted(run_photos(spec), suits(reader, prompts)))
        picture = next((picture for picture in shown if picture is not None), None)
        if picture is None:
            raise FinstError(f"no picture of {spec.photos} can be shown any more: expected the files of the run")
        context = prompts.first(reader, picture)
        last = (context.tokens.last,)
        names = [thing.name for thing in picture.scene.objects]
        answer = f"whatever the model names first{f' of {listed(names)}' if names else ''}"
        return trial_example(reader, picture, context, answer, last, targets=range(len(names)))


def sets_of(maps: HeadMaps, spec: CocoSpec) -> tuple[HeadSets, ...]:
    """The strongest heads twice (for the means of either slot), and their controls."""
    top, *controls = head_sets_of(maps, STAGE, sizes_of(spec, maps.heads), spec.draws, spec.seed)
    return top, replace(top, name=SECOND), *controls


def edit_rows(sets: Sequence[HeadSets], first: FirstPass, splits: Bool[np.ndarray, "split"], context: Encoded) -> Rows:
    """An unedited row, then one for every split (of ``splits``), set and K, in this order."""
    slots = {each.name: SLOTS.index("second" if each.name == SECOND else "first") for each in sets}
    return with_unedited(
        rows
        for split in np.flatnonzero(splits).tolist()
        for each in sets
        for rows in rows_by_size(first.means[split, slots[each.name]], (context.tokens.last,), each)
    )


def _annotated(photo: Photograph, name: str) -> int:
    return -1 if photo.categories is None or not name else int(annotated(name, photo.categories))


def thumbnail(picture: Picture) -> UInt8[np.ndarray, "row col 3"]:
    """Small, whole, on a white square."""
    image = ImageOps.pad(Image.fromarray(picture.image), (STRIP_PX, STRIP_PX), color="white")
    return np.array(image, dtype=np.uint8)
