"""Do keys hold the indexes of objects, at their own patches? Swapping those of two objects (Fig 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from finst.analysis.headsets import Head
from finst.engine.edits import Edit, Row, Rows, rows_from
from finst.engine.reads import activations
from finst.experiments.cma.head_maps import HeadMaps
from finst.experiments.example import shown
from finst.experiments.interventions.decoding import role_of, said
from finst.experiments.interventions.effect_table import EffectRow
from finst.experiments.interventions.effects import effects, halves, largest
from finst.experiments.interventions.estimates import check_disjoint, random_like
from finst.experiments.interventions.heads import check_maps, check_sizes, warnings_of
from finst.experiments.interventions.key_swap.report import key_swap_account, key_swap_effects, key_swap_figures
from finst.experiments.interventions.spec import InterventionSpec, agreed, check_intervention, record_of
from finst.experiments.units import check_numbers, joined, units_of
from finst.prompts import Prompt, colour_retrieval
from finst.report.example import Shown
from finst.report.figures import NamedFigure
from finst.report.findings import Account
from finst.runs.experiment import Unit, documented
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
class KeySwapSpec(InterventionSpec):
    """The keys of two objects' patches exchange their indexes, and the model is asked for a colour (Fig 4).

    K_o += dose x (d_other - d_own) before rotary positions, d the mean key over all patches of objects that stand left
    or right, estimated on other pictures. The paper's edit is dose 2 in all KV heads of every layer that holds one of
    the top 20 feature-retrieval heads, at both objects; it does not state the number of pictures. The default takes
    two minutes on two cores with the built-in model.
    """

    trials: int = 48
    """Pictures with a question each."""
    estimation: int = 40
    """Other pictures behind the mean keys."""
    k: int = 20
    """The strongest heads of feature retrieval, whose KV heads, or whole layers, are edited."""
    doses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """The paper's alpha."""


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
class Reach:
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


def edits_of(maps: HeadMaps, spec: KeySwapSpec, keys: Keys) -> tuple[Reach, ...]:
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
        Reach(f"{name}, {sides}", heads, sides == "both", keys.to_right)
        for name, heads in reached.items()
        for sides in ("queried", "both")
    ]
    rng = np.random.default_rng([spec.seed, 3])
    for draw_ in range(spec.draws if len(holding) < layers else 0):
        other = _other_layers(layers, holding, rng)
        found.append(Reach(f"random layers {draw_}", dict.fromkeys(other, whole), True, keys.to_right))
    rng = np.random.default_rng([spec.seed, 4])
    blind = [
        Reach(f"random direction {draw_}", reached["layers"], True, random_like(keys.to_right, rng))
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


def rows_of(edits: Sequence[Reach], doses: Sequence[float], question: Question, context: Encoded) -> Rows:
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


@dataclass(frozen=True)
class KeySwap:
    """The experiment, with the heads that causal mediation found."""

    maps: HeadMaps | None = None
    estimated: Callable[[VLM, KeySwapSpec], Keys] = field(
        default_factory=lambda: lru_cache(maxsize=1)(estimated), repr=False, compare=False
    )
    """Keys are the same for all units, so they are estimated once a process."""

    @property
    def name(self) -> str:
        """As on the command line and in the run's record."""
        return "key-swap"

    def check(self, spec: KeySwapSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, or image tokens without places."""
        check_numbers(spec, {"trials": 8, "estimation": 4})
        check_intervention(spec, spec.doses)
        check_sizes((spec.k,), reader, "k")
        _context(reader, questions(spec)[0]).tokens.object_patches(0)

    def plan(self, spec: KeySwapSpec) -> tuple[Unit, ...]:
        """Consecutive questions."""
        return units_of(spec.trials, spec.trials_per_unit)

    def measure(self, vlm: VLM, spec: KeySwapSpec, unit: Unit) -> xr.Dataset:
        """Dims trial, edit, dose: whose colour is named with every edit, and without any."""
        maps = check_maps(self.maps, vlm)
        every = questions(spec)
        asked = [every[index] for index in unit.trials]
        edits = edits_of(maps, spec, self.estimated(vlm, spec))
        contexts = [_context(vlm.reader, question) for question in asked]
        rows = [rows_of(edits, spec.doses, *one) for one in zip(asked, contexts, strict=True)]
        texts = said(vlm, contexts, rows, batch=spec.batch)
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
        data = joined(agreed(parts, ("heads", "warning")))
        hits, before = (data[name] == ROLES.index("other") for name in ("said", "said_before"))
        sides = data["side"].values
        choosing = halves(sides.tolist(), spec.seed)
        of_paper = hits.isel(trial=choosing).sel(edit=PAPER).mean("trial")
        found = effects(
            before.isel(trial=~choosing), hits.isel(trial=~choosing), sides[~choosing].tolist(), 1 - spec.alpha
        )
        right = (data["said_before"] == ROLES.index("queried")).isel(trial=~choosing)
        return (
            found.assign(
                chosen_dose=largest(of_paper)["dose"],
                right_before=right.mean().assign_attrs(units="1", long_name="share right without an edit"),
                choosing=("trial", choosing),
            )
            .assign({name: data[name] for name in DOCUMENTATION})
            .assign_attrs({**ATTRS, **record_of(spec)})
        )

    def draw(self, summary: xr.Dataset) -> tuple[NamedFigure, ...]:
        """The dose curve of every edit, and both sides at the chosen dose."""
        return key_swap_figures(summary)

    def account(self, summary: xr.Dataset) -> Account:
        """What was found, in words."""
        return key_swap_account(summary)

    def effects(self, summary: xr.Dataset) -> tuple[EffectRow, ...]:
        """For the table of all interventions."""
        return key_swap_effects(summary)

    def example(self, spec: KeySwapSpec, reader: Reader) -> Shown:
        """The first question."""
        question = questions(spec)[0]
        context = _context(reader, question)
        where = (pos for index in range(2) for pos in context.tokens.object_patches(index))
        return shown(reader, draw(question.scene), context, question.prompt.answer, tuple(where))


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
