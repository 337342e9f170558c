"""Verification of causal mediation: random cells of a result, each computed again by its own full forward pass.

The replays are in float32 and share no shortcut with the engine: plain hooks and, where it is installed, nnsight. They
are compared with a stored run or, without one, with a new call of the engine at all of its sites.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from types import ModuleType

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from finst.analysis import mediation
from finst.cli.options import Verify
from finst.cli.verification.agreement import PRECISE, Outcome, check_weights, recorded_reader, tolerance_of
from finst.engine import hooks
from finst.engine import nnsight as nnsight_engine
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import Edit, Row, rows_from, unedited
from finst.engine.reads import Activations, activations
from finst.engine.record import record
from finst.engine.sites import HEAD_SITES, SITES, Site, heads_and_width
from finst.errors import FinstError
from finst.experiments.cma.design import (
    COLOURS,
    CONDITIONS,
    CONTEXTS,
    colours_of,
    contexts_of,
    patched_positions,
    prompt_of,
)
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.stored import StoredMediation, stored_mediation
from finst.scenes.designs import mediation_pairs
from finst.vlm.encode import first_tokens
from finst.vlm.open import VLM, open_reader, open_vlm
from finst.vlm.tokens import TokenMap


@dataclass(frozen=True)
class Replay:
    """The largest differences of one slow engine from the result, in logits."""

    engine: str
    logits: float
    """The largest difference of an edited logit."""
    where: str
    """The cell with that difference."""
    scores: float
    unedited: float
    """The largest difference of an unedited logit."""


@dataclass(frozen=True)
class CellVerification:
    """The result of replaying cells."""

    model: str
    result: str
    """The verified folder, or that it was a new call."""
    dtype: str
    """Number format of the result; the replay is in float32."""
    device: str
    """Kind of device of the result."""
    cells: int
    largest_score: float
    """The largest absolute score of the cells in logits, with which differences can be compared."""
    replays: tuple[Replay, ...]
    tolerance: float
    """How far a logit may differ, in logits, if the result is in one of ``PRECISE``."""
    noise: float | None
    """The largest recorded numerical noise of a score in logits; None without a run."""
    contradiction: str
    """A cell whose stored score does not follow from its stored logits; empty if there is none."""

    @property
    def outcome(self) -> Outcome:
        """Formats coarser than float32 are not judged; a result that contradicts itself is not reproduced in any."""
        if self.contradiction:
            return "not reproduced"
        if self.dtype not in PRECISE:
            return "not judged"
        close = (largest <= self.tolerance for replay in self.replays for largest in (replay.logits, replay.unedited))
        return "reproduced" if all(close) else "not reproduced"

    @property
    def text(self) -> str:
        """The verification for a terminal; the last line states the outcome."""
        lines = [
            f"{self.model}: {self.cells} cells of {self.result} ({self.dtype}, {self.device}), replayed in float32",
            f"{'largest difference of':<24}{'logits':>9}{'scores':>9}{'unedited':>10}   cell of the first",
            *(
                f"{row.engine:<24}{row.logits:>9.1e}{row.scores:>9.1e}{row.unedited:>10.1e}   {row.where}"
                for row in self.replays
            ),
            f"largest score among them: {self.largest_score:.2g} logits",
            f"{self.outcome}: {self._reason()}",
        ]
        return "\n".join(lines)

    def _reason(self) -> str:
        if self.contradiction:
            return f"the stored score of {self.contradiction} does not follow from the stored logits"
        if self.outcome == "not judged":
            largest = max(replay.scores for replay in self.replays)
            return (
                f"the result is in {self.dtype}, which rounds more than float32; the largest difference of a score is "
                f"{largest:.1e} logits, and the largest recorded noise of a score {self.noise or 0:.1e}"
            )
        if self.outcome == "reproduced":
            return f"no logit differs by more than the tolerance of {self.tolerance:.1e}"
        worst = max(self.replays, key=lambda replay: max(replay.logits, replay.unedited))
        return (
            f"{worst.engine} differs by {worst.logits:.1e} logits at {worst.where}, and by {worst.unedited:.1e} "
            f"without edits; the tolerance is {self.tolerance:.1e}"
        )


@dataclass(frozen=True, eq=False)
class _Sample:
    """Cells of a result with their values, and the way to compute them again."""

    names: tuple[str, ...]
    answers: Int[np.ndarray, "cell 2"]
    """The columns of the logits of a1 and a1*."""
    logits: Float[np.ndarray, "cell answer"]
    unedited: Float[np.ndarray, "cell answer"]
    scores: Float[np.ndarray, "cell"]
    again: Callable[[ModuleType], tuple[Float[np.ndarray, "cell answer"], Float[np.ndarray, "cell answer"]]]
    """Edited and unedited logits of the cells by a slow engine."""


def verify_cells(spec: Verify) -> CellVerification:
    """Draws the cells, replays them and compares.

    Raises FinstError, before weights load where that is possible, for an unknown model, a folder that does not hold all
    measured units of a run of causal mediation, a run with rounded logits or those of other tokens than the last, and a
    run of other weights or another revision.
    """
    run = None if spec.run is None else stored_mediation(spec.run)
    if run is not None and (run.spec.readout, run.spec.logits) != ("last", "exact"):
        raise FinstError(
            f"{run.path} holds a run with readout {run.spec.readout!r} and logits {run.spec.logits!r}, which are not "
            "replayed: expected one with 'last' and 'exact'"
        )
    if run is None:
        reader = open_reader(spec.model, revision=spec.revision)
    else:
        reader = recorded_reader(spec, run.path, run.model)
    settings = CMASpec(spec.model) if run is None else run.spec
    CMA().check(settings, reader)
    vlm = open_vlm(reader, dtype="float32", device=spec.device)
    if run is None:
        sample = _sample_of_engine(vlm, spec, settings)
        return _compared(spec, vlm, sample, "a new call of the engine", "float32", vlm.device.type, None)
    check_weights(vlm, run.path, run.model)
    sample = _sample_of_run(vlm, spec, run)
    device = run.model.device.partition(":")[0]
    return _compared(spec, vlm, sample, str(run.path), run.model.dtype, device, run.noise)


def _compared(
    spec: Verify, vlm: VLM, sample: _Sample, result: str, dtype: str, device: str, noise: float | None
) -> CellVerification:
    engines = {"hooks": hooks} | ({"nnsight": nnsight_engine} if find_spec("nnsight") is not None else {})
    replayed = {name: sample.again(engine) for name, engine in engines.items()}
    largest = max(float(abs(logits).max()) for both in replayed.values() for logits in both)
    expected = _scores(sample, sample.logits, sample.unedited)
    wrong = [name for name, fine in zip(sample.names, abs(sample.scores - expected) <= 1e-9, strict=True) if not fine]
    return CellVerification(
        model=spec.model,
        result=result,
        dtype=dtype,
        device=device,
        cells=len(sample.names),
        largest_score=float(abs(sample.scores).max()),
        replays=tuple(_replay(name, sample, *both) for name, both in replayed.items()),
        tolerance=tolerance_of(largest, device, vlm.device.type),
        noise=noise,
        contradiction=wrong[0] if wrong else "",
    )


def _scores(
    sample: _Sample, logits: Float[np.ndarray, "cell answer"], kept: Float[np.ndarray, "cell answer"]
) -> Float[np.ndarray, "cell"]:
    patched, unedited = (np.take_along_axis(values, sample.answers, axis=1) for values in (logits, kept))
    return mediation.scores(patched, unedited)


def _replay(
    engine: str, sample: _Sample, logits: Float[np.ndarray, "cell answer"], kept: Float[np.ndarray, "cell answer"]
) -> Replay:
    differences = abs(logits - sample.logits).max(axis=1)
    return Replay(
        engine,
        float(differences.max()),
        sample.names[int(differences.argmax())],
        float(abs(_scores(sample, logits, kept) - sample.scores).max()),
        float(abs(kept - sample.unedited).max()),
    )


def _numbers(logits: Float[Tensor, "row answer"]) -> Float[np.ndarray, "row answer"]:
    return logits.double().cpu().numpy()


def _sample_of_run(vlm: VLM, spec: Verify, run: StoredMediation) -> _Sample:
    """Different cells of a run; all of them if it has no more."""
    shape = run.scores.shape
    if shape[2:] != (vlm.n_layers, vlm.n_heads):
        raise FinstError(
            f"{run.path} is damaged: it holds {shape[2]} layers of {shape[3]} heads, and {spec.model} has "
            f"{vlm.n_layers} of {vlm.n_heads}"
        )
    drawn = np.random.default_rng(spec.seed).choice(run.scores.size, min(spec.cells, run.scores.size), replace=False)
    cells = np.stack(np.unravel_index(np.sort(drawn), shape), axis=1)
    pair, condition, layer, head = cells.T
    stages = list(CONDITIONS.items())
    colours = [[COLOURS.index(c) for c in (stage.original, stage.counterfactual)] for _, stage in stages]
    return _Sample(
        names=tuple(f"pair {run.pairs[p]}, {stages[c][0]}, L{layer}H{head}" for p, c, layer, head in cells),
        answers=np.array(colours)[condition],
        logits=run.patched[pair, condition, layer, head].astype(np.float64),
        unedited=run.unedited[pair, condition].astype(np.float64),
        scores=run.scores[pair, condition, layer, head],
        again=partial(_replayed, vlm, run, cells),
    )


def _replayed(
    vlm: VLM, run: StoredMediation, cells: Int[np.ndarray, "cell 4"], engine: ModuleType
) -> tuple[Float[np.ndarray, "cell answer"], Float[np.ndarray, "cell answer"]]:
    """Edited and unedited logits of a run's cells by a slow engine, pair by pair, from scenes to logits."""
    edited, kept = (np.empty((len(cells), len(COLOURS))) for _ in range(2))
    design = mediation_pairs(run.spec.pairs, run.spec.seed)
    conditions = list(CONDITIONS.values())
    for index in np.unique(cells[:, 0]):
        pair = design[run.pairs[index]]
        contexts = contexts_of(vlm.reader, run.spec, pair)
        tokens = first_tokens(vlm.reader, prompt_of(run.spec, pair), colours_of(pair))
        here = np.flatnonzero(cells[:, 0] == index)
        sources = {conditions[c].source for c in cells[here, 1]}
        z = {source: engine.record_z(vlm, contexts[CONTEXTS.index(source)]) for source in sources}
        rows: list[Row] = []
        for _, c, layer, head in cells[here]:
            positions = patched_positions(contexts[0], conditions[c])
            value = z[conditions[c].source][layer, list(positions)][:, [head]]
            rows.append((Edit(int(layer), (int(head),), positions, value),))
        logits = _numbers(engine.counterfactuals(vlm, contexts[0], unedited() + rows_from(rows), tokens))
        kept[here], edited[here] = logits[0], logits[1:]
    return edited, kept


