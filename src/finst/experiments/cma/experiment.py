"""Causal mediation: which heads implement the three stages (paper, section "Causal mediation", Figs 1d and 20-25)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from finst.analysis import mediation
from finst.errors import FinstError
from finst.experiments.cma.design import (
    COLOURS,
    CONDITIONS,
    CONTEXTS,
    colours_of,
    contexts_of,
    prompt_of,
)
from finst.experiments.cma.example import pair_example
from finst.experiments.cma.figures import mediation_figures
from finst.experiments.cma.page import mediation_page, mediation_side_by_side
from finst.experiments.cma.side_by_side import headline, table
from finst.experiments.cma.side_figures import side_figures
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.summary import statistics_of
from finst.experiments.cma.verdict import mediation_findings
from finst.experiments.cma.walk import PairContexts, PairLogits, pair_logits
from finst.experiments.units import documented, joined, units_of
from finst.report.comparison import Difference, Side, SideBySide
from finst.report.example import TrialExample
from finst.report.figures import NamedFigure
from finst.report.tables import aligned
from finst.runs.experiment import Experiment, Report, Unit
from finst.runs.size import Size
from finst.scenes.designs import MediationPair, mediation_pairs
from finst.scenes.draw import draw
from finst.vlm.encode import encode, first_tokens
from finst.vlm.open import VLM, Reader


class CMA(Experiment[CMASpec]):
    """Which heads implement the three stages; the samples are pairs of scenes."""

    name = "cma"
    spec = CMASpec
    report = Report(mediation_figures, mediation_findings)
    statistic = "mean"

    def check(self, spec: CMASpec, reader: Reader) -> None:
        """Raises FinstError for numbers out of range, colours with the same first token, and unsuitable pictures."""
        spec.check()
        pairs = mediation_pairs(spec.pairs, spec.seed)
        colours = sorted({colour for pair in pairs for colour in colours_of(pair)})
        prompt = prompt_of(spec, pairs[0])
        first_tokens(reader, prompt, colours)
        encode(reader, draw(pairs[0].clean), prompt)

    def size(self, spec: CMASpec, reader: Reader) -> Size:
        """Logits of three colours and a score for every head in every condition, and resamples of pairs."""
        text = reader.config.get_text_config()
        cells = len(CONDITIONS) * text.num_hidden_layers * text.num_attention_heads
        return Size(
            spec.pairs,
            "pairs",
            spec.pairs_per_unit,
            bytes_per_trial=4 * (len(COLOURS) + 1) * cells,
            statistics=8 * spec.bootstraps * spec.pairs,
            smaller="fewer pairs or bootstraps",
        )

    def plan(self, spec: CMASpec) -> tuple[Unit, ...]:
        """Units of ``pairs_per_unit`` consecutive pairs."""
        return units_of(spec.pairs, spec.pairs_per_unit, "pairs")

    def measure(self, vlm: VLM, spec: CMASpec, unit: Unit, prepared: object = None) -> xr.Dataset:
        """Logits and score of every patched head in every condition, and the predictions of the unedited contexts.

        Dims: pair, condition, layer, head, context, colour. The units are in ``attrs``.
        """
        design = mediation_pairs(spec.pairs, spec.seed)
        pairs = [design[index] for index in unit.trials]
        inputs = [_pair_contexts(vlm.reader, spec, pair) for pair in pairs]
        logits = pair_logits(vlm, inputs)
        rows = zip(unit.trials, pairs, inputs, logits, strict=True)
        return joined([_pair_data(vlm, spec, *row) for row in rows], "pair")

    def summarise(self, spec: CMASpec, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """All pairs with their statistics (see ``cma.summary``), which are computed over the usable pairs.

        A pair is usable in a condition when its clean and its source context are both answered correctly; without
        ``only_correct`` all pairs are usable. Raises FinstError when no condition has two usable pairs (one, if the run
        has only one pair).
        """
        data = joined(parts, "pair")
        correct = data["correct"]
        clean = correct.sel(context="clean", drop=True)
        source = correct.sel(context=data["source"]).drop_vars("context")
        usable = ((clean & source) | (not spec.only_correct)).transpose("condition", "pair").rename("usable")
        if usable.sum("pair").max() < min(2, spec.pairs):
            raise FinstError(_no_usable_pairs(spec, data))
        usable.attrs["long_name"] = "pairs that count: clean and source context answered correctly, unless all do"
        return statistics_of(spec, data.assign(usable=usable))

    def example(self, spec: CMASpec, reader: Reader) -> TrialExample:
        """The clean context of the first pair, with all patched tokens."""
        pair = pair_example(spec, reader)
        return TrialExample(pair.grid, pair.views[0], pair.tokens)

    def page(
        self,
        spec: CMASpec,
        reader: Reader,
        summary: xr.Dataset,
        figures: Sequence[NamedFigure],
        record: Mapping[str, Any],
    ) -> str:
        """The report: verdicts, maps, the strongest heads, one pair, and the paper's values for comparison."""
        return mediation_page(summary, figures, pair_example(spec, reader), record)

    def compare(self, sides: Sequence[Side], differences: Sequence[Difference]) -> SideBySide:
        """Maps on common scales, and the stages and their order by relative depth, for several runs."""
        figures = side_figures(sides)
        text = "\n".join([headline(sides), "", *aligned(table(sides))])
        return SideBySide(mediation_side_by_side(sides, figures, differences), figures, text)


