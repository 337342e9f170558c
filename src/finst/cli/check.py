"""``finst check``: whether a model fits this machine, and an estimate of run times, without its weights."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText

from finst.bench.clock import device_name
from finst.bench.contexts import SUFFIX, synthetic_contexts
from finst.bench.costs import Costs, decoder_size, floor_of, tower
from finst.bench.peaks import measured_peaks
from finst.bench.subject import Pair
from finst.cli.options import Check
from finst.errors import FinstError
from finst.experiments.cma.design import CONDITIONS, CONTEXTS, contexts_of
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.registry import REGISTRY
from finst.runs.experiment import Experiment
from finst.scenes.designs import mediation_pairs
from finst.vlm.open import DTYPES, VLM, Reader, open_reader, placement, quiet
from finst.vlm.published import published

PAIRS_AT_ONCE = CMASpec.pairs_per_unit

SHARES = (0.25, 0.8)
"""The fraction of the highest possible speed (by arithmetic and memory) that maps reach on one H100, as a range rounded
outwards (docs/benchmarks.md)."""


@dataclass(frozen=True)
class WeightsFit:
    """The size of the weights in one number format."""

    dtype: str
    weights_bytes: int
    fits: bool
    """Whether they leave a fifth of the free memory for everything else."""


@dataclass(frozen=True)
class ModelCheck:
    """The result of ``check``; sizes in bytes, times in seconds."""

    model: str
    source: str
    """Where its configuration comes from."""
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
    flops_per_s: float
    """Speed of matrix products, measured now on this device in this number format."""
    bytes_per_s: float
    floor_s: float
    """The shortest time that arithmetic and memory traffic allow."""
    estimate_s: tuple[float, float]
    """``floor_s`` divided by the largest and by the smallest of ``SHARES``."""

    @property
    def text(self) -> str:
        """The result for a terminal."""
        least, most = map(_span, self.estimate_s)
        sizes = [
            f"  {fit.dtype:<9}{fit.weights_bytes / 2**30:7.1f} GiB   {'fits' if fit.fits else 'does not fit'}"
            for fit in self.fits
        ]
        rates = f"{self.flops_per_s / 1e9:,.1f} GFLOP/s and {self.bytes_per_s / 1e9:.0f} GB/s"
        return "\n".join(
            [
                f"{self.model} ({self.architecture}), by {self.source}",
                f"  {self.parameters:,} weights, {self.layers} layers, {self.heads} heads, {self.kv_heads} KV heads",
                f"{self.device}, {self.free_bytes / 2**30:.1f} GiB free",
                *sizes,
                *(f"finst run {name}: {answer}" for name, answer in self.experiments.items()),
                f"causal mediation of {self.pairs} pairs in {self.dtype}: an estimated {least} to {most}",
                f"  based on {rates}, measured now; at these rates the minimum is {_span(self.floor_s)},",
                f"  and finst reached {SHARES[0]:.0%} to {SHARES[1]:.0%} of this speed on an H100.",
                "  Loading, statistics and figures are not included.",
            ]
        )


def check(spec: Check) -> ModelCheck:
    """Reads configuration and tokenizer, builds the model without memory, and measures the device's rates.

    Raises FinstError for an unknown model, an unsupported architecture, a dtype or device that is not available, and
    fewer than one pair.
    """
    if spec.pairs < 1:
        raise FinstError(f"pairs must be at least 1, not {spec.pairs}")
    dtype, device = placement(spec.dtype, spec.device)
    reader, source = _reader(spec)
    with quiet(), torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(reader.config, dtype=dtype)
    vlm = VLM(reader, model.eval())
    weights, available = sum(parameter.numel() for parameter in model.parameters()), free_bytes(device)
    sizes = {name: weights * known.itemsize for name, known in DTYPES.items() if name in ("float32", "bfloat16")}
    peaks = measured_peaks(device, dtype)
    costs = Costs(decoder_size(vlm), tower(vlm, _pair(reader, 0)[0]), peaks)
    floor = _floor_s(vlm, costs, spec.pairs)
    return ModelCheck(
        spec.model,
        source,
        reader.config.model_type,
        weights,
        vlm.n_layers,
        vlm.n_heads,
        vlm.n_kv_heads,
        device_name(device),
        available,
        tuple(WeightsFit(name, size, size <= 0.8 * available) for name, size in sizes.items()),
        _experiments(spec, reader),
        spec.dtype,
        spec.pairs,
        peaks.flops_per_s,
        peaks.bytes_per_s,
        floor,
        (floor / SHARES[1], floor / SHARES[0]),
    )


def _reader(spec: Check) -> tuple[Reader, str]:
    """The reader from the model's small files or, if these are unavailable, from its published shape; and which."""
    shape = published(spec.model)
    if shape is not None and spec.model == shape.name:
        return shape.reader(), "finst's registry of published shapes"
    try:
        reader = open_reader(spec.model, revision=spec.revision)
    except FinstError:
        if shape is None:
            raise
        return replace(
            shape.reader(), id=spec.model
        ), "finst's registry of published shapes (its files are unavailable)"
    return reader, f"its files in {reader.path}"


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


def free_bytes(device: torch.device) -> int:
    """The free memory of a device in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) << 10


def _span(seconds: float) -> str:
    """A time in a readable unit."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
