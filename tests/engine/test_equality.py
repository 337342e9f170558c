"""The engine against the plain hook loop and nnsight: the same numbers for every head and every kind of position."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from finst.engine import hooks, nnsight
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import Edit, each_head, rows_from, unedited
from tests.engine.conftest import Case, OpenCase
from tests.engine.rows import rows_at_all_sites
from tests.tiny import QWEN_GEOMETRY, Body

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
BODIES = {
    "grouped": Body(),
    "qwen": QWEN_GEOMETRY,
    "one_kv_head": Body(kv_heads=1, layers=2),
    "no_groups": Body(kv_heads=4, layers=2),
}


@pytest.mark.parametrize("reference", [hooks, nnsight], ids=["hooks", "nnsight"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("body", BODIES)
def test_all_heads_and_positions(open_case: OpenCase, body: str, dtype: str, reference: ModuleType) -> None:
    case = open_case(BODIES[body], dtype)
    rows = unedited()
    for source in (1, 2):
        z = reference.record_z(case.vlm, case.contexts[source])
        assert (z - case.recording.z[source]).abs().max() < TOLERANCE[dtype]
        for positions in case.positions.values():
            rows = rows + each_head(z, positions)
    ours = counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    theirs = reference.counterfactuals(case.vlm, case.clean, rows, case.answers)
    assert (ours - theirs).abs().max() < TOLERANCE[dtype]
    assert (theirs[1:] - theirs[0]).abs().max() > 0.01


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_unedited_row_is_the_clean_run(open_case: OpenCase, dtype: str) -> None:
    case = open_case(Body(), dtype)
    rows = unedited() + each_head(case.recording.z[1], case.positions["described"]) + unedited(2)
    logits = counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    clean = case.recording.logits[0, list(case.answers)]
    noise = 1e-5 if dtype == "float32" else 0.05
    for row in (0, -2, -1):
        assert (logits[row] - clean).abs().max() < noise
    assert logits.dtype == clean.dtype == torch.float32


def test_recorded_logits_are_the_whole_models(case: Case) -> None:
    vlm, context = case.vlm, case.clean
    with torch.inference_mode():
        output = vlm.model(
            input_ids=context.input_ids[None],
            mm_token_type_ids=(context.input_ids[None] == vlm.reader.config.image_token_id).int(),
            **context.image_inputs,
        )
    assert (output.logits[0, -1] - case.recording.logits[0]).abs().max() < 1e-5


def test_either_context_can_be_the_clean_one(exact: Case) -> None:
    for clean, source in ((0, 1), (1, 0)):
        rows = unedited() + each_head(exact.recording.z[source], exact.positions["described"])
        ours = counterfactuals(exact.vlm, exact.recording[clean], rows, exact.answers)
        theirs = hooks.counterfactuals(exact.vlm, exact.contexts[clean], rows, exact.answers)
        assert (ours - theirs).abs().max() < 1e-9
        assert (ours[0] - exact.recording.logits[clean, list(exact.answers)]).abs().max() < 1e-9


def test_zero_is_replacement_by_zeros_and_add_adds(exact: Case) -> None:
    vlm, positions = exact.vlm, exact.positions["described"]
    z = exact.recording.z[:, 1][:, list(positions)][:, :, [2]]
    rows = rows_from(
        [
            (Edit(1, (2,), positions, op="zero"),),
            (Edit(1, (2,), positions, torch.zeros(1)),),
            (Edit(1, (2,), positions, -z[0], op="add"),),
            (Edit(1, (2,), positions, z[1]),),
            (Edit(1, (2,), positions, z[1] - z[0], op="add"),),
            (Edit(1, (2,), positions, z[1], op="add"), Edit(1, (2,), positions, op="zero")),
            (Edit(1, (2,), positions, z[1] / 4, op="add"),) * 4 + (Edit(1, (2,), positions, op="zero"),),
        ]
    )
    logits = counterfactuals(vlm, exact.recording[0], rows, exact.answers)
    assert (logits[:3] - logits[0]).abs().max() < 1e-9
    assert (logits[3:] - logits[3]).abs().max() < 1e-9
    assert (logits[3] - logits[0]).abs().max() > 1e-3
    assert (logits - hooks.counterfactuals(vlm, exact.clean, rows, exact.answers)).abs().max() < 1e-9


def test_bfloat16_stays_within_its_rounding(open_case: OpenCase) -> None:
    case, low = open_case(), open_case(Body(), "bfloat16")
    rows = unedited() + each_head(low.recording.z[1], low.positions["described"])
    ours = counterfactuals(low.vlm, low.recording[0], rows, low.answers)
    theirs = hooks.counterfactuals(low.vlm, low.clean, rows, low.answers)
    truth = counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    assert (ours - theirs).abs().max() < 2 * (theirs - truth).abs().max() + 0.02


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_all_heads_on_a_gpu(open_case: OpenCase, dtype: str) -> None:
    case, cpu = open_case(Body(), dtype, "cuda"), open_case(Body(), dtype)
    rows = unedited()
    for positions in case.positions.values():
        rows = rows + each_head(case.recording.z[1], positions)
    rows = rows + rows_at_all_sites(case)
    ours = counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    for reference in (hooks, nnsight):
        theirs = reference.counterfactuals(case.vlm, case.clean, rows, case.answers)
        assert (ours - theirs).abs().max() < TOLERANCE[dtype]
    on_cpu = counterfactuals(cpu.vlm, cpu.recording[0], rows, cpu.answers)
    # Convolutions on GPUs round to TF32, and rotary angles are float32 everywhere.
    assert (ours.cpu() - on_cpu).abs().max() < 1e-2
