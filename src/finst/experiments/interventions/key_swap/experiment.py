"""Do keys hold the indexes of objects, at their own patches? Swapping those of two objects (Fig 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from finst.analysis.headsets import Head
from finst.engine.edits import Edit, Row, Rows, rows_from
from finst.engine.reads import activations
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.example import trial_example
from finst.experiments.interventions.decoding import decode_with_edits, role_of
from finst.experiments.interventions.effects import argmax_setting, effects, selection_split
from finst.experiments.interventions.estimates import check_disjoint, random_like
from finst.experiments.interventions.heads import check_sizes, warnings_of
from finst.experiments.interventions.key_swap.report import key_swap_effects, key_swap_figures, key_swap_findings
from finst.experiments.interventions.key_swap.spec import KeySwapSpec
from finst.experiments.interventions.protocol import (
    Intervention,
    InterventionReport,
    Prepared,
    check_intervention,
    require_identical,
)
from finst.experiments.units import check_numbers, documented, joined, spec_attrs, units_of
from finst.prompts import Prompt, colour_retrieval
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.designs import mediation_pairs
from finst.scenes.draw import draw
from finst.scenes.object import Scene
from finst.scenes.sets import absolute
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, Reader

STAGE = "feature_retrieval"

ATTRS = {"title": "Keys of two objects swapped", "paper": "arXiv 2506.15871, Fig 4"}

SIDES = ("left", "right")
"""The index of an object: where it stands."""

ROLES = ("other", "queried", "none")
"""Whose colour is named: a hit is the other object's."""

PAPER = "layers, both"
"""The paper's edit, among those of ``edits_of``."""

DOCUMENTATION = {
    "said": ("1", "whose colour is named, as an index of role"),
    "said_before": ("1", "the same without an edit"),
    "heads": ("1", "the KV heads of the edit; * for all of a layer"),
    "warning": ("1", "what is arbitrary about the K strongest heads; empty if nothing"),
}


@dataclass(frozen=True)
class Question:
    """A picture of two objects side by side, and the one whose colour is asked for."""

    scene: Scene
    queried: int
    prompt: Prompt

    @property
    def roles(self) -> dict[str, str]:
        """Roles by colour word."""
        return {obj.colour: ROLES[index == self.queried] for index, obj in enumerate(self.scene.objects)}


@dataclass(frozen=True)
class Keys:
    """Mean keys by side."""

    values: Float[Tensor, "side layer kv_head d_head"]

    @property
    def to_right(self) -> Float[Tensor, "layer kv_head d_head"]:
        """What makes an object's keys those of one on the right."""
        return self.values[1] - self.values[0]


@dataclass(frozen=True, eq=False)
class KeyEdit:
    """One edit at any dose: which KV heads, of which objects' patches, along which direction."""

    name: str
    heads: Mapping[int, tuple[int, ...]]
    """KV heads by layer."""
    both: bool
    direction: Float[Tensor, "layer kv_head d_head"]

    @property
    def text(self) -> str:
        """``L3K0 L4K*``."""
        count = self.direction.shape[1]
        said = {layer: "*" if len(heads) == count else ",".join(map(str, heads)) for layer, heads in self.heads.items()}
        return " ".join(f"L{layer}K{heads}" for layer, heads in said.items())


def estimated(vlm: VLM, spec: KeySwapSpec) -> Keys:
    """Mean key before rotary positions over all patches of the objects on either side."""
    asked = estimation_of(spec)
    check_disjoint([one.scene for one in asked], [one.scene for one in questions(spec)])
    total = torch.zeros(len(SIDES), vlm.n_layers, vlm.n_kv_heads, vlm.d_head, dtype=torch.float64)
    counts = torch.zeros(len(SIDES), dtype=torch.float64)
    for question in asked:
        context = _context(vlm.reader, question)
        for index, obj in enumerate(question.scene.objects):
            where = context.tokens.object_patches(index)
            keys = activations(vlm, [context], ("k",), where)["k"][0]
            side = absolute(obj)[1]
            total[side] += keys.sum(1).to("cpu", torch.float64)
            counts[side] += len(where)
    return Keys((total / counts[:, None, None, None]).to(vlm.device, vlm.dtype))


