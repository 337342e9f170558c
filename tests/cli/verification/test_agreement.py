"""How far numbers may differ, and which model a run may be verified with."""

from __future__ import annotations

from pathlib import Path

import pytest

from finst.cli.options import Verify
from finst.cli.verification.agreement import ACROSS_DEVICES, TOLERANCE, check_weights, recorded_reader, tolerance_of
from finst.errors import FinstError
from finst.runs.manifest import ModelRecord
from finst.vlm.open import open_vlm

RUN = Path("runs/some")


def test_the_tolerance_grows_with_the_numbers_and_across_kinds_of_devices() -> None:
    assert tolerance_of(0.0, "cpu", "cpu") == tolerance_of(10.0, "cpu", "cpu") == TOLERANCE
    assert tolerance_of(40.0, "cpu", "cpu") == 4 * TOLERANCE
    assert tolerance_of(1.0, "cuda:0", "cuda:1") == TOLERANCE
    assert tolerance_of(40.0, "cuda:0", "cpu") == 4 * ACROSS_DEVICES * TOLERANCE


def test_the_model_must_have_the_recorded_revision_and_weights(tiny: Path) -> None:
    vlm = open_vlm(str(tiny), device="cpu")
    record = ModelRecord(str(tiny), None, vlm.weights_hash, "float32", "cpu")
    assert recorded_reader(Verify(str(tiny)), RUN, record).path == tiny
    check_weights(vlm, RUN, record)
    with pytest.raises(FinstError, match="at revision v2, not of"):
        recorded_reader(Verify(str(tiny)), RUN, ModelRecord("other", "v2", "0", "float32", "cpu"))
    with pytest.raises(FinstError, match="holds a run of other weights"):
        check_weights(vlm, RUN, ModelRecord(str(tiny), None, "0" * 64, "float32", "cpu"))
