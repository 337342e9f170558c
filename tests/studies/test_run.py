"""The study of origins at work: plans, processes that stop in time, and what is carried away. No model is trained."""

import json
import sys
from dataclasses import replace

import pytest

from studies.origins import pack as packing
from studies.origins.plan import Training, factors, long, main, organisms, read, smoke, written
from studies.origins.run import Machine, Study, finished, results, run

FAKE = """
import json, pathlib, sys, time
work, training, folder = sys.argv[1], json.loads(sys.argv[2]), pathlib.Path(sys.argv[3])
model = folder / "model"
if work == "train":
    time.sleep(training["tokens"])
    if training["mix"] == "broken" or (training["mix"] == "never-graphs" and "--no-graphs" not in sys.argv):
        model.mkdir()
        sys.exit("out of luck")
    model.mkdir()
    (model / "model.safetensors").write_text("weights of " + training["group"])
    (model / "training.json").write_text("[]")
else:
    while not (model / "training.json").exists():
        time.sleep(0.05)
    (folder / "measured.json").write_text(json.dumps({"final": {"sum": training["seed"]}}))
"""


def training_of(group="a", seed=0, **options):
    return Training(group, options.pop("mix", "binding"), seed, tokens=options.pop("seconds", 0), **options)


@pytest.fixture
def study(tmp_path):
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    return Study(
        tmp_path / "study", Machine(gpus=2, cores=8), 60.0, {"train": 1.0, "measure": 1.0},
        command=(sys.executable, str(script)),
    )  # fmt: skip


def states(study):
    return {line["name"]: line["status"] for line in results(study.out)}


def test_plans_survive_json_and_name_every_training_once(capsys):
    for plan in (organisms(one_leg=1), factors(), long(), smoke()):
        assert read(written(plan)) == plan
        assert len({training.name for training in plan}) == len(plan)
    assert len(factors()) == 36
    assert {training.group for training in factors()[:12]} == {training.group for training in factors()}
    assert {training.name for training in organisms()} & {training.name for training in factors()} == {
        f"never-mixed-6-s{seed}" for seed in range(3)
    }
    main(["organisms", "--binding", "1", "--llava", "0", "--counting", "0"])
    assert [training.name for training in read(capsys.readouterr().out)] == ["never-mixed-6-s0"]
    main(["long", "--seeds", "1"])
    assert [training.name for training in read(capsys.readouterr().out)] == ["four-s1", "llava-s0"]


def test_cores_are_shared_out():
    assert Machine(gpus=1, each=1, measuring=2, cores=16).workers == 13
    assert Machine(gpus=2, each=2, measuring=1, cores=32).workers == 6
    assert Machine(gpus=4, each=1, measuring=2, cores=2).workers == 1


def test_a_plan_is_trained_measured_and_taken_up_again(study):
    plan = [training_of(seed=seed) for seed in range(3)]
    run(plan, study)
    assert states(study) == {training.name: "measured" for training in plan}
    assert [line["final"]["sum"] for line in results(study.out)] != []
    run([*plan, training_of("b")], study)
    assert len(results(study.out)) == 4


def test_checkpoints_are_measured_while_they_are_made(study):
    run([training_of(checkpoints=3, seconds=1)], study)
    assert states(study) == {"a-s0": "measured"}
    assert len(results(study.out)) == 1


def test_what_fails_is_tried_again_without_graphs_and_then_said(study):
    run([training_of(mix="never-graphs"), training_of("b", mix="broken", checkpoints=1), training_of("c")], study)
    assert states(study) == {"a-s0": "measured", "b-s0": "failed to train", "c-s0": "measured"}
    reason = next(line["reason"] for line in results(study.out) if line["name"] == "b-s0")
    assert reason == "out of luck"
    assert not study.jobs


def test_it_stops_in_time_and_keeps_what_is_finished(study, monkeypatch):
    monkeypatch.setattr("studies.origins.run.LAST_S", 0.0)
    study.seconds, study.expected["train"] = 5.0, 3.0
    run([training_of("quick"), training_of("slow", seconds=60), training_of("late", seconds=60, layers=10)], study)
    assert states(study) == {"quick-s0": "measured", "slow-s0": "no time to train"}


def test_a_training_that_would_not_end_in_time_is_not_begun(study):
    study.expected["train"] = 40.0
    assert not study.has_time("train", training_of())
    study.seen["train", "a"] = 5.0
    assert study.has_time("train", training_of())
    assert not study.has_time("train", training_of("b", layers=10))
    assert finished(study) == []


def line_of(name, group, mix, logits, right):
    stages = {stage: {"logits": logits} for stage in ("id_retrieval", "id_selection", "feature_retrieval")}
    final = {"mediation": {"prefill": stages, "user_turn": "no pairs"}, "accuracy": {"new scenes: lists": [right, 10]}}
    training = {"group": group, "mix": mix}
    return {"name": name, "training": training, "status": "measured", "final": final}


def test_the_best_of_each_group_are_carried_within_the_limits(tmp_path, monkeypatch):
    study = tmp_path / "study"
    lines = [
        line_of("w-s0", "never-mixed-6", "never-mixed", 2.0, 10),
        line_of("w-s1", "never-mixed-6", "never-mixed", 3.0, 1),
        line_of("c-s0", "counting", "counting", 9.0, 5),
        line_of("c-s1", "counting", "counting", 0.0, 7),
        line_of("x-s0", "other", "some-none", 0.0, 7),
        {**line_of("x-s1", "other", "some-none", 0.0, 9), "status": "no time to measure"},
    ]
    assert packing.best(lines) == ["w-s1", "c-s1", "w-s0", "c-s0", "x-s0"]
    for line in lines:
        (study / line["name"] / "model" / "checkpoints").mkdir(parents=True)
        (study / line["name"] / "model" / "model.safetensors").write_bytes(b"0" * 1000)
        (study / line["name"] / "train.log").write_text("step 1")
    (study / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(packing, "FILES", 4)
    packed = packing.pack(study, tmp_path / "back")
    assert [file.name for file in packed] == ["results.jsonl", "logs.tar.gz", "w-s1.tar.gz", "c-s1.tar.gz"]
    monkeypatch.setattr(packing, "LARGEST", 100)
    monkeypatch.setattr(packing, "FILES", 8)
    parts = [file.name for file in packing.pack(study, tmp_path / "parts")][2:]
    assert parts[:2] == ["w-s1.tar.gz.0", "w-s1.tar.gz.1"]
    assert replace(training_of(), seed=3).name == "a-s3"
