"""Scores: their keys, their numbers beside those of the runs, what is missing, and models side by side."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr

from finst.experiments.api import Run, load
from finst.plans.claims import effects_of
from finst.plans.plan import parse_plan
from finst.plans.record import FORMAT, Reproduction, StepRecord, write_record
from finst.plans.scores.board import Scoreboard
from finst.plans.scores.keys import FAMILIES, KEYS, SCORED
from finst.plans.scores.page import score_page, scores_page
from finst.plans.scores.readings import Reading, readings
from finst.plans.scores.score import Number, Score, score_of, settings_hash, steps_to_run, write_score
from finst.plans.scores.words import headline, markdown_of, text_of, value_text
from finst.scenes.side_by_side_pairs import ROWS
from tests.runs.old_runs import unpacked

ROOT = Path(__file__).parents[3]
FAILED = "ZeroDivisionError: by zero"


def reproduction(folder: Path, *steps: StepRecord, model: str = "planted", weights: str = "f" * 64) -> Path:
    write_record(folder, Reproduction(FORMAT, "a plan", model, weights, steps))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of every experiment that a score needs, each very small."""
    folder = tmp_path_factory.mktemp("score")
    for name in SCORED:
        unpacked(name, folder)
    return reproduction(folder, *(StepRecord(name, name, "finished", seconds=1.0) for name in SCORED))


