"""What workers get can be sent to them: every experiment with its settings and estimates."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from finst.engine.memory import gauge
from finst.experiments.interventions.protocol import Intervention
from finst.experiments.registry import REGISTRY
from finst.plans.plan import shipped_plan
from finst.rehearsal.any_answer import rehearsed
from finst.rehearsal.sizes import small
from finst.runs.archive import pack
from finst.runs.backends.backend import Work
from finst.runs.backends.measurer import pickled, unpickled
from finst.vlm.open import VLM, open_vlm
from finst.vlm.spec import ModelSpec
from tests.experiments.interventions.small import maps_of
from tests.tiny import checkpoint


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return open_vlm(str(checkpoint(tmp_path_factory.mktemp("pickling") / "tiny")), device="cpu")


@pytest.mark.parametrize("name", REGISTRY)
def test_work_that_was_sent_gives_the_same_bytes(vlm: VLM, name: str) -> None:
    (step,) = (step for step in shipped_plan("fast").steps if step.experiment == name)
    experiment, spec = rehearsed(name), small(name, step.spec(ModelSpec(vlm.reader.id, device="cpu")))
    inputs = maps_of(vlm) if isinstance(experiment, Intervention) else None
    work = Work(experiment, spec, experiment.plan(spec)[:1], experiment.prepare(vlm, spec, inputs))
    sent = unpickled(pickled(work))
    assert (sent.spec, sent.units) == (spec, work.units)
    here, there = (each.measure(vlm, 0, gauge(vlm.device)) for each in (work, sent))
    assert pack(arrived(there).data) == pack(here.data)


def arrived(answer: Any) -> Any:
    """As it comes from a worker."""
    return pickle.loads(pickle.dumps(answer))
