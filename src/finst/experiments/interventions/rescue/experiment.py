"""Can low entropy be rescued? Selection heads' outputs from high-entropy pictures in low-entropy ones (Table 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool

from finst.analysis.proportions import fewest_gains, wilson
from finst.engine.edits import Rows, unedited
from finst.errors import FinstError
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits
from finst.experiments.interventions.effects import argmax_setting, effects, selection_split
from finst.experiments.interventions.estimates import Prototypes, by_cell, check_disjoint
from finst.experiments.interventions.heads import HeadSets, check_sizes, head_sets_of, replaced, warnings_of
from finst.experiments.interventions.protocol import (
    Intervention,
    InterventionReport,
    Prepared,
    check_intervention,
    require_identical,
)
from finst.experiments.interventions.rescue.report import rescue_effects, rescue_figures, rescue_findings
from finst.experiments.interventions.rescue.spec import RescueSpec
from finst.experiments.units import MAX_NEW_TOKENS, documented, joined, spec_attrs, square, units_of
from finst.options import Entropy
from finst.prompts import correct, scene_description
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.draw import draw
from finst.scenes.object import Obj
from finst.scenes.sets import Staged, absolute, unique_objects
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, Reader

STAGE = "id_selection"

ATTRS = {
    "title": "Selection heads' outputs of high entropy in pictures of low entropy",
    "paper": "arXiv 2506.15871, Table 1",
}

WRONG = "wrong cell"
"""The control of content: the strongest heads put out the prototype of another cell."""

SCORES = ("answer", "colour", "elsewhere", "elsewhere colour")
"""What a text begins with: the missing object, its colour, the object in the wrong cell, that one's colour."""

DOCUMENTATION = {
    "hit": ("1", "whether the text begins with what score names"),
    "hit_before": ("1", "the same without an edit"),
    "hit_high": ("1", "the same of a picture of high entropy, whose own missing object is to be named"),
    "heads": ("1", "the heads whose outputs are replaced"),
    "warning": ("1", "what is arbitrary about the K strongest heads; empty if nothing"),
    "estimated_from": ("trials", "right descriptions behind each prototype, at least"),
    "estimated_right": ("1", "share of those descriptions that the model got exactly right"),
}

FEWEST = "wrong trials that must turn right, and none wrong, for McNemar's p to be at most alpha"

ADDED = {
    "against_wrong": ("1", "two-sided exact p of the right cell's prototype against the wrong cell's"),
    "wrong_before": ("trials", "trials without a hit before the edit"),
    "rescued": ("1", "share of those with a hit after it"),
    "rescued_low": ("1", "lower end of its Wilson interval"),
    "rescued_high": ("1", "upper end of its Wilson interval"),
    "high": ("1", "share of hits in high entropy, no edit, all trials of the grid"),
    "high_low": ("1", "lower end of its Wilson interval"),
    "high_high": ("1", "upper end of its Wilson interval"),
}


@dataclass(frozen=True)
class Trial:
    """A picture of low entropy, and one of high entropy that shows what could be hoped for."""

    grid: str
    low: Staged
    high: Staged
    wrong: Obj
    """An object of the low-entropy picture with another colour and another shape than the missing one's: its cell's
    prototype is the wrong one."""


def trials_of(spec: RescueSpec) -> tuple[Trial, ...]:
    """All grids' trials, grid by grid."""
    rng = np.random.default_rng([spec.seed, 1])
    return tuple(
        Trial(grid, low, high, _unlike(low, rng))
        for place, (grid, per_pair) in enumerate(zip(spec.grids, spec.trials, strict=True))
        for low, high in zip(
            _staged(spec, place, "low", per_pair, 2), _staged(spec, place, "high", per_pair, 3), strict=True
        )
    )


def estimation_of(spec: RescueSpec) -> Mapping[str, tuple[Staged, ...]]:
    """The pictures behind the prototypes, by grid."""
    return {
        grid: _staged(spec, place, "high", per_pair, 4)
        for place, (grid, per_pair) in enumerate(zip(spec.grids, spec.estimation, strict=True))
    }


def _staged(spec: RescueSpec, place: int, entropy: Entropy, per_pair: int, use: int) -> tuple[Staged, ...]:
    seed = int(np.random.SeedSequence([spec.seed, use, place]).generate_state(1)[0])
    return unique_objects(square(spec.grids[place]), entropy, per_pair, seed, "fresh")