def edits_of(maps: HeadMaps, spec: KeySwapSpec, keys: Keys) -> tuple[KeyEdit, ...]:
    """From one KV head on the queried side to the paper's edit, and its controls.

    Controls are as many whole layers, as far as they reach those that hold none of the strongest heads (left out where
    all layers do), and random directions of the same length in the same layers.
    """
    layers, kv_heads, _ = keys.to_right.shape
    group = maps.mean.shape[2] // kv_heads
    top = maps.top(STAGE, spec.k, spec.seed).heads
    strongest = maps.top(STAGE, 1, spec.seed).heads
    whole = tuple(range(kv_heads))
    holding = sorted({layer for layer, _ in top})
    reached = {
        "one KV head": _by_layer(strongest, group),
        "KV heads": _by_layer(top, group),
        "layers": dict.fromkeys(holding, whole),
    }
    found = [
        KeyEdit(f"{name}, {sides}", heads, sides == "both", keys.to_right)
        for name, heads in reached.items()
        for sides in ("queried", "both")
    ]
    rng = np.random.default_rng([spec.seed, 3])
    for draw_ in range(spec.draws if len(holding) < layers else 0):
        other = _other_layers(layers, holding, rng)
        found.append(KeyEdit(f"random layers {draw_}", dict.fromkeys(other, whole), True, keys.to_right))
    rng = np.random.default_rng([spec.seed, 4])
    blind = [
        KeyEdit(f"random direction {draw_}", reached["layers"], True, random_like(keys.to_right, rng))
        for draw_ in range(spec.draws)
    ]
    return (*found, *blind)


def _other_layers(layers: int, holding: Sequence[int], rng: np.random.Generator) -> list[int]:
    """As many as ``holding``, of the others, and of its own what these lack: so never the same set while there is one
    other."""
    others = np.setdiff1d(np.arange(layers), holding)
    drawn = [*rng.permutation(others).tolist(), *rng.permutation(holding).tolist()]
    return sorted(drawn[: len(holding)])


