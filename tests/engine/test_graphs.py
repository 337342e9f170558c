"""Replays give the results of plain calls, on other contents too, and are not used where they would not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from finst.engine import graphs
from finst.engine.counterfactuals import counterfactuals
from finst.engine.edits import Rows, each_head, unedited
from finst.engine.graphs import forget
from finst.engine.record import record
from tests.engine.conftest import Case, OpenCase
from tests.engine.rows import rows_at_all_sites
from tests.tiny import FAMILIES, Body

WAITING = ("llava_onevision", "idefics2", "idefics3", "smolvlm")
"""Families whose towers wait for the GPU in transformers' own code (5.17), so that no graph can be made of them."""


@dataclass(frozen=True, eq=False)
class State:
    parts: tuple[Tensor, ...]
    named: dict[str, Tensor | None]
    order: np.ndarray
    where: slice


def state(order: int = 0, scale: float = 1.0) -> State:
    first, second = torch.arange(3.0) * scale, torch.ones(2, 2)
    return State((first, second, first), {"again": second, "none": None}, np.array([order]), slice(1, 3))


def structure(value: object, monkeypatch: pytest.MonkeyPatch) -> tuple[object, dict[int, Tensor]]:
    monkeypatch.setattr(graphs, "_DEVICE", "cpu")
    tensors: dict[int, Tensor] = {}
    return graphs._structure(value, tensors), tensors


def test_structure_is_all_but_the_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    first = state()
    key, tensors = structure(first, monkeypatch)
    assert [id(tensor) for tensor in tensors.values()] == [id(first.parts[0]), id(first.parts[1])]
    assert hash(key) == hash(structure(state(scale=2.0), monkeypatch)[0])
    assert key == structure(state(scale=2.0), monkeypatch)[0]
    assert key != structure(state(order=1), monkeypatch)[0]
    for changed in (
        State((first.parts[0].double(), *first.parts[1:]), first.named, first.order, first.where),
        State((first.parts[0].clone(), *first.parts[1:]), first.named, first.order, first.where),
        State(first.parts, {"again": first.parts[1], "none": first.parts[0]}, first.order, first.where),
        State(
            (first.parts[0], first.parts[1].mT.contiguous().mT, first.parts[2]), first.named, first.order, first.where
        ),
        State(first.parts, first.named, first.order, slice(1, 4)),
    ):
        assert key != structure(changed, monkeypatch)[0]


def test_copies_take_the_tensors_places(monkeypatch: pytest.MonkeyPatch) -> None:
    first = state()
    copies = {name: tensor + 7 for name, tensor in structure(first, monkeypatch)[1].items()}
    copied = graphs._with_tensors(first, copies)
    assert copied.parts[0] is copied.parts[2] is copies[id(first.parts[0])]
    assert copied.named == {"again": copies[id(first.parts[1])], "none": None}
    assert copied.where == first.where
    assert structure(copied, monkeypatch)[0] == structure(first, monkeypatch)[0]


def rows_of(case: Case, source: int) -> Rows:
    rows = unedited()
    for positions in case.positions.values():
        rows = rows + each_head(case.recording.z[source], positions)
    return rows


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """One entry for each graph that is made."""
    made: list[nn.Module] = []
    original: Any = graphs._capture

    def counted(*args: object) -> object:
        made.append(nn.Identity())
        return original(*args)

    monkeypatch.setattr(graphs, "_capture", counted)
    return made


