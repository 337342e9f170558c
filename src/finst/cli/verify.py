"""``finst verify``: random cells of a result once more, each by a full forward pass of its own, in float32.

The slow twins share no shortcut with the engine: plain hooks and, where it is installed, nnsight. They are held against
a stored run of causal mediation or, without one, against a fresh call of the engine at all of its sites.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from finst.analysis import mediation
from finst.cli.options import Verify
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
from finst.vlm.open import VLM, Reader, open_reader, open_vlm
from finst.vlm.tokens import TokenMap

TOLERANCE = 1e-4
"""Of a logit in float32, in logits, where logits are no larger than 10; larger ones round in proportion."""

ACROSS_DEVICES = 10
"""Times that when the result is from another kind of device, which adds up every product in another order."""

PRECISE = ("float32", "float64", "bf16x6")
"""Number formats that round no more than float32."""


@dataclass(frozen=True)
class Replay:
    """How far one slow twin is from the result: the largest differences, in logits."""

    engine: str
    logits: float
    where: str
    """The cell with that difference."""
    scores: float
    unedited: float
    """Of the logits of the runs without an edit."""


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found."""

    model: str
    result: str
    """What was verified."""
    dtype: str
    """Number format of the result; that of the replay is float32."""
    device: str
    """Kind of device of the result."""
    cells: int
    largest_score: float
    """Of the cells, absolute, in logits: what a difference is to be compared with."""
    replays: tuple[Replay, ...]
    tolerance: float
    """What a logit may differ by, in logits, if the result is in one of ``PRECISE``."""
    noise: float | None
    """The largest numerical noise of a score that the run recorded, in logits; None without a run."""
    contradiction: str
    """A cell whose stored score is not the one that its stored logits give; empty if there is none."""

    @property
    def outcome(self) -> Literal["reproduced", "not reproduced", "not judged"]:
        """Coarser formats are not judged by float32's tolerance; a result that contradicts itself is, in any."""
        if self.contradiction:
            return "not reproduced"
        if self.dtype not in PRECISE:
            return "not judged"
        close = (largest <= self.tolerance for replay in self.replays for largest in (replay.logits, replay.unedited))
        return "reproduced" if all(close) else "not reproduced"


@dataclass(frozen=True, eq=False)
class _Sample:
    """Cells of a result, what it says of them, and the way to compute them again."""

    names: tuple[str, ...]
    answers: Int[np.ndarray, "cell 2"]
    """Which of the logits are those of a1 and a1*."""
    logits: Float[np.ndarray, "cell answer"]
    unedited: Float[np.ndarray, "cell answer"]
    scores: Float[np.ndarray, "cell"]
    again: Callable[[ModuleType], tuple[Float[np.ndarray, "cell answer"], Float[np.ndarray, "cell answer"]]]
    """Edited and unedited logits of the cells by a slow twin."""


def verify(spec: Verify) -> Verification:
    """Draws the cells, replays them and compares.

    Raises FinstError, before weights load where that can be known, for an unknown model, fewer than one cell, a folder
    that holds no whole run of causal mediation, a run whose logits are rounded or those of other tokens than the last,
    and a run of other weights or another revision.
    """
    if spec.cells < 1 or spec.seed < 0:
        raise FinstError(f"expected at least 1 cell and a seed from 0 on; got {spec.cells} cells and seed {spec.seed}")
    run = None if spec.run is None else stored_mediation(spec.run)
    if run is not None and (run.spec.readout, run.spec.logits) != ("last", "exact"):
        raise FinstError(
            f"{run.path} holds a run with readout {run.spec.readout!r} and logits {run.spec.logits!r}, which are not "
            "replayed: expected one with 'last' and 'exact'"
        )
    reader = _reader(spec, run)
    mediated = CMASpec(spec.model) if run is None else run.spec
    CMA().check(mediated, reader)
    vlm = open_vlm(reader, dtype="float32", device=spec.device)
    if run is None:
        sample = _fresh(vlm, spec, mediated)
        return _compared(spec, vlm, sample, "a fresh call of the engine", "float32", vlm.device.type, None)
    if vlm.weights_hash != run.model.hash:
        raise FinstError(
            f"{run.path} holds a run of other weights ({run.model.hash[:12]} of {run.model.id}) than those of "
            f"{spec.model} ({vlm.weights_hash[:12]}): expected the model that was measured"
        )
    sample = _drawn(vlm, spec, run)
    device = run.model.device.partition(":")[0]
    return _compared(spec, vlm, sample, str(run.path), run.model.dtype, device, run.noise)