@pytest.fixture(scope="module")
def partial(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished step; the others failed, cannot run, were interrupted, wait, or are not planned."""
    folder = tmp_path_factory.mktemp("partial")
    (folder / "accuracy").symlink_to(whole / "accuracy")
    return reproduction(
        folder,
        StepRecord("accuracy", "accuracy", "finished"),
        StepRecord("cma", "cma", "failed", FAILED),
        StepRecord("photoreal", "photoreal", "cannot run", "no object tokens"),
        StepRecord("key-swap", "key-swap", "running"),
        StepRecord("rescue", "rescue"),
        model="other",
        weights="e" * 64,
    )


@pytest.fixture(scope="module")
def score(whole: Path) -> Score:
    return score_of(whole)


@pytest.fixture(scope="module")
def runs(whole: Path) -> dict[str, Run]:
    return {name: load(whole / name) for name in SCORED}


def test_no_key_is_ever_renamed_dropped_or_given_another_unit() -> None:
    listed = (Path(__file__).parent / "keys.txt").read_text().splitlines()
    assert [f"{name} {family.experiment} {family.unit}" for name, family in KEYS.items()] == listed


def test_the_documents_have_every_key_as_the_code_has_it() -> None:
    text = (ROOT / "docs" / "scores.md").read_text()
    rows = [
        f"| `{each.pattern}` | {each.unit} | {each.samples} | {each.against} | {each.meaning} |" for each in FAMILIES
    ]
    assert [row for row in rows if row not in text.splitlines()] == []
    assert len(re.findall(r"^\| `[a-z-]+\.", text, re.MULTILINE)) == len(FAMILIES)


def test_every_number_has_its_interval_and_everything_else_its_reason(score: Score) -> None:
    assert list(score.keys) == list(KEYS)
    measured = [at for at in score.keys.values() if at.value is not None]
    assert len({name.partition(".")[0] for name, at in score.keys.items() if at.value is not None}) > 4
    for at in measured:
        assert at.value is not None
        assert at.reason == ""
        assert at.n is not None
        assert at.n > 0
        if at.low is not None and at.high is not None:
            assert at.low - 1e-9 <= at.value <= at.high + 1e-9
    assert all(at.reason and at.n is None for at in score.keys.values() if at.value is None)


@pytest.fixture(scope="module")
def two_rows(runs: dict[str, Run]) -> Run:
    """The steering run, which an older finst made at one height, as if both rows of drawings had its results."""
    run = runs["photoreal"]
    summary = xr.concat([run.summary] * 2, pd.Index(ROWS, name="place"), coords="minimal", compat="override")
    return Run(run.experiment, replace(run.finished, summary=summary.assign_attrs(run.summary.attrs)))


def test_every_reading_has_a_key_and_every_key_a_reading(runs: dict[str, Run], two_rows: Run) -> None:
    for name, run in (runs | {"photoreal": two_rows}).items():
        read, expected = {*readings(run)}, {key for key, family in KEYS.items() if family.experiment == name}
        assert read <= expected
        # What a step's settings leave out: numbers of objects, and grids.
        assert all(key.startswith(("accuracy.", "rescue.")) for key in expected - read)
        assert read


def test_steering_is_read_by_stage_and_row(two_rows: Run) -> None:
    read = readings(two_rows)
    for effect in effects_of(two_rows):
        stage, _, row = effect.measured.partition(": the described thing is named again, ")
        key = f"steering.{stage.lower().replace(' ', '-')}.{row.replace(' ', '-')}"
        after, control = read[f"{key}.after"], read[f"{key}.control"]
        assert isinstance(after, Reading)
        assert isinstance(control, Reading)
        assert (after.value, after.p, after.detail) == (effect.after.value, effect.p, effect.setting)
        assert (control.value, control.detail) == (effect.control.share.value, effect.control.name)


def test_numbers_are_those_of_the_runs(score: Score, runs: dict[str, Run]) -> None:
    keys = score.keys
    accuracy = runs["accuracy"].summary
    entropy, objects = str(accuracy["entropy"].values[0]), int(accuracy["objects"].values[0])
    at = keys[f"accuracy.{entropy}.{objects}"]
    assert at.value == float(accuracy["accuracy"].sel(placement="prefill", entropy=entropy, objects=objects))
    mediation = runs["cma"].summary.sel(condition="id_selection")
    strength = keys["stage.id-selection.strength"]
    among = mediation["mean"].where(mediation["above"]) if bool(mediation["above"].any()) else mediation["mean"]
    assert strength.value == float(among.max())
    share = keys["stage.id-selection.strength-of-margin"]
    assert strength.value is not None
    assert share.value == pytest.approx(strength.value / float(mediation["margin"]))
    rescue = keys["rescue.2x2.gain"]
    before, after = (keys[f"rescue.2x2.{name}"].value for name in ("before", "after"))
    assert before is not None
    assert after is not None
    assert rescue.value == pytest.approx(after - before)
    similar = runs["rsa-frame"].summary.sel(role="last", comparison="relative | absolute")["r"]
    found = keys["similarity.relative-given-absolute"].value
    assert found is not None
    assert float(similar.max()) - 0.005 < found <= float(similar.max())


def test_steps_without_numbers_leave_their_keys_empty_and_say_why(partial: Path) -> None:
    score = score_of(partial)
    assert not score.complete
    reasons = {family.experiment: score.keys[name].reason for name, family in KEYS.items()}
    assert {name: reasons[name] for name in SCORED[1:]} == {
        "cma": FAILED,
        "rsa-stages": "the plan has no step of rsa-stages",
        "rsa-frame": "the plan has no step of rsa-frame",
        "photoreal": "no object tokens",
        "key-swap": "interrupted",
        "rescue": "not run yet",
    }
    assert {name.partition(".")[0] for name, at in score.keys.items() if at.value is not None} == {"accuracy"}
    text = text_of(score)
    assert f"({FAILED})" in text
    assert "no stage could be tested" in text
    page = score_page(score)
    assert FAILED in page
    assert "<code>stage.*</code>, <code>order.*</code>" in page
    assert "<code>accuracy.*</code>" not in page
    assert 'href="cma/report.html"' not in page


def test_the_file_is_strict_json_with_all_keys(score: Score, tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    data = json.loads(write_score(tmp_path, score).read_text(), parse_constant=refuse)
    assert list(data["keys"]) == list(KEYS)
    assert data["format"] == 1
    assert data["weights"] == "f" * 64
    assert set(data["keys"]["key-swap.after"]) == {*Number.__dataclass_fields__}


def test_intervals_of_another_level_are_left_out(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finst.plans.scores.readings.LEVEL", 0.9)
    score = score_of(whole)
    assert all(at.value is None for at in score.keys.values())
    assert score.keys["key-swap.after"].reason == "its intervals are at 0.95, not 0.9"


def test_settings_of_the_model_and_of_the_work_do_not_change_the_hash(runs: dict[str, Run]) -> None:
    run = runs["accuracy"]

    def hashed(**changes: object) -> str:
        manifest = replace(run.manifest, spec={**run.manifest.spec, **changes})
        return settings_hash(Run(run.experiment, replace(run.finished, manifest=manifest)))

    assert hashed(model="x", device="cuda", dtype="bfloat16", batch=1) == hashed()
    assert hashed(trials=999) != hashed()


def test_a_plan_gives_the_first_step_of_each_experiment_that_counts() -> None:
    step = '[[step]]\nname = "{}"\nexperiment = "{}"\n'
    names = [("far", "rsa-frame"), ("a", "cma"), ("b", "cma"), ("pca", "pca"), ("swap", "key-swap")]
    plan = parse_plan("".join(step.format(*pair) for pair in names), "plan")
    assert steps_to_run(plan) == ("a", "far", "swap")
    with pytest.raises(Exception, match="no step that a score needs: expected one or more of accuracy, cma"):
        steps_to_run(parse_plan(step.format("pca", "pca"), "plan"))


def test_the_page_has_every_number_and_asks_nothing_of_the_network(score: Score) -> None:
    page = score_page(score)
    for name, at in score.keys.items():
        if at.value is not None:
            assert f"<code>{name}</code>" in page
            assert value_text(at).replace("'", "&#39;") in page
    assert not re.search(r"<script|<link|src=|url\(|@import", page)
    assert set(re.findall(r'href="(http[^"]+)"', page)) == {"https://arxiv.org/abs/2506.15871"}
    assert 'href="cma/report.html"' in page


def test_models_stand_side_by_side_with_what_is_not_alike(whole: Path, partial: Path) -> None:
    scores = [score_of(folder) for folder in (whole, partial)]
    board = Scoreboard.of([whole, partial], scores)
    assert board.labels == ("planted", "other")
    misleading = [each.name for each in board.differences if each.misleads]
    assert misleading == [f"settings of {name}" for name in SCORED[1:]]
    assert "They were not made alike (settings of cma," in board.headline
    lines = board.markdown.splitlines()
    assert lines[0] == "| key | planted | other |"
    assert len(lines) == 2 + len(board.rows)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 4 for line in lines)
    page = scores_page(board)
    assert "call for care" in page
    assert all(f"<code>{row.key}</code>" in page for row in board.rows)
    again = Scoreboard.of([whole, whole], [scores[0], scores[0]])
    assert again.labels == (f"planted ({whole})",) * 2
    assert [each.name for each in again.differences] == ["equal weights"]


def number(value: float | None, verdict: str | None = None, unit: str = "share") -> Number:
    ends = (None, None) if value is None else (value - 0.1, value + 0.1)
    return Number(value, *ends, 20, "trials", unit, "no edit", None, verdict, "", "")  # pyright: ignore[reportArgumentType]


def test_the_sentence_counts_what_was_found_among_what_could_be_tested(score: Score) -> None:
    keys = {name: number(None) for name in KEYS} | {
        "accuracy.high.4": number(0.5),
        "stage.id-retrieval.strength": number(1.0, "found"),
        "stage.id-selection.strength": number(1.0, "undecided"),
        "stage.feature-retrieval.strength": number(1.0, "not testable"),
        "key-swap.after": number(0.5, "found"),
        "rescue.2x2.after": number(0.5, "found"),
    }
    assert headline(replace(score, model="a/b", keys=keys)) == (
        "b: the missing one of 4 distinct objects is named in 50.0% [40.0%, 60.0%] of 20 trials, 1 of 2 tested stages "
        "has heads above the noise, no order of stages could be tested and 2 of 2 tested edits do more than no edit "
        "and every control."
    )
    del keys["accuracy.high.4"]
    keys = {**keys, "accuracy.high.4": number(None), "accuracy.high.9": number(0.25)}
    assert "one of 9 distinct objects is named in 25.0%" in headline(replace(score, keys=keys))
    keys = {**keys, "accuracy.high.9": number(None), "accuracy.low.2": number(0.25)}
    assert "one of 2 objects that share features is named in 25.0%" in headline(replace(score, keys=keys))


def test_values_are_written_with_interval_and_unit() -> None:
    assert value_text(number(0.25)) == "25.0% [15.0%, 35.0%]"
    assert value_text(number(-0.05)) == "−5.0% [−15.0%, 5.0%]"  # noqa: RUF001
    assert value_text(number(1.5, unit="logits")) == "1.500 [1.400, 1.600] logits"
    assert value_text(number(0.5, unit="share of the margin")) == "50.0% [40.0%, 60.0%] of the margin"
    assert value_text(number(None)) == "–"  # noqa: RUF001
    assert value_text(replace(number(0.5), low=None, high=None)) == "50.0% [no interval]"


def test_markdown_of_one_score_is_one_table(score: Score) -> None:
    lines = markdown_of(score).splitlines()
    assert lines[0].startswith("| key | value, 95 % interval | n | compared with |")
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
