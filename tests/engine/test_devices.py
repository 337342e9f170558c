"""A model on two devices gives the same numbers as on one device, and no operation mixes devices."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import accelerate
import numpy as np
import pytest
import torch

from finst.engine import graphs, hooks
from finst.engine.attribution import attribution
from finst.engine.counterfactuals import counterfactuals, observe
from finst.engine.edits import each_head, unedited
from finst.engine.generate import generate
from finst.engine.reads import Read
from finst.engine.record import record
from finst.vlm.open import VLM, open_vlm
from tests.elsewhere import HERE, THERE, Elsewhere
from tests.engine.conftest import Case, OpenCase
from tests.engine.rows import rows_at_all_sites
from tests.tiny import FAMILIES

MEMORY = 1 << 30


def device_map(vlm: VLM, first: torch.device, second: torch.device) -> dict[str, str | int | torch.device]:
    """The decoder's first layer on one device, and everything after it on the other."""
    inside = {id(module): name for name, module in vlm.model.named_modules()}
    decoder = inside[id(vlm.decoder)]
    late = [*(f"{decoder}.layers.{layer}" for layer in range(1, vlm.n_layers)), f"{decoder}.norm"]
    early = [name for name, module in vlm.model.model.named_children() if module is not vlm.decoder]
    early += [name for name, _ in vlm.model.model.named_parameters(recurse=False)]
    early = [f"model.{name}" for name in early] + [f"{decoder}.layers.0"]
    early += [f"{decoder}.{name}" for name in ("embed_tokens", "rotary_emb")]
    tied = vlm.model.lm_head.weight is vlm.decoder.embed_tokens.weight
    (early if tied else late).append("lm_head")
    return {**dict.fromkeys(early, first), **dict.fromkeys(late, second)}


@pytest.fixture(params=FAMILIES)
def single(request: pytest.FixtureRequest, open_case: OpenCase) -> Case:
    return open_case(FAMILIES[request.param])


@pytest.fixture
def spread(single: Case) -> Iterator[Case]:
    """The same model on a real device and a simulated one."""
    with ExitStack() as stack:
        model = copy.deepcopy(single.vlm.model)
        stack.enter_context(Elsewhere())
        places = device_map(single.vlm, HERE, THERE)
        for name in (name for name, place in places.items() if place != HERE):
            module = model.get_submodule(name)
            for tensor in (*module.parameters(), *module.buffers()):
                tensor.elsewhere = places[name]  # pyright: ignore[reportAttributeAccessIssue]
        with warnings.catch_warnings():
            # accelerate needs a device for parameters outside of all submodules, and warns if it gets one
            warnings.filterwarnings("ignore", "The following device_map keys do not match any submodules")
            vlm = replace(single.vlm, model=accelerate.dispatch_model(model, places, main_device=HERE))
        yield Case(vlm, single.contexts, single.answers, record(vlm, single.contexts))


def test_recordings(single: Case, spread: Case) -> None:
    assert spread.vlm.devices == (HERE, THERE)
    assert [x.device for x in spread.recording.inputs] == [HERE, THERE, THERE]
    assert [x.device for x in spread.recording.keys] == [HERE, THERE, THERE]
    assert {spread.recording.z.device, spread.recording.logits.device, spread.vlm.device} == {HERE}
    assert torch.equal(single.recording.logits, spread.recording.logits)
    assert torch.equal(single.recording.z, spread.recording.z)


def test_counterfactuals_at_every_site(single: Case, spread: Case) -> None:
    expected, computed = (
        counterfactuals(case.vlm, case.recording[0], rows_at_all_sites(case), case.answers, max_memory=MEMORY)
        for case in (single, spread)
    )
    assert computed.device == HERE
    assert torch.equal(expected, computed)
    assert len(computed.unique(dim=0)) > 20


def test_reads_of_engine_and_hooks(single: Case, spread: Case) -> None:
    reads = [Read(site, layers=(0, 2), positions=(single.clean.tokens.last,)) for site in ("z", "resid", "k")]
    seen = []
    for case in (single, spread):
        rows = each_head(case.recording.z[1], case.positions["described"]).take(np.arange(2, 10))
        seen.append(observe(case.vlm, case.recording[0], rows, reads, None, max_memory=MEMORY))
        seen.append(hooks.observe(case.vlm, case.clean, rows, reads, None))
    for computed in seen[1:]:
        torch.testing.assert_close(computed.logits, seen[0].logits, rtol=1e-4, atol=1e-4)
        for ours, theirs in zip(computed.reads, seen[0].reads, strict=True):
            assert ours.device == HERE
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_generation(single: Case, spread: Case) -> None:
    generated = []
    for case in (single, spread):
        rows = unedited() + each_head(case.recording.z[1], case.positions["last"]).take(np.arange(3))
        generated.append(generate(case.vlm, case.recording[0], rows, 4, stop=[int(case.recording.logits[0].argmax())]))
        generated.append(generate(case.vlm, case.recording[0], rows, 4, stop=[]))
    assert torch.equal(generated[0].tokens, generated[2].tokens)
    assert torch.equal(generated[1].tokens, generated[3].tokens)
    assert (generated[0].tokens != generated[1].tokens).any(), "no row has ended before the others"


@pytest.mark.parametrize("steps", [1, 2])
def test_attribution(single: Case, spread: Case, steps: int) -> None:
    expected, computed = (
        attribution(case.vlm, case.contexts[0], case.contexts[1], case.positions["last"], case.answers[:2], steps=steps)
        for case in (single, spread)
    )
    torch.testing.assert_close(computed, expected)
    assert computed.abs().max() > 0


def test_operations_on_two_devices_raise() -> None:
    """Without this the other tests would prove nothing."""
    with Elsewhere():
        there = torch.ones(2, 2).to(THERE)
        with pytest.raises(RuntimeError, match="tensors on two devices"):
            torch.mm(torch.ones(2, 2), there)
        with pytest.raises(RuntimeError, match="tensors on two devices"):
            there[torch.tensor([0])] = torch.ones(2)
        there[0] = torch.zeros(2)
        assert (there[torch.tensor([1])] * torch.tensor(2)).sum().device == THERE


def test_models_on_several_devices_are_not_replayed(spread: Case) -> None:
    assert graphs._hooked(spread.vlm.model)
    assert graphs._hooked(spread.vlm.decoder)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus(open_case: OpenCase) -> None:
    body = FAMILIES["qwen2_vl"]
    single = open_case(body, "float32", "cuda:0")
    places = device_map(single.vlm, torch.device("cuda:0"), torch.device("cuda:1"))
    vlm = open_vlm(single.vlm.reader, device_map={name: str(place) for name, place in places.items()})
    assert [device.index for device in vlm.devices] == [0, 1]
    double = Case(vlm, single.contexts, single.answers, record(vlm, single.contexts))
    for _ in range(3):  # the third call would replay a graph
        expected, computed = (
            counterfactuals(case.vlm, case.recording[0], rows_at_all_sites(case), case.answers)
            for case in (single, double)
        )
        assert computed.device == vlm.device
        torch.testing.assert_close(computed, expected, rtol=1e-5, atol=1e-5)
