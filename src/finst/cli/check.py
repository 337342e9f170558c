"""``finst check``: whether a model runs here or elsewhere, and an estimate of run times, without its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText

from finst.bench.clock import device_name, measured_peaks
from finst.bench.contexts import SUFFIX, synthetic_contexts
from finst.bench.limits.costs import Costs, decoder_size, floor_of, tower
from finst.bench.limits.floor import Peaks
from finst.bench.subject import Pair
from finst.cli.machines import machine
from finst.cli.options import Check
from finst.errors import FinstError
from finst.experiments.cma.design import CONDITIONS, CONTEXTS, contexts_of
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.registry import REGISTRY
from finst.runs.experiment import Experiment
from finst.scenes.designs import mediation_pairs
from finst.vlm.checkpoint.hub import UnavailableError
from finst.vlm.memory import GIB, free_bytes, weights_of
from finst.vlm.names import is_folder, shadowed
from finst.vlm.open import DTYPES, VLM, Reader, open_reader, quiet, rehearse
from finst.vlm.placement import EVERYWHERE, placed
from finst.vlm.published import published

PAIRS_AT_ONCE = CMASpec.pairs_per_unit

SHARES = (0.25, 0.8)
"""The fraction of the highest possible speed (by arithmetic and memory) that maps reach on one H100, as a range rounded
outwards (docs/benchmarks.md)."""

FOR_WEIGHTS = 0.8
"""The part of the free memory that weights may take; the rest is for everything else."""

_BYTES = {**{name: float(known.itemsize) for name, known in DTYPES.items()}, "8bit": 1.0, "4bit": 0.5}
"""Bytes a weight in each number format."""


@dataclass(frozen=True)
class WeightsFit:
    """The size of the weights in one number format."""

    dtype: str
    weights_bytes: int
    fits: bool
    """Whether they leave a fifth of the free memory for everything else."""
    short_bytes: int
    """How many more bytes of weights than that; 0 if they fit."""


@dataclass(frozen=True)
class Target:
    """Where the model would run."""

    name: str
    free_bytes: int
    dtype: torch.dtype
    peaks: Peaks | None
    """The rates of large products and copies; None if they are unknown."""
    source: str
    """Where these come from."""
    lacks: str = ""
    """Why it has no such numbers; empty if it has."""


@dataclass(frozen=True)
class ModelCheck:
    """The result of ``check``; sizes in bytes, times in seconds."""

    model: str
    source: str
    """Where its configuration comes from."""
    conversation: str
    """Who says how a conversation is written."""
    architecture: str
    parameters: int
    layers: int
    heads: int
    kv_heads: int
    device: str
    free_bytes: int
    fits: tuple[WeightsFit, ...]
    experiments: dict[str, str]
    """"yes", or why not."""
    dtype: str
    pairs: int
    rates: str
    """Where the next two come from."""
    flops_per_s: float | None
    """Speed of matrix products on this device in this number format; None if it is unknown."""
    bytes_per_s: float | None
    floor_s: float | None
    """The shortest time that arithmetic and memory traffic allow."""
    estimate_s: tuple[float, float] | None
    """``floor_s`` divided by the largest and by the smallest of ``SHARES``."""

    @property
    def text(self) -> str:
        """The result for a terminal."""
        return "\n".join(
            [
                f"{self.model} ({self.architecture}), by {self.source}",
                f"  {self.parameters:,} weights, {self.layers} layers, {self.heads} heads, {self.kv_heads} KV heads",
                f"  conversations by {self.conversation}",
                f"{self.device}, {self.free_bytes / GIB:.1f} GiB free",
                *map(_size, self.fits),
                *(f"finst run {name}: {answer}" for name, answer in self.experiments.items()),
                *self._times(),
            ]
        )

    def _times(self) -> list[str]:
        if self.floor_s is None or self.estimate_s is None or self.flops_per_s is None or self.bytes_per_s is None:
            return [f"causal mediation of {self.pairs} pairs in {self.dtype}: no estimate, since {self.rates}"]
        least, most = map(_span, self.estimate_s)
        rates = f"{self.flops_per_s / 1e9:,.1f} GFLOP/s and {self.bytes_per_s / 1e9:.0f} GB/s"
        return [
            f"causal mediation of {self.pairs} pairs in {self.dtype}: an estimated {least} to {most}",
            f"  based on {rates}, {self.rates}; at these rates the minimum is {_span(self.floor_s)},",
            f"  and finst reached {SHARES[0]:.0%} to {SHARES[1]:.0%} of this speed on an H100.",
            "  Loading, statistics and figures are not included.",
        ]


def check(spec: Check) -> ModelCheck:
    """A rehearsal: everything that ``finst run`` does before it reads weights, and sizes and times.

    Raises FinstError, in the words of ``finst run``, for whatever a run would refuse: an unknown model, a damaged,
    quantised or unsupported checkpoint, a dtype or device that is not available; and for fewer than one pair and an
    unknown machine. Published models whose files are unavailable are described by finst's registry.
    """
    if spec.pairs < 1:
        raise FinstError(f"pairs must be at least 1, not {spec.pairs}")
    elsewhere = None if spec.on is None else machine(spec.on)
    if elsewhere is not None and spec.device != "auto":
        raise FinstError(f"both --device {spec.device} and --on {spec.on} were given: expected one of the two")
    reader, source, why_not = _reader(spec)
    target = _here(spec, reader) if elsewhere is None else _there(spec)
    model, gone = _model(reader)
    unavailable = "" if elsewhere is not None else why_not or gone
    vlm = VLM(reader, model.to(target.dtype))
    weights, room = weights_of(model), FOR_WEIGHTS * target.free_bytes
    shown = dict.fromkeys(("float32", "float16" if _no_bfloat16(spec) else "bfloat16", spec.dtype))
    sizes = {dtype: int(weights * _BYTES[dtype]) for dtype in shown}
    fits = tuple(WeightsFit(name, size, size <= room, max(0, int(size - room))) for name, size in sizes.items())
    own = fits[list(sizes).index(spec.dtype)]
    small = "" if own.fits else f"{own.short_bytes / GIB:.1f} GiB too few for its weights in {spec.dtype}"
    why_not = target.lacks or small or unavailable
    floor = None
    if target.peaks is not None:
        costs = Costs(decoder_size(vlm), tower(vlm, _pair(reader, 0)[0]), target.peaks)
        floor = _floor_s(vlm, costs, spec.pairs)
    return ModelCheck(
        spec.model,
        source,
        reader.conversation,
        reader.config.model_type,
        weights,
        vlm.n_layers,
        vlm.n_heads,
        vlm.n_kv_heads,
        target.name,
        target.free_bytes,
        fits,
        {name: f"no: {why_not}" for name in REGISTRY} if why_not else _experiments(spec, reader),
        spec.dtype,
        spec.pairs,
        target.source,
        None if target.peaks is None else target.peaks.flops_per_s,
        None if target.peaks is None else target.peaks.bytes_per_s,
        floor,
        None if floor is None else (floor / SHARES[1], floor / SHARES[0]),
    )


def _reader(spec: Check) -> tuple[Reader, str, str]:
    """The reader and its source: the model's small files or, if these are unavailable, its published shape.

    A folder is taken before a shape of the same name, as ``finst run`` takes it. The third is why a run is not possible
    now, if so.
    """
    shape = published(spec.model)
    if shape is not None and spec.model == shape.name and not is_folder(spec.model):
        if spec.revision is not None:
            raise FinstError(f"{spec.model} has no revision {spec.revision!r}: only models of the hub have revisions")
        return shape.reader(), "finst's registry of published shapes", ""
    try:
        reader = open_reader(spec.model, revision=spec.revision)
    except UnavailableError as error:
        if shape is None:
            raise
        source = f"finst's registry of published shapes, since its files are unavailable: {error}"
        return replace(shape.reader(), id=spec.model), source, "its files are unavailable (see above)"
    note = shadowed(spec.model)
    return reader, f"its files in {reader.path}" + (f" ({note})" if note else ""), ""


def _model(reader: Reader) -> tuple[Any, str]:
    """The model on the meta device; and why a run is not possible now, if so."""
    if reader.tokenizer is not None:
        try:
            return rehearse(reader), ""
        except UnavailableError as error:
            return _skeleton(reader), str(error)
    return _skeleton(reader), ""


def _skeleton(reader: Reader) -> Any:
    with quiet(), torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(reader.config)
    return model.eval().requires_grad_(False)


def _here(spec: Check, reader: Reader) -> Target:
    """This machine; the rates are measured now."""
    place = placed(reader.config, spec.dtype, spec.device)
    devices = [place.device]
    if spec.device == EVERYWHERE:
        devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    name = " and ".join(dict.fromkeys(map(device_name, devices))) + (f" ({len(devices)})" if len(devices) > 1 else "")
    peaks = measured_peaks(place.device, place.dtype)
    return Target(name, sum(map(free_bytes, devices)), place.dtype, peaks, "measured now")


def _there(spec: Check) -> Target:
    """Another machine; the rates follow from data sheets."""
    other = machine(spec.on or "")
    free, dtype, rates = int(other.memory_gib * GIB), DTYPES.get(spec.dtype, torch.bfloat16), other.rates(spec.dtype)
    lacks = other.lacks(spec.dtype)
    if rates is None:
        return Target(other.name, free, dtype, None, lacks or "its rates in this format are unknown", lacks)
    return Target(other.name, free, dtype, Peaks(*rates), "what large products may reach by its data sheet")


def _no_bfloat16(spec: Check) -> bool:
    return spec.on is not None and bool(machine(spec.on).lacks("bfloat16"))


def _experiments(options: Check, reader: Reader) -> dict[str, str]:
    """Whether each experiment accepts the model, by the checks that it makes before weights load."""
    answers = {}
    for name, entry in REGISTRY.items():
        experiment = entry.load()
        settings = experiment.spec(model=options.model, revision=options.revision)
        if name == CMA.name:
            settings = replace(settings, pairs=max(options.pairs, 2))
        answers[name] = _answer(experiment, settings, reader)
    return answers


def _answer(experiment: Experiment[Any], settings: Any, reader: Reader) -> str:
    if reader.tokenizer is None:
        return "yes, if the colours begin with different tokens"
    try:
        experiment.check(settings, reader)
    except FinstError as refusal:
        return f"no: {refusal}"
    return "yes"


def _pair(reader: Reader, index: int) -> Pair:
    """A pair of causal mediation; without a tokenizer, synthetic contexts of about the same length."""
    scenes = mediation_pairs(PAIRS_AT_ONCE, seed=0)[index]
    if reader.tokenizer is not None:
        return tuple(contexts_of(reader, CMASpec(), scenes))
    rng, px = np.random.default_rng(index), scenes.clean.width
    return synthetic_contexts(reader, tokens=None, suffix=SUFFIX, count=len(CONTEXTS), rng=rng, picture_px=px)


def _floor_s(vlm: VLM, costs: Costs, pairs: int) -> float:
    """The shortest time of all pairs, in units as in a run."""
    whole, rest = divmod(pairs, PAIRS_AT_ONCE)
    samples = [_pair(vlm.reader, index) for index in range(min(pairs, PAIRS_AT_ONCE))]
    conditions = tuple(CONDITIONS.values())
    unit = floor_of(costs, samples, conditions).seconds if whole else 0.0
    last = floor_of(costs, samples[:rest], conditions).seconds if rest else 0.0
    return whole * unit + last


def _size(fit: WeightsFit) -> str:
    """A line of the table of number formats."""
    answer = "fits" if fit.fits else f"does not fit, {fit.short_bytes / GIB:.1f} GiB too few"
    return f"  {fit.dtype:<9}{fit.weights_bytes / GIB:7.1f} GiB   {answer}"


def _span(seconds: float) -> str:
    """A time in a readable unit."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
