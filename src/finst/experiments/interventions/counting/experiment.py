"""Does counting need the heads of the three stages? Their outputs set to 0 while a model lists and counts (Fig 46)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import xarray as xr

from finst.analysis.headsets import Head, largest_k
from finst.analysis.multiplicity import bh_fdr
from finst.engine.edits import Edit, Row, Rows, rows_from
from finst.engine.greedy import cut_short
from finst.errors import FinstError
from finst.experiments.example import trial_example
from finst.experiments.interventions.counting.report import (
    RIVALS,
    SCORES,
    counting_effects,
    counting_figures,
    counting_findings,
)
from finst.experiments.interventions.counting.spec import CountingSpec
from finst.experiments.interventions.decoding import generate_with_edits
from finst.experiments.interventions.effects import ALL, effects, leads
from finst.experiments.interventions.figures import draws_of
from finst.experiments.interventions.heads import HeadSets, check_sizes, extremes_of, heads_of, names_of
from finst.experiments.interventions.protocol import Intervention, InterventionReport, Prepared, check_intervention
from finst.experiments.interventions.unit_data import edited_rows, head_variables
from finst.prompts import TOTAL, Prompt, enumeration, listed, total_of
from finst.report.example import TrialExample
from finst.runs.experiment import Unit
from finst.scenes.draw import draw
from finst.scenes.object import Scene
from finst.scenes.sets import absolute, counting_set
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, Reader

ATTRS = {"title": "Counting without the heads of the three stages", "paper": "arXiv 2506.15871, Fig 46"}

DOCUMENTATION = {
    "hit": ("1", "whether the answer to score is yes"),
    "hit_before": ("1", "the same without an edit"),
    "heads": ("1", "the heads that are set to 0"),
    "warning": ("1", "what is arbitrary about a set; empty if nothing"),
}


class Counting(Intervention[CountingSpec]):
    """Ablation of the strongest, the weakest and random heads while objects are listed and counted."""

    name = "counting"
    spec = CountingSpec
    report = InterventionReport(counting_figures, counting_findings, counting_effects)
    attrs = ATTRS
    documentation = DOCUMENTATION
    kept = ("heads", "warning")

    def check(self, spec: CountingSpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, more heads than there are, or unsuitable pictures."""
        check_intervention(spec)
        wrong = [share for share in spec.shares if not 0 < share <= 0.5]
        if wrong:
            raise FinstError(
                f"shares holds {wrong[0]}: expected shares of all heads, above 0 and up to 0.5, as controls are drawn "
                "from the others"
            )
        check_sizes(sizes(spec, heads_of(reader)), reader)
        _context(reader, counting_set(1, spec.seed)[0])

    def trials(self, spec: CountingSpec) -> int:
        """The number of pictures."""
        return spec.trials

    def measure(self, vlm: VLM, spec: CountingSpec, unit: Unit, prepared: Prepared) -> xr.Dataset:
        """Dims trial, set, k, score: the scores of every text, with every edit and without any."""
        maps, every = prepared.maps, counting_set(spec.trials, spec.seed)
        scenes = [every[index] for index in unit.trials]
        ks = sizes(spec, maps.heads)
        sets = extremes_of(maps, ks, spec.draws, spec.seed)
        contexts = [_context(vlm.reader, scene) for scene in scenes]
        rows = [ablation_rows(spec, sets, context) for context in contexts]
        hits = []
        for generated, scene in zip(
            generate_with_edits(vlm, contexts, rows, batch=spec.batch, new_tokens=spec.new_tokens), scenes, strict=True
        ):
            texts = zip(generated.texts(vlm.reader), cut_short(vlm, generated).tolist(), strict=True)
            hits.append([scores_of(text, cut, scene) for text, cut in texts])
        edits = {"set": names_of(sets), "k": ks}
        ranked = {"top": maps.strongest, "bottom": maps.weakest}
        warnings = [[ranking(k, spec.seed).warning for k in ks] for ranking in ranked.values()]
        return self.dataset(
            unit,
            edits,
            {
                **edited_rows("hit", np.array(hits), edits, "score"),
                **head_variables(sets, warnings, "end", "k"),
            },
            {
                "objects": ("trial", np.array([str(len(scene.objects)) for scene in scenes])),
                "end": [*ranked],
                "score": [*SCORES],
            },
        )

    def analyse(self, spec: CountingSpec, data: xr.Dataset) -> xr.Dataset:
        """Dims set, k, score, group: shares with every edit and without any. Dim rival: other heads compared."""
        rivals = xr.Variable("rival", list(RIVALS))
        p = xr.concat([_rival_p(data["hit"], name, 1 - spec.alpha) for name in RIVALS], rivals)
        q = xr.apply_ufunc(bh_fdr, p, input_core_dims=[["k"]], output_core_dims=[["k"]], vectorize=True)
        p.attrs = {"units": "1", "long_name": "exact p of the strongest heads against all sets of the rival"}
        q.attrs = {"units": "1", "long_name": "rival_p adjusted over K for the false discovery rate"}
        hit, objects = data["hit"], data["objects"].values.tolist()
        found = effects(data["hit_before"], hit, objects, 1 - spec.alpha)
        ahead = leads(hit, hit.sel(set="top", drop=True), objects, 1 - spec.alpha)
        return found.merge(ahead, join="exact").assign(rival_p=p, rival_q=q)

    def example(self, spec: CountingSpec, reader: Reader) -> TrialExample:
        """The first picture; the marked tokens are those of the prompt at which heads are ablated."""
        scene = counting_set(spec.trials, spec.seed)[0]
        context = _context(reader, scene)
        answer, ablated = _prompt(scene).answer, ablated_positions(spec, context)
        everything = range(len(scene.objects))
        return trial_example(reader, draw(scene), context, answer, ablated, targets=everything)