def _sample_of_engine(vlm: VLM, spec: Verify, settings: CMASpec) -> _Sample:
    """Random edits of one pair's clean context, in one call of the engine."""
    rng = np.random.default_rng(spec.seed)
    pair = mediation_pairs(1, spec.seed)[0]
    contexts = contexts_of(vlm.reader, settings, pair)[:2]
    described, target, _ = first_tokens(vlm.reader, prompt_of(settings, pair), colours_of(pair))
    values = activations(vlm, contexts, SITES)
    sites: list[Site] = [SITES[index] for index in np.resize(rng.permutation(len(SITES)), spec.cells)]
    edits = [_random_edit(vlm, rng, contexts[0].tokens, site, values[site]) for site in sites]
    rows = unedited() + rows_from([(edit,) for edit in edits])
    answers = (target, described)

    def again(engine: ModuleType) -> tuple[Float[np.ndarray, "cell answer"], Float[np.ndarray, "cell answer"]]:
        logits = _numbers(engine.counterfactuals(vlm, contexts[0], rows, answers))
        return logits[1:], np.repeat(logits[:1], len(edits), axis=0)

    logits = _numbers(counterfactuals(vlm, record(vlm, contexts[:1])[0], rows, answers))
    return _Sample(
        names=tuple(_name(edit) for edit in edits),
        answers=np.tile([0, 1], (len(edits), 1)),
        logits=logits[1:],
        unedited=np.repeat(logits[:1], len(edits), axis=0),
        scores=mediation.scores(logits[1:], logits[:1]),
        again=again,
    )