def _pair_contexts(reader: Reader, spec: CMASpec, pair: MediationPair) -> PairContexts:
    tokens = first_tokens(reader, prompt_of(spec, pair), colours_of(pair))
    return PairContexts(contexts_of(reader, spec, pair), tokens, spec.readout == "patched_tokens")


def _numbers(spec: CMASpec, logits: Float[Tensor, "*any"]) -> Float[np.ndarray, "*any"]:
    """Logits as numpy, rounded to bfloat16 if the spec requires it, in a format that numpy has."""
    return (logits.bfloat16().to(logits.dtype) if spec.logits == "bfloat16" else logits).cpu().numpy()


def _pair_data(
    vlm: VLM, spec: CMASpec, index: int, pair: MediationPair, inputs: PairContexts, logits: PairLogits
) -> xr.Dataset:
    """The data of one pair, number ``index`` of the design."""
    tokens = list(inputs.tokens)
    rows, contexts = _numbers(spec, logits.rows), _numbers(spec, logits.contexts[:, tokens])
    patched = rows[1:].reshape(len(CONDITIONS), vlm.n_layers, vlm.n_heads, len(COLOURS))
    unedited, recorded = (np.tile(kept, (len(CONDITIONS), 1)) for kept in (rows[0], contexts[0]))
    if logits.described is not None:
        at_described = _numbers(spec, logits.described).mean(axis=1)
        retrieval = list(CONDITIONS).index("id_retrieval")
        recorded[retrieval], unedited[retrieval] = at_described[:2]
        patched[retrieval] = at_described[2:].reshape(patched.shape[1:])
    predicted = logits.contexts.argmax(-1).cpu().numpy()
    expected = np.array([tokens[COLOURS.index(answer)] for answer in ("target", "target", "new")])
    words = [vlm.reader.tokenizer.decode([int(token)]) for token in predicted]
    measured = xr.Dataset(
        {
            "patched_logits": (("condition", "layer", "head", "colour"), patched),
            "unedited_logits": (("condition", "colour"), unedited),
            "recorded_logits": (("condition", "colour"), recorded),
            "context_logits": (("context", "colour"), contexts),
            "predicted_token": ("context", predicted),
            "predicted_word": ("context", np.array(words)),
            "correct": ("context", predicted == expected),
            "positions": ((), len(inputs.contexts[0].tokens)),
        },
        coords=_coords(pair, vlm.n_layers, vlm.n_heads),
    )
    scored = measured.assign(_scores(measured)).expand_dims(pair=[index])
    per_pair = [name for name in measured.coords if not measured[name].dims]
    data = scored.assign_coords({name: ("pair", [measured[name].item()]) for name in per_pair})
    return documented(data, DOCUMENTATION).assign_attrs(ATTRS)