def _by_layer(heads: Sequence[Head], group: int) -> dict[int, tuple[int, ...]]:
    """The KV heads that query heads read, by layer."""
    pairs = sorted({(layer, head // group) for layer, head in heads})
    return {layer: tuple(kv for at, kv in pairs if at == layer) for layer, _ in pairs}


def rows_of(edits: Sequence[KeyEdit], doses: Sequence[float], question: Question, context: Encoded) -> Rows:
    """An unedited row, then one for every edit and dose, in this order."""
    rows: list[Row] = [()]
    for one in edits:
        for dose in doses:
            row: list[Edit] = []
            for index, obj in enumerate(question.scene.objects):
                if not (one.both or index == question.queried):
                    continue
                away = 1 - 2 * absolute(obj)[1]
                where = context.tokens.object_patches(index)
                row += [
                    Edit(layer, heads, where, one.direction[layer, list(heads)], "k", "add", coefficient=away * dose)
                    for layer, heads in one.heads.items()
                ]
            rows.append(tuple(row))
    return rows_from(rows)


class KeySwap(Intervention[KeySwapSpec]):
    """The experiment."""

    name = "key-swap"
    spec = KeySwapSpec
    report = InterventionReport(key_swap_figures, key_swap_findings, key_swap_effects)

    def check(self, spec: KeySwapSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, or image tokens without places."""
        check_numbers(spec, {"trials": 8, "estimation": 4})
        check_intervention(spec, spec.doses)
        check_sizes((spec.k,), reader, "k")
        _context(reader, questions(spec)[0]).tokens.object_patches(0)

    def estimate(self, vlm: VLM, spec: KeySwapSpec) -> Keys:
        """Raises FinstError as ``estimated``."""
        return estimated(vlm, spec)

    def plan(self, spec: KeySwapSpec) -> tuple[Unit, ...]:
        """Consecutive questions."""
        return units_of(spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: KeySwapSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, edit, dose: whose colour is named with every edit, and without any."""
        maps = prepared.maps
        every = questions(spec)
        asked = [every[index] for index in unit.trials]
        edits = edits_of(maps, spec, prepared.estimates)
        contexts = [_context(vlm.reader, question) for question in asked]
        rows = [rows_of(edits, spec.doses, *one) for one in zip(asked, contexts, strict=True)]
        texts = decode_with_edits(vlm, contexts, rows, batch=spec.batch)
        roles = np.array(
            [
                [ROLES.index(role_of(text, question.roles)) for text in row]
                for row, question in zip(texts, asked, strict=True)
            ]
        )
        shape = (len(asked), len(edits), len(spec.doses))
        data = xr.Dataset(
            {
                "said": (("trial", "edit", "dose"), roles[:, 1:].reshape(shape).astype(np.int8)),
                "said_before": ("trial", roles[:, 0].astype(np.int8)),
                "heads": ("edit", np.array([one.text for one in edits])),
                "warning": ("k", np.array(warnings_of(maps, STAGE, (spec.k,), spec.seed))),
            },
            coords={
                "trial": list(unit.trials),
                "side": ("trial", np.array([_side(question) for question in asked])),
                "edit": [one.name for one in edits],
                "dose": list(spec.doses),
                "k": [spec.k],
                "role": list(ROLES),
            },
            attrs=ATTRS,
        )
        return documented(data, DOCUMENTATION)

    def summarise(self, spec: KeySwapSpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """Dims edit, dose, group: effects on the reporting half, and the dose that the paper's edit was best at.

        A hit names the other object's colour. Raises FinstError when parts were measured with other heads.
        """
        data = joined(require_identical(parts, ("heads", "warning")))
        hits, before = (data[name] == ROLES.index("other") for name in ("said", "said_before"))
        sides = data["side"].values
        choosing = selection_split(sides.tolist(), spec.seed)
        of_paper = hits.isel(trial=choosing).sel(edit=PAPER).mean("trial")
        found = effects(
            before.isel(trial=~choosing), hits.isel(trial=~choosing), sides[~choosing].tolist(), 1 - spec.alpha
        )
        right = (data["said_before"] == ROLES.index("queried")).isel(trial=~choosing)
        return (
            found.assign(
                chosen_dose=argmax_setting(of_paper)["dose"],
                right_before=right.mean().assign_attrs(units="1", long_name="share right without an edit"),
                choosing=("trial", choosing),
            )
            .assign({name: data[name] for name in DOCUMENTATION})
            .assign_attrs({**ATTRS, **spec_attrs(spec)})
        )

    def example(self, spec: KeySwapSpec, reader: Reader) -> TrialExample:
        """The first question."""
        question = questions(spec)[0]
        context = _context(reader, question)
        where = (pos for index in range(2) for pos in context.tokens.object_patches(index))
        return trial_example(reader, draw(question.scene), context, question.prompt.answer, tuple(where))


def questions(spec: KeySwapSpec) -> tuple[Question, ...]:
    """The pictures that are edited; colours, shapes, rows and the queried object's side are counterbalanced."""
    return _questions(spec.trials, [spec.seed, 1])


def estimation_of(spec: KeySwapSpec) -> tuple[Question, ...]:
    """The pictures behind the mean keys, counterbalanced as those."""
    return _questions(spec.estimation, [spec.seed, 2])


def _questions(count: int, seed: Sequence[int]) -> tuple[Question, ...]:
    drawn = int(np.random.SeedSequence(seed).generate_state(1)[0])
    scenes = [pair.clean for pair in mediation_pairs(count, drawn)]
    return tuple(Question(scene, 1, colour_retrieval(scene, 1)) for scene in scenes)


def _side(question: Question) -> str:
    return SIDES[absolute(question.scene.objects[question.queried])[1]]


def _context(reader: Reader, question: Question) -> Encoded:
    return encode(reader, draw(question.scene), question.prompt)