def _reader(spec: Verify, run: StoredMediation | None) -> Reader:
    """Of the run's revision, unless another one is asked for, which is then refused."""
    if run is None:
        return open_reader(spec.model, revision=spec.revision)
    same = spec.model == run.model.id
    reader = open_reader(spec.model, revision=spec.revision or (run.model.revision if same else None))
    if reader.revision != run.model.revision:
        raise FinstError(
            f"{run.path} holds a run of {run.model.id} at revision {run.model.revision}, not of {spec.model} at "
            f"{reader.revision}: expected the model that was measured"
        )
    return reader


def _compared(
    spec: Verify, vlm: VLM, sample: _Sample, result: str, dtype: str, device: str, noise: float | None
) -> Verification:
    engines = {"hooks": hooks} | ({"nnsight": nnsight_engine} if find_spec("nnsight") is not None else {})
    replayed = {name: sample.again(engine) for name, engine in engines.items()}
    largest = max(float(abs(logits).max()) for both in replayed.values() for logits in both)
    across = 1 if device == vlm.device.type else ACROSS_DEVICES
    own = _scores(sample, sample.logits, sample.unedited)
    wrong = [name for name, fine in zip(sample.names, abs(sample.scores - own) <= 1e-9, strict=True) if not fine]
    return Verification(
        model=spec.model,
        result=result,
        dtype=dtype,
        device=device,
        cells=len(sample.names),
        largest_score=float(abs(sample.scores).max()),
        replays=tuple(_replay(name, sample, *both) for name, both in replayed.items()),
        tolerance=TOLERANCE * max(1.0, largest / 10) * across,
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


def _drawn(vlm: VLM, spec: Verify, run: StoredMediation) -> _Sample:
    """Cells of a run, none twice; all of them if it has no more."""
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
    """A run's cells, pair by pair, from scenes to logits."""
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


def _fresh(vlm: VLM, spec: Verify, mediated: CMASpec) -> _Sample:
    """Random edits of one pair's clean context, all of them in one call of the engine."""
    rng = np.random.default_rng(spec.seed)
    pair = mediation_pairs(1, spec.seed)[0]
    contexts = contexts_of(vlm.reader, mediated, pair)[:2]
    described, target, _ = first_tokens(vlm.reader, prompt_of(mediated, pair), colours_of(pair))
    inside = activations(vlm, contexts, SITES)
    sites: list[Site] = [SITES[index] for index in np.resize(rng.permutation(len(SITES)), spec.cells)]
    edits = [_random_edit(vlm, rng, contexts[0].tokens, site, inside[site]) for site in sites]
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


def _random_edit(vlm: VLM, rng: np.random.Generator, tokens: TokenMap, site: Site, inside: Activations) -> Edit:
    """One head (or whole vector) at an object's words or image tokens, the last token, or any one token."""
    layer, heads = int(rng.integers(vlm.n_layers)), heads_and_width(vlm, site)[0]
    chosen = [int(rng.integers(heads))] if site in HEAD_SITES else []
    anywhere = (int(rng.integers(len(tokens))),)
    seen = tokens.positions("image") if tokens.unplaced else tokens.object_patches(0)
    kinds = (tokens.described(0), seen, (tokens.last,), anywhere)
    positions = kinds[rng.integers(len(kinds))]
    clean, source = (x[layer, list(positions)][:, chosen] if chosen else x[layer, list(positions)] for x in inside)
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


def table(found: Verification) -> str:
    """The verification for a terminal; the last line says what came out."""
    lines = [
        f"{found.model}: {found.cells} cells of {found.result} ({found.dtype}, {found.device}), replayed in float32",
        f"{'largest difference of':<24}{'logits':>9}{'scores':>9}{'unedited':>10}   cell of the first",
        *(
            f"{replay.engine:<24}{replay.logits:>9.1e}{replay.scores:>9.1e}{replay.unedited:>10.1e}   {replay.where}"
            for replay in found.replays
        ),
        f"largest score among them: {found.largest_score:.2g} logits",
        f"{found.outcome}: {_reason(found)}",
    ]
    return "\n".join(lines)


def _reason(found: Verification) -> str:
    if found.contradiction:
        return f"the stored score of {found.contradiction} is not the one that the stored logits give"
    if found.outcome == "not judged":
        largest = max(replay.scores for replay in found.replays)
        return (
            f"the result is in {found.dtype}, which rounds more than float32; the largest difference of a score is "
            f"{largest:.1e} logits, the largest noise of a score that the run recorded {found.noise or 0:.1e}"
        )
    if found.outcome == "reproduced":
        return f"no logit differs by more than the tolerance of {found.tolerance:.1e}"
    worst = max(found.replays, key=lambda replay: max(replay.logits, replay.unedited))
    return (
        f"{worst.engine} differs by {worst.logits:.1e} logits at {worst.where}, and by {worst.unedited:.1e} in "
        f"unedited runs; the tolerance is {found.tolerance:.1e}"
    )