def _random_edit(vlm: VLM, rng: np.random.Generator, tokens: TokenMap, site: Site, values: Activations) -> Edit:
    """A random edit of one head (or whole vector) at an object's words or image tokens, the last, or any token."""
    layer, heads = int(rng.integers(vlm.n_layers)), heads_and_width(vlm, site)[0]
    chosen = [int(rng.integers(heads))] if site in HEAD_SITES else []
    any_token = (int(rng.integers(len(tokens))),)
    image_tokens = tokens.positions("image") if tokens.unplaced else tokens.object_patches(0)
    places = (tokens.described(0), image_tokens, (tokens.last,), any_token)
    positions = places[rng.integers(len(places))]
    clean, source = (x[layer, list(positions)][:, chosen] if chosen else x[layer, list(positions)] for x in values)
    where = (layer, tuple(chosen), positions)
    kind = rng.integers(3)
    if kind == 0:
        return Edit(*where, op="zero", site=site)
    if kind == 1:
        return Edit(*where, source, site)
    return Edit(*where, source - clean, site, "add", float(rng.uniform(-2, 2)))


def _name(edit: Edit) -> str:
    heads = "".join(f"H{head}" for head in edit.heads)
    return f"{edit.op} {edit.site} of L{edit.layer}{heads} at {', '.join(map(str, edit.positions))}"