def _unlike(staged: Staged, rng: np.random.Generator) -> Obj:
    """An object with another colour and another shape than the missing one's; low entropy always has some."""
    target = staged.target
    others = [obj for obj in staged.scene.objects if obj.colour != target.colour and obj.shape != target.shape]
    return others[int(rng.integers(len(others)))]


def estimated(vlm: VLM, spec: RescueSpec) -> Mapping[str, Prototypes]:
    """Prototypes by grid, of descriptions that the model gets exactly right."""
    tested = [scene for trial in trials_of(spec) for scene in (trial.low.scene, trial.high.scene)]
    every = estimation_of(spec)
    check_disjoint([one.scene for staged in every.values() for one in staged], tested)
    return {
        grid: by_cell(vlm, square(grid), staged, spec.placement, batch=spec.batch, exact=True)
        for grid, staged in every.items()
    }


class Rescue(Intervention[RescueSpec]):
    """The experiment."""

    name = "rescue"
    spec = RescueSpec
    report = InterventionReport(rescue_figures, rescue_findings, rescue_effects)

    def check(self, spec: RescueSpec, reader: Reader) -> None:
        """Raises FinstError for unknown grids, numbers out of range, more heads than there are, unsuitable pictures."""
        check_intervention(spec, (1.0,))
        check_sizes(spec.ks, reader)
        if not spec.grids or len(set(spec.grids)) < len(spec.grids):
            raise FinstError(f"grids is {spec.grids}: expected one or more different grids, of 2x2 and 3x3")
        for name in ("trials", "estimation"):
            values = getattr(spec, name)
            if len(values) != len(spec.grids) or min(values) < 1:
                raise FinstError(
                    f"{name} is {values}: expected a number of at least 1 for each grid ({', '.join(spec.grids)})"
                )
        for trial in {trial.grid: trial for trial in trials_of(spec)}.values():
            _contexts(spec, reader, trial)

    def estimate(self, vlm: VLM, spec: RescueSpec) -> Mapping[str, Prototypes]:
        """Raises FinstError as ``estimated``."""
        return estimated(vlm, spec)

    def plan(self, spec: RescueSpec) -> tuple[Unit, ...]:
        """Consecutive trials, grid by grid."""
        return units_of(len(trials_of(spec)), spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: RescueSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, set, k, score: what texts begin with, with every edit and without any."""
        maps = prepared.maps
        every = trials_of(spec)
        asked = [every[index] for index in unit.trials]
        ids = prepared.estimates
        sets = head_sets_of(maps, STAGE, spec.ks, spec.draws, spec.seed)
        lows, highs = zip(*(_contexts(spec, vlm.reader, trial) for trial in asked), strict=True)
        rows = [edits(sets, ids[trial.grid], trial, low) for trial, low in zip(asked, lows, strict=True)]
        texts = decode_with_edits(vlm, lows, rows, batch=spec.batch, new_tokens=MAX_NEW_TOKENS)
        hopes = decode_with_edits(vlm, highs, [unedited()] * len(highs), batch=spec.batch, new_tokens=MAX_NEW_TOKENS)
        hits = np.array([[_begins(text, trial) for text in row] for row, trial in zip(texts, asked, strict=True)])
        high = np.array([_right(text, trial.high.target) for (text,), trial in zip(hopes, asked, strict=True)])
        counts = [np.array(ids[grid].counts) for grid in spec.grids]
        drawn = [len(staged) for staged in estimation_of(spec).values()]
        data = xr.Dataset(
            {
                "hit": (
                    ("trial", "set", "k", "score"),
                    hits[:, 1:].reshape(len(asked), len(sets) + 1, len(spec.ks), len(SCORES)),
                ),
                "hit_before": (("trial", "score"), hits[:, 0]),
                "hit_high": (("trial", "part"), high),
                "heads": (("set", "k"), np.array([one.texts for one in (*sets, sets[0])])),
                "warning": ("k", np.array(warnings_of(maps, STAGE, spec.ks, spec.seed))),
                "estimated_from": ("source", np.array([count.min() for count in counts])),
                "estimated_right": (
                    "source",
                    np.array([count.sum() / of for count, of in zip(counts, drawn, strict=True)]),
                ),
            },
            coords={
                "trial": list(unit.trials),
                "of_grid": ("trial", np.array([trial.grid for trial in asked])),
                "set": [*(one.name for one in sets), WRONG],
                "k": list(spec.ks),
                "score": list(SCORES),
                "part": list(SCORES[:2]),
                "source": list(spec.grids),
            },
            attrs=ATTRS,
        )
        return documented(data, DOCUMENTATION)

    def summarise(self, spec: RescueSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims grid, set, k, score: effects on the reporting half, with the K that was best on the other.

        Raises FinstError when parts were measured with other heads or prototypes.
        """
        kept = ("heads", "warning", "estimated_from", "estimated_right")
        data = joined(require_identical(parts, kept))
        grids = data["of_grid"].values
        choosing = selection_split(grids.tolist(), spec.seed)
        found = xr.concat(
            [_of_grid(data.isel(trial=grids == grid), choosing[grids == grid], 1 - spec.alpha) for grid in spec.grids],
            xr.Variable("grid", list(spec.grids)),
            join="exact",
        )
        fewest = ((), fewest_gains(spec.alpha), {"units": "trials", "long_name": FEWEST})
        return (
            found.assign(choosing=("trial", choosing), fewest=fewest)
            .assign({name: data[name] for name in kept})
            .assign_attrs({**ATTRS, **spec_attrs(spec)})
        )

    def example(self, spec: RescueSpec, reader: Reader) -> TrialExample:
        """The first picture of low entropy."""
        trial = trials_of(spec)[0]
        context, _ = _contexts(spec, reader, trial)
        return trial_example(reader, draw(trial.low.scene), context, trial.low.target.name, (context.tokens.last,))


def _of_grid(data: xr.Dataset, choosing: Bool[np.ndarray, "trial"], confidence: float) -> xr.Dataset:
    """One grid's trials: K from one half, effects on the other."""
    chosen = argmax_setting(data["hit"].isel(trial=choosing).sel(set="top", score="answer").mean("trial"))["k"]
    before, hit = (data[name].isel(trial=~choosing) for name in ("hit_before", "hit"))
    found = effects(before, hit, (), confidence).sel(group="all", drop=True)
    against = effects(hit.sel(set=WRONG, drop=True), hit.sel(set="top", drop=True), (), confidence)["p"]
    wrong = (~before).sum("trial")
    high = data["hit_high"]
    added = {
        "against_wrong": against.sel(group="all", drop=True),
        "wrong_before": wrong,
        **_shares("rescued", found["gained"], wrong, confidence),
        **_shares(
            "high",
            high.sum("trial"),
            xr.full_like(high.isel(trial=0, drop=True), high.sizes["trial"], dtype=int),
            confidence,
        ),
    }
    for name, array in added.items():
        array.attrs = {"units": ADDED[name][0], "long_name": ADDED[name][1]}
    return found.assign(added).assign(chosen_k=int(chosen))


def _shares(name: str, hits: xr.DataArray, of: xr.DataArray, confidence: float) -> dict[str, xr.DataArray]:
    """``hits`` of ``of`` with Wilson's interval; nan of none."""
    none = (np.nan, np.nan, np.nan)
    values = xr.apply_ufunc(
        lambda hit, n: (hit / n, *wilson(int(hit), int(n), confidence)) if n else none,
        *xr.broadcast(hits, of),
        output_core_dims=[[], [], []],
        vectorize=True,
    )
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def edits(sets: Sequence[HeadSets], ids: Prototypes, trial: Trial, context: Encoded) -> Rows:
    """An unedited row, then one for every set and K with the right cell's prototype, then one for every K in which the
    strongest heads put out the wrong cell's."""
    cells = square(trial.grid).cells
    right, wrong = (ids.layers[cells.index(absolute(obj))] for obj in (trial.low.target, trial.wrong))
    return replaced([*((one, right) for one in sets), (sets[0], wrong)], (context.tokens.last,))


def _begins(text: str, trial: Trial) -> tuple[bool, ...]:
    """With which of ``SCORES`` a text about the low-entropy picture begins."""
    return (*_right(text, trial.low.target), *_right(text, trial.wrong))


def _right(text: str, obj: Obj) -> tuple[bool, bool]:
    """Whether a text begins with an object's name, and whether with its colour."""
    return correct(text, obj.name), correct(text, obj.colour)


def _contexts(spec: RescueSpec, reader: Reader, trial: Trial) -> tuple[Encoded, Encoded]:
    """The picture of low entropy, and that of high entropy."""
    low, high = (
        encode(reader, draw(one.scene), scene_description(one.scene, one.order[:-1], one.order[-1], spec.placement))
        for one in (trial.low, trial.high)
    )
    return low, high
