"""What all of ``finst verify`` shares: the recorded model, opened again, and how far numbers may differ."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from finst.cli.options import Verify
from finst.errors import FinstError
from finst.runs.manifest import ModelRecord
from finst.vlm.open import VLM, Reader, open_reader

Outcome = Literal["reproduced", "not reproduced", "not judged"]

TOLERANCE = 1e-4
"""How far a number in float32 may differ, if all are at most 10 in size; larger ones round in proportion."""

ACROSS_DEVICES = 10
"""Factor of the tolerance for a result from another kind of device, which adds up products in another order."""

PRECISE = ("float32", "float64", "bf16x6")
"""Number formats that round no more than float32."""


def tolerance_of(largest: float, recorded: str, device: str) -> float:
    """How far numbers of at most this size may differ between two devices, such as ``cuda:0`` and ``cpu``."""
    same = recorded.partition(":")[0] == device.partition(":")[0]
    return TOLERANCE * max(1.0, largest / 10) * (1 if same else ACROSS_DEVICES)


def recorded_reader(options: Verify, run: Path, model: ModelRecord) -> Reader:
    """The reader of the options' model, by default at the run's revision.

    Raises FinstError for an unknown model, and for another revision than the run's.
    """
    same = options.model == model.id
    reader = open_reader(options.model, revision=options.revision or (model.revision if same else None))
    if reader.revision != model.revision:
        raise FinstError(
            f"{run} holds a run of {model.id} at revision {model.revision}, not of {options.model} at "
            f"{reader.revision}: expected the model that was measured"
        )
    return reader


def check_weights(vlm: VLM, run: Path, model: ModelRecord) -> None:
    """Raises FinstError for other weights than the run's."""
    if vlm.weights_hash != model.hash:
        raise FinstError(
            f"{run} holds a run of other weights ({model.hash[:12]} of {model.id}) than those of "
            f"{vlm.reader.id} ({vlm.weights_hash[:12]}): expected the model that was measured"
        )