def sizes(spec: CountingSpec, heads: int) -> tuple[int, ...]:
    """How many heads are ablated in a model with so many, at most half; shares of few heads may coincide."""
    shares = (min(round(share * heads), largest_k(heads)) for share in spec.shares)
    return spec.ks or tuple(dict.fromkeys(max(1, k) for k in shares))


def ablated_positions(spec: CountingSpec, context: Encoded) -> tuple[int, ...]:
    """Tokens of the prompt at which heads put out 0."""
    if spec.positions == "last":
        return (context.tokens.last,)
    roles = context.tokens.roles
    return tuple(pos for pos, role in enumerate(roles) if spec.positions == "all" or role.kind != "image")


def ablation_rows(spec: CountingSpec, sets: Sequence[HeadSets], context: Encoded) -> Rows:
    """An unedited row, then one for every set and K, in this order.

    Heads put out 0 at the spec's tokens of the prompt and, with ``steps="every"``, at every token that is fed back.
    """
    length = len(context.tokens)
    generated = range(length, length + spec.new_tokens - 1) if spec.steps == "every" else ()
    where = (*ablated_positions(spec, context), *generated)
    return rows_from([(), *(_zeros(heads, where) for each in sets for heads in each.sets)])


def _zeros(heads: Sequence[Head], where: tuple[int, ...]) -> Row:
    by_layer = groupby(sorted(heads), key=itemgetter(0))
    return tuple(Edit(layer, tuple(head for _, head in pairs), where, op="zero") for layer, pairs in by_layer)


def scores_of(text: str, cut: bool, scene: Scene) -> tuple[bool, bool, bool, bool]:
    """The ``SCORES`` of a text about ``scene``; its tokens say whether it was ``cut``."""
    names = sorted(obj.name for obj in scene.objects)
    return total_of(text) == len(names), sorted(listed(text)) == names, TOTAL not in text.lower(), cut


def _rival_p(hit: xr.DataArray, rival: str, confidence: float) -> xr.DataArray:
    """p of the strongest heads against the rival's sets, over k and score: the largest of McNemar's p.

    So it is small only where the strongest heads differ from every one of them (an intersection-union test); where
    they do so in different directions it is 1.
    """
    others, top = hit.sel(set=draws_of(hit, rival)), hit.sel(set="top", drop=True)
    compared = effects(others, top, (), confidence).sel(group=ALL, drop=True)
    directions = xr.DataArray(np.sign(compared["gained"] - compared["lost"]))
    return compared["p"].max("set").where(directions.min("set") == directions.max("set"), 1.0)


def _prompt(scene: Scene) -> Prompt:
    """Its answer lists objects in reading order; any order is right."""
    return enumeration(scene, sorted(range(len(scene.objects)), key=lambda index: absolute(scene.objects[index])))


def _context(reader: Reader, scene: Scene) -> Encoded:
    return encode(reader, draw(scene), _prompt(scene))
