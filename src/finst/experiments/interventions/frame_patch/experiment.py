"""Is an index a place among the objects or on the canvas? Those of one arrangement in another (Figs 13, 29)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import xarray as xr

from finst.engine.activations import sampled
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits, role_of
from finst.experiments.interventions.effects import argmax_setting, effects, selection_split
from finst.experiments.interventions.frame_patch.report import (
    frame_patch_effects,
    frame_patch_figures,
    frame_patch_findings,
)
from finst.experiments.interventions.frame_patch.spec import FramePatchSpec
from finst.experiments.interventions.heads import check_sizes, head_sets_of, replaced, warnings_of
from finst.experiments.interventions.protocol import (
    Intervention,
    InterventionReport,
    Prepared,
    check_intervention,
    require_identical,
)
from finst.experiments.units import check_numbers, documented, joined, spec_attrs, units_of
from finst.prompts import Prompt, scene_description
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.designs import features
from finst.scenes.draw import draw
from finst.scenes.object import Cell, Scene, on_grid
from finst.scenes.sets import CENTRE, LATTICE, QUADRANTS, absolute
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, Reader

STAGE = "id_selection"

ATTRS = {"title": "Indexes of one arrangement in another", "paper": "arXiv 2506.15871, Figs 13 and 29"}

ROLES = ("relative", "absolute", "described", "none")
"""Whose colour is named: of the undescribed object at the source's relative cell, of that at its absolute cell, of a
described one, or none of the scene's."""

PAIRS: tuple[tuple[Cell, Cell], ...] = tuple(permutations(QUADRANTS, 2))
"""Ordered pairs of arrangements (the lattice cell at the top left of each): of the source, and of what is edited."""

DOCUMENTATION = {
    "said": ("1", "whose colour is named, as an index of role"),
    "said_before": ("1", "the same without an edit"),
    "source_right": ("1", "the source's most probable answer is exactly the object at the centre"),
    "heads": ("1", "the heads that are patched"),
    "warning": ("1", "what is arbitrary about the K strongest heads; empty if nothing"),
}


@dataclass(frozen=True)
class Pair:
    """The picture that indexes are taken from, and the one in which they are written."""

    source: Scene
    source_prompt: Prompt
    scene: Scene
    prompt: Prompt
    relative: int
    """Of the picture's objects, that at the source target's place within the arrangement."""
    absolute: int
    """That at the centre of the lattice, where the source's target is."""

    @property
    def roles(self) -> dict[str, str]:
        """Roles by colour word."""
        of = {self.relative: "relative", self.absolute: "absolute"}
        return {obj.colour: of.get(index, "described") for index, obj in enumerate(self.scene.objects)}