def test_what_transformers_collects_by_is_nobodys_hook(open_case: OpenCase) -> None:
    """LLaVA's tower returns hidden states, for which transformers leaves hooks on it."""
    model = open_case(FAMILIES["llava"]).vlm.model
    assert any(module._forward_hooks for module in model.modules())
    assert not graphs._hooked(model)
    for register in ("register_forward_hook", "register_forward_pre_hook"):
        handle = getattr(model.model.language_model.layers[0], register)(lambda *_: None)
        assert graphs._hooked(model)
        handle.remove()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_replays_are_plain_calls(open_case: OpenCase, dtype: str, captures: list[nn.Module]) -> None:
    case = open_case(Body(layers=4), dtype, "cuda")
    forget(case.vlm.decoder)
    tolerance = {"float32": 1e-6, "float64": 1e-12, "bfloat16": 1e-2}[dtype]

    def logits(clean: int, source: int) -> Tensor:
        return counterfactuals(case.vlm, case.recording[clean], rows_of(case, source), case.answers)

    pairs = [(0, 1), (1, 2), (2, 0), (0, 2), (0, 1)]
    replayed = [logits(*pair) for pair in pairs]
    assert len(captures) == 1
    plain = []
    for pair in pairs:
        forget(case.vlm.decoder)
        plain.append(logits(*pair))
    assert len(captures) == 1
    for mine, other in zip(replayed, plain, strict=True):
        assert (mine - other).abs().max() < tolerance
    assert (replayed[0] - replayed[1]).abs().max() > 10 * tolerance


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_site_and_op_replays(open_case: OpenCase, captures: list[nn.Module]) -> None:
    case = open_case(Body(layers=4), "float64", "cuda")
    forget(case.vlm.decoder)
    rows = rows_at_all_sites(case)
    first, second, third = (counterfactuals(case.vlm, case.recording[clean], rows, case.answers) for clean in (0, 0, 1))
    assert len(captures) == 1
    assert (first - second).abs().max() < 1e-12
    forget(case.vlm.decoder)
    assert (third - counterfactuals(case.vlm, case.recording[1], rows, case.answers)).abs().max() < 1e-12


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_capture_that_fails_leaves_nothing_behind() -> None:
    model, x = nn.Linear(3, 3, device="cuda").requires_grad_(False), torch.ones(2, 3, device="cuda")
    stream = torch.cuda.current_stream()
    for _ in range(3):
        assert graphs.replayed(model, partial(waits, model), x, 1) == pytest.approx(waits(model, x))
    assert torch.cuda.current_stream() == stream
    assert torch.randn(3, device="cuda").isfinite().all()
    large = torch.empty(1 << 28, device="cuda")
    reserved = torch.cuda.memory_reserved()
    del large
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= reserved - (1 << 30)
    for scale in (1, 2, 3):
        ours = graphs.replayed(model, partial(model_of, model), scale * x, 1)
        assert torch.allclose(ours, model(scale * x))
    assert isinstance(list(graphs._graphs[model].known.values())[-1], graphs._Captured)


def waits(model: nn.Module, x: Tensor) -> float:
    return float(model(x).detach().sum())


def model_of(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_hooks_of_others_are_not_passed_by(open_case: OpenCase, captures: list[nn.Module]) -> None:
    case = open_case(Body(layers=4), "float32", "cuda")
    forget(case.vlm.decoder)
    rows = rows_of(case, 1)
    *_, plain = (counterfactuals(case.vlm, case.recording[0], rows, case.answers) for _ in range(3))
    handle = case.vlm.decoder.layers[1].mlp.register_forward_hook(lambda _, args, output: output * 0)
    try:
        cut = counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    finally:
        handle.remove()
    assert len(captures) == 1
    assert (cut - plain).abs().max() > 1e-3
    again = counterfactuals(case.vlm, case.recording[0], rows, case.answers)
    assert (again - plain).abs().max() < 1e-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_recordings_replay(open_case: OpenCase, family: str) -> None:
    case = open_case(FAMILIES[family], "float32", "cuda")
    forget(case.vlm.model)
    orders = [(0, 1), (1, 2), (2, 0), (0, 1)]
    replayed = [record(case.vlm, [case.contexts[index] for index in order]) for order in orders]
    (known,) = graphs._graphs[case.vlm.model].known.values()
    assert isinstance(known, graphs._Captured) or (known == "unfit" and family in WAITING)
    for order, recording in zip(orders, replayed, strict=True):
        forget(case.vlm.model)
        plain = record(case.vlm, [case.contexts[index] for index in order])
        for name in ("z", "logits", "output", "position_ids", "input_ids"):
            assert torch.allclose(getattr(recording, name), getattr(plain, name), atol=1e-6), name
        for name in ("inputs", "keys", "values"):
            pairs = zip(getattr(recording, name), getattr(plain, name), strict=True)
            assert all(torch.allclose(mine, other, atol=1e-6) for mine, other in pairs), name
        rows = each_head(recording.z[1], case.positions["described"])
        ours = counterfactuals(case.vlm, recording[0], rows, case.answers)
        assert (ours - counterfactuals(case.vlm, plain[0], rows, case.answers)).abs().max() < 1e-6
    assert (replayed[0].logits - replayed[1].logits).abs().max() > 1e-4