def _coords(pair: MediationPair, layers: int, heads: int) -> dict[str, object]:
    described, target = pair.clean.objects
    assert described.cell is not None
    row, col = described.cell
    return {
        "condition": list(CONDITIONS),
        "layer": np.arange(layers),
        "head": np.arange(heads),
        "context": list(CONTEXTS),
        "colour": list(COLOURS),
        "source": ("condition", [c.source for c in CONDITIONS.values()]),
        "patched": ("condition", [c.patched for c in CONDITIONS.values()]),
        "original": ("condition", [c.original for c in CONDITIONS.values()]),
        "counterfactual": ("condition", [c.counterfactual for c in CONDITIONS.values()]),
        **{f"{role}_colour": word for role, word in zip(COLOURS, colours_of(pair), strict=True)},
        "described_shape": described.shape,
        "target_shape": target.shape,
        "new_shape": pair.changed.objects[1].shape,
        "side": ("left", "right")[col],
        "row": ("upper", "lower")[row],
    }


def _scores(measured: xr.Dataset) -> dict[str, xr.DataArray]:
    """Scores of every head, and the absolute score of the recorded clean run, which is the numerical noise."""
    answers = xr.concat([measured["original"], measured["counterfactual"]], "answer")

    def of_answers(logits: xr.DataArray) -> xr.DataArray:
        return logits.sel(colour=answers).drop_vars("colour").transpose("condition", ..., "answer")

    patched, kept, clean = (of_answers(measured[f"{name}_logits"]) for name in ("patched", "unedited", "recorded"))
    score = mediation.scores(patched.values, kept.values[:, None, None, :])
    noise = abs(mediation.scores(clean.values, kept.values))
    return {
        "score": xr.DataArray(score, dims=("condition", "layer", "head")),
        "noise": xr.DataArray(noise, dims="condition"),
    }


DOCUMENTATION = {
    "patched_logits": ("logits", "logits with one head's output patched, where the condition reads: at the last token"),
    "unedited_logits": ("logits", "the same of the unedited run in the same batch"),
    "recorded_logits": ("logits", "the same of the recorded clean run"),
    "context_logits": ("logits", "last token's logits of the recorded contexts"),
    "predicted_token": ("1", "most probable next token"),
    "predicted_word": ("1", "most probable next token, as text"),
    "correct": ("1", "the most probable next token begins the right answer"),
    "positions": ("tokens", "length of the contexts"),
    "score": ("logits", "s = (M(c1*)[a1*] - M(c1*)[a1]) - (M(c1)[a1*] - M(c1)[a1])"),
    "noise": ("logits", "|score| of the recorded clean run against the unedited run: numerical noise"),
}


ATTRS = {
    "title": "Causal mediation of every attention head",
    "paper": "arXiv 2506.15871, section on causal mediation, Figs 1d and 20-25",
}


def _no_usable_pairs(spec: CMASpec, data: xr.Dataset) -> str:
    predicted = Counter(data["predicted_word"].sel(context="clean").values.tolist()).most_common(5)
    words = ", ".join(f"{word!r} ({count} times)" for word, count in predicted)
    colours = Counter(data["target_colour"].values.tolist()).most_common(3)
    none = "no two usable pairs" if spec.pairs > 1 else "no usable pair"
    share = float(data["correct"].sel(context="clean").mean())
    return (
        f"{spec.model} has {none} in any condition: expected the target's colour (such as "
        f"{', '.join(repr(word) for word, _ in colours)}) in the clean and in the source context; "
        f"{share:.0%} of {data.sizes['pair']} clean contexts were correct, and it predicted {words}. "
        "Use a model that can describe two objects; the other --placement may also help"
    )