class FramePatch(Intervention[FramePatchSpec]):
    """The experiment."""

    name = "frame-patch"
    spec = FramePatchSpec
    report = InterventionReport(frame_patch_figures, frame_patch_findings, frame_patch_effects)

    def check(self, spec: FramePatchSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, or unsuitable pictures."""
        check_numbers(spec, {"trials": 2})
        check_intervention(spec, (1.0,))
        check_sizes(spec.ks, reader)
        _contexts(reader, pairs_of(spec)[0])

    def plan(self, spec: FramePatchSpec) -> tuple[Unit, ...]:
        """Consecutive pairs of pictures; arrangements take turns."""
        return units_of(len(PAIRS) * spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: FramePatchSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, set, k: whose colour is named with every edit, and without any."""
        maps = prepared.maps
        every = pairs_of(spec)
        asked = [every[index] for index in unit.trials]
        sets = head_sets_of(maps, STAGE, spec.ks, spec.draws, spec.seed)
        sources, contexts = zip(*(_contexts(vlm.reader, pair) for pair in asked), strict=True)
        last = np.array([[context.tokens.last] for context in sources])
        passes = sampled(vlm, sources, ("z",), last, batch=spec.batch)
        rows = [
            replaced([(one, z) for one in sets], (context.tokens.last,))
            for z, context in zip(passes.values["z"], contexts, strict=True)
        ]
        texts = decode_with_edits(vlm, contexts, rows, batch=spec.batch)
        roles = np.array(
            [[ROLES.index(role_of(text, pair.roles)) for text in row] for row, pair in zip(texts, asked, strict=True)]
        )
        shape = (len(asked), len(sets), len(spec.ks))
        data = xr.Dataset(
            {
                "said": (("trial", "set", "k"), roles[:, 1:].reshape(shape).astype(np.int8)),
                "said_before": ("trial", roles[:, 0].astype(np.int8)),
                "source_right": ("trial", passes.exact.numpy()),
                "heads": (("set", "k"), np.array([one.texts for one in sets])),
                "warning": ("k", np.array(warnings_of(maps, STAGE, spec.ks, spec.seed))),
            },
            coords={
                "trial": list(unit.trials),
                "arrangements": ("trial", np.array([_named(index) for index in unit.trials])),
                "set": [one.name for one in sets],
                "k": list(spec.ks),
                "role": list(ROLES),
            },
            attrs=ATTRS,
        )
        return documented(data, DOCUMENTATION)

    def summarise(self, spec: FramePatchSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims named, set, k, group: how often either object is named, before and after, on the reporting half.

        ``rival`` is the exact paired p of relative against absolute after the edit. Raises FinstError when parts were
        measured with other heads.
        """
        data = joined(require_identical(parts, ("heads", "warning")))
        named = xr.DataArray([0, 1], dims="named", coords={"named": list(ROLES[:2])})
        hits, before = data["said"] == named, data["said_before"] == named
        of = data["arrangements"].values
        choosing = selection_split(of.tolist(), spec.seed)
        moves = (hits & ~before).any("named")
        chosen = argmax_setting(moves.isel(trial=choosing).sel(set="top").mean("trial"))["k"]
        moved = moves.isel(trial=~choosing).mean("trial")
        kinds = [_kind(name) for name in of[~choosing].tolist()]
        found = effects(before.isel(trial=~choosing), hits.isel(trial=~choosing), kinds, 1 - spec.alpha)
        reported = hits.isel(trial=~choosing)
        rival = effects(
            reported.sel(named="absolute", drop=True), reported.sel(named="relative", drop=True), kinds, 1 - spec.alpha
        )["p"]
        rival.attrs = {"units": "1", "long_name": "two-sided exact p of relative against absolute after the edit"}
        moved.attrs = {"units": "1", "long_name": "share of answers that move to the other undescribed object"}
        return (
            found.assign(rival=rival, moved=moved, chosen_k=int(chosen), choosing=("trial", choosing))
            .assign({name: data[name] for name in DOCUMENTATION})
            .assign_attrs({**ATTRS, **spec_attrs(spec)})
        )

    def example(self, spec: FramePatchSpec, reader: Reader) -> TrialExample:
        """The first pair's edited picture."""
        pair = pairs_of(spec)[0]
        _, context = _contexts(reader, pair)
        answer = " or ".join(pair.scene.objects[index].name for index in (pair.relative, pair.absolute))
        return trial_example(reader, draw(pair.scene), context, answer, (context.tokens.last,))


def pairs_of(spec: FramePatchSpec) -> tuple[Pair, ...]:
    """``spec.trials`` for each ordered pair of arrangements, which take turns; eight colours in every pair."""
    rng = np.random.default_rng([spec.seed, 1])
    return tuple(_pair(rng, spec, *arrangements) for _ in range(spec.trials) for arrangements in PAIRS)


def _pair(rng: np.random.Generator, spec: FramePatchSpec, source: Cell, other: Cell) -> Pair:
    named = features(rng, 8, "high")
    scenes = [_arranged(named[:4], source), _arranged(named[4:], other)]
    target = [absolute(obj) for obj in scenes[0].objects].index(CENTRE)
    cells = [absolute(obj) for obj in scenes[1].objects]
    same = (other[0] + CENTRE[0] - source[0], other[1] + CENTRE[1] - source[1])
    relative, centre = cells.index(same), cells.index(CENTRE)
    first = rng.permutation([index for index in range(4) if index != target]).tolist()
    second = rng.permutation([index for index in range(4) if index not in (relative, centre)]).tolist()
    return Pair(
        scenes[0],
        scene_description(scenes[0], first, target, spec.placement),
        scenes[1],
        scene_description(scenes[1], second, centre, spec.placement),
        relative,
        centre,
    )


def _arranged(named: Sequence[tuple[str, str]], corner: Cell) -> Scene:
    cells = [(corner[0] + row, corner[1] + col) for row in (0, 1) for col in (0, 1)]
    return on_grid(named, cells, LATTICE)


def _contexts(reader: Reader, pair: Pair) -> tuple[Encoded, Encoded]:
    """The source with its answer, and what is edited."""
    source = encode(reader, draw(pair.source), pair.source_prompt, pair.source_prompt.answer)
    return source, encode(reader, draw(pair.scene), pair.prompt)


def _named(index: int) -> str:
    source, other = PAIRS[index % len(PAIRS)]
    return f"{source[0]}{source[1]}-{other[0]}{other[1]}"


def _kind(name: str) -> str:
    """Whether two arrangements share two cells (and a side) or the centre alone."""
    return "diagonal" if name[0] != name[3] and name[1] != name[4] else "adjacent"
