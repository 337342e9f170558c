"""The study of origins end to end: a tiny model trained, measured and collected on a CPU."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from studies.origins.collect import collect, csv_of
from studies.origins.compact import compact, main
from studies.origins.contrasts import cells_of, comparison, contrast
from studies.origins.names import STAGES
from studies.origins.plan import factors, smoke
from studies.origins.rows import binds, read, row_of, some_above, trajectory_of
from studies.origins.run import MEASURED
from studies.origins.work import measured, trained


@pytest.fixture(scope="module")
def tiny_line(tmp_path_factory):
    (training,) = smoke()
    folder = tmp_path_factory.mktemp("study") / training.name
    trained(training, folder, workers=0, device="cpu")
    measured(training, folder, device="cpu", tiny=True)
    known = json.loads((folder / MEASURED).read_text())
    return {"name": training.name, "training": asdict(training), "status": "measured", **known}


def test_everything_is_measured_of_a_model_and_of_its_checkpoint(tiny_line):
    row = row_of(tiny_line)
    assert row["steps"] == 2
    for placement in ("prefill", "user_turn"):
        for stage in STAGES:
            assert row[f"{placement} {stage} logits"] is not None
            assert 0 <= row[f"{placement} {stage} layer"] < 2
    assert row["steering id_retrieval n"] == 4
    assert row["similarity position at last layer"] in (0, 1)
    assert row["next in reading order"] == 0
    assert row["description, withheld pairs"] == 0
    assert not row["binds"]
    (checkpoint,) = trajectory_of(tiny_line)
    assert checkpoint["step"] == 2
    # the same weights, measured once as final and once as checkpoint
    assert checkpoint["prefill id_selection logits"] == row["prefill id_selection logits"]


def test_one_command_makes_tables_and_figures(tiny_line, tmp_path):
    unmeasured = {**tiny_line, "name": "other-s0", "status": "no time to train"}
    unmeasured = {name: unmeasured[name] for name in ("name", "training", "status")}
    lines = [unmeasured, {**tiny_line, "status": "no time to measure"}, tiny_line]
    file = tmp_path / "results.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [line["status"] for line in read([file])] == ["no time to train", "measured"]
    text = collect([file], tmp_path / "out")
    assert text.startswith("1 no time to train, 1 measured")
    pictures = {"causes.png", "causes.csv", "when.png", "when.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"trainings.csv", "trainings.md", *pictures}


def test_a_compact_line_gives_the_same_row_and_is_small(tiny_line, tmp_path):
    small = compact(tiny_line)
    assert row_of(small) == row_of(tiny_line)
    assert compact(small) == small
    assert len(json.dumps(small["checkpoints"])) < len(json.dumps(tiny_line["checkpoints"])) / 2
    (before,), (after,) = trajectory_of(tiny_line), trajectory_of(small)
    shown = [name for name in after if after[name] is not None]
    assert {name: after[name] for name in shown} == {name: before[name] for name in shown}
    assert {"prefill id_retrieval low", "next, low entropy", "steering id_selection control_own"} <= set(shown)
    (tmp_path / "results.jsonl").write_text(json.dumps(tiny_line) + "\n")
    main([str(tmp_path / "results.jsonl"), "--out", str(tmp_path / "small.jsonl")])
    assert read([tmp_path / "small.jsonl"]) == [small]


def rows_like(effect, seeds=3):
    rng = np.random.default_rng(0)
    return [
        {
            "group": training.group,
            "binds": False,
            "prefill id_retrieval logits": effect(training) + 0.01 * rng.normal(),
        }
        for training in factors(range(seeds))
    ]


def test_contrasts_find_what_was_put_in_and_nothing_else():
    def effect(training):
        both = training.mix == "never-mixed" and training.layers == 6
        return 2.0 * training.mix.startswith("never") + 6.0 * both

    cells = cells_of(rows_like(effect), "prefill id_retrieval logits")
    assert len(cells) == 12
    assert all(len(values) == 3 for values in cells.values())
    text = comparison(rows_like(effect))
    values = {line.split(" | ")[0]: line.split(" | ")[1] for line in text.splitlines()[2:]}
    expected = {
        "never leave-one-out - some": 3.0,
        "places mixed - apart": 1.5,
        "places apart - none": 0.0,
        "6 - 10 layers": 1.0,
        "all three": 1.5,
    }
    for name, value in expected.items():
        assert float(values[f"| {name}"].split(" [")[0]) == pytest.approx(value, abs=0.03)


def test_a_contrast_needs_all_of_its_cells():
    rows = rows_like(lambda training: 1.0, seeds=1)
    estimate = contrast(cells_of(rows, "prefill id_retrieval logits"), lambda cell: 1.0 if cell[2] == 6 else -1.0)
    assert estimate is not None
    assert abs(estimate.value) < 0.2
    assert np.isnan(estimate.low)
    assert contrast({}, lambda cell: 1.0) is None


def test_a_model_binds_when_every_stage_is_there_in_order_in_both_placements():
    stages = {stage: {"above": True} for stage in STAGES}
    good = {**stages, "order": [{"holds": True}, {"holds": True}]}
    assert binds({"prefill": good, "user_turn": good})
    assert not binds({"prefill": good, "user_turn": {**good, "order": [{"holds": True}, {"holds": False}]}})
    assert not binds({"prefill": good, "user_turn": {**good, "id_retrieval": {"above": False}}})
    assert not binds({"prefill": good, "user_turn": "no usable pairs"})


def test_the_weaker_rule_takes_any_head_above_the_noise():
    stages = {stage: {"above": False, "heads_above": 1} for stage in STAGES}
    good = {**stages, "order": [{"holds": True}, {"holds": True}]}
    assert not binds({"prefill": good, "user_turn": good})
    assert binds({"prefill": good, "user_turn": good}, some_above)
    none = {**good, "id_selection": {"above": False, "heads_above": 0}}
    assert not binds({"prefill": good, "user_turn": none}, some_above)


def test_a_csv_has_all_columns():
    assert csv_of([{"a": 1}, {"b": 0.123456}]) == "a,b\n1,\n,0.1235\n"
