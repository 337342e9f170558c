"""Sizes, stand-in words, repeated data, the record and the cache of a rehearsal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from finst.errors import FinstError
from finst.experiments.registry import REGISTRY
from finst.plans.plan import shipped_plan
from finst.rehearsal.estimate import FORMAT, JSON, Rehearsal, Sample, StepEstimate, read_rehearsal, write_rehearsal
from finst.rehearsal.growth import Span
from finst.rehearsal.known import key_of, known, remember
from finst.rehearsal.repeated import repeated
from finst.rehearsal.sizes import SMALLEST, count, estimated_from, resized, small
from finst.rehearsal.words import with_stand_in_words
from finst.runs.experiment import Unit
from finst.vlm.published import SHAPES
from finst.vlm.spec import ModelSpec


def test_every_planned_experiment_becomes_smaller_and_never_larger() -> None:
    assert set(SMALLEST) == set(REGISTRY)
    for step in shipped_plan("fast").steps:
        whole = step.spec(ModelSpec())
        less = small(step.experiment, whole)
        less.check()
        assert 0 < count(step.experiment, less) <= count(step.experiment, whole) / (1 if step.name == "pca" else 2)
        assert estimated_from(step.experiment, less) <= estimated_from(step.experiment, whole)
        assert small(step.experiment, less) == less


def test_numbers_by_grid_keep_their_proportions() -> None:
    rescue = next(step for step in shipped_plan("full").steps if step.experiment == "rescue").spec(ModelSpec())
    assert (rescue.trials, resized("rescue", rescue).trials) == ((100, 50), (2, 1))
    assert resized("rescue", rescue, 10, only=("estimation",)).trials == (100, 50)
    assert resized("rescue", rescue, 1000) == rescue


@pytest.mark.parametrize("shape", [SHAPES[name] for name in ("qwen2-vl-2b", "smolvlm2-500m")])
def test_experiments_take_a_published_shape_with_stand_in_words(shape) -> None:
    reader = with_stand_in_words(shape.reader())
    for name in ("cma", "key-swap"):
        experiment = REGISTRY[name].load()
        spec = experiment.spec(model=shape.name)
        experiment.check(small(name, spec), reader)
    ids = reader.tokenizer("a red square", add_special_tokens=False)["input_ids"]
    assert len(ids) == 3


def test_repeated_data_has_the_trials_of_the_units_and_no_two_equal_activations() -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    data = xr.Dataset(
        {"activations": (("trial", "layer"), values), "right": ("trial", [True, False, True]), "shared": ((), 2.0)},
        coords={"trial": [0, 1, 2]},
    )
    parts = repeated(data, [Unit("a", (0, 1, 2)), Unit("b", (3, 4)), Unit("c", (5, 6))], "trial")
    assert [part["trial"].values.tolist() for part in parts] == [[0, 1, 2], [3, 4], [5, 6]]
    assert np.array_equal(parts[0]["activations"], values)
    whole = np.concatenate([part["activations"] for part in parts])
    assert whole.dtype == np.float32
    assert len(np.unique(whole[:, 0])) == 7
    assert np.abs(whole[3:6] - values).max() < 0.2
    assert np.concatenate([part["right"] for part in parts]).tolist() == [True, False, True] * 2 + [True]


STEP = StepEstimate(
    "cma", "cma", "a" * 64, trials=50, units=10, total=Span(90.0, 60.0, 120.0), fixed=5.0, host_bytes=3 << 30,
    disk_bytes=1 << 20, sample=Sample(4, 4, 0, 32),
)  # fmt: skip
REFUSED = StepEstimate("coco", "coco", "b" * 64, "no picture")
MACHINE = {"gpu": "none", "cpu": "a CPU", "threads": "2"}
REHEARSAL = Rehearsal(
    FORMAT, "a plan", "qwen2-vl-2b", "float32", "cpu", MACHINE, "2026-01-01T00:00:00+00:00", 3.0, ("A note.",),
    (STEP, REFUSED),
)  # fmt: skip


def test_a_rehearsal_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_rehearsal(tmp_path) is None
    write_rehearsal(tmp_path, REHEARSAL)
    assert read_rehearsal(tmp_path) == REHEARSAL
    head, first, second = (tmp_path / "rehearsal.csv").read_text().splitlines()
    assert dict(zip(head.split(","), first.split(","), strict=True))["total_high"] == "120.0"
    assert "no picture" in second
    (tmp_path / JSON).write_text("{}")
    with pytest.raises(FinstError, match="is damaged"):
        read_rehearsal(tmp_path)


def test_the_table_has_every_step_its_range_and_what_it_rests_on() -> None:
    lines = {line.split("  ")[0]: line for line in REHEARSAL.text.splitlines() if line}
    assert "60 s to 2 min" in lines["cma"]
    assert "4 of 50 trials in 4 units, statistics of up to 32 trials" in lines["cma"]
    assert lines["coco"].split("  ", 1)[1].split() == ["no", "estimate", "no", "picture"]
    assert lines["in all"].endswith("without coco")
    assert "A note." in lines


def test_estimates_are_found_in_the_folder_and_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keys = {"cma": STEP.key, "coco": REFUSED.key, "pca": "c" * 64}
    assert known(keys, tmp_path) == {}
    write_rehearsal(tmp_path, REHEARSAL)
    assert known(keys, tmp_path) == {"cma": STEP}
    remember(REHEARSAL.steps)
    assert known(keys, tmp_path / "elsewhere") == {"cma": STEP}
    (tmp_path / "cache" / "finst" / "rehearsals" / f"{STEP.key}.json").write_text("[")
    assert known(keys, tmp_path / "elsewhere") == {}


def test_the_key_is_that_of_work_shape_and_format() -> None:
    step = next(step for step in shipped_plan("fast").steps if step.experiment == "cma")
    shape, model = SHAPES["qwen2-vl-2b"], ModelSpec("qwen2-vl-2b")
    own = key_of(step, step.spec(model), shape.reader(), model)
    other = replace(model, model=shape.hub[0])
    assert key_of(step, step.spec(other), shape.reader(), other) == own  # a checkpoint of this shape
    changed = [
        key_of(step, replace(step.spec(model), pairs=21), shape.reader(), model),
        key_of(step, step.spec(model), SHAPES["qwen2-vl-7b"].reader(), model),
        key_of(step, step.spec(model), shape.reader(), replace(model, dtype="bfloat16")),
    ]
    assert len({own, *changed}) == 4
