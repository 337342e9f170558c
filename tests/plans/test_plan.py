"""Plans: what a TOML file may say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from finst.errors import FinstError
from finst.experiments.registry import REGISTRY
from finst.plans.plan import SHIPPED, parse_plan, read_plan, shipped_plan
from finst.vlm.spec import ModelSpec

PLAN = """
title = "two"
[settings]
seed = 3
[[step]]
experiment = "cma"
pairs = 8
[[step]]
name = "second-cma"
experiment = "cma"
seed = 4
[[step]]
experiment = "key-swap"
doses = [1, 2.0]
[[step]]
name = "swap-of-first"
experiment = "key-swap"
heads = "cma"
"""


def test_a_plan_is_its_steps_with_shared_and_own_settings() -> None:
    plan = parse_plan(PLAN, "plan")
    assert [(step.name, step.experiment, step.heads) for step in plan.steps] == [
        ("cma", "cma", None),
        ("second-cma", "cma", None),
        ("key-swap", "key-swap", "second-cma"),
        ("swap-of-first", "key-swap", "cma"),
    ]
    specs = [step.spec(ModelSpec("planted", dtype="float64")) for step in plan.steps]
    assert [(spec.model, spec.dtype, spec.seed) for spec in specs] == [
        ("planted", "float64", seed) for seed in (3, 4, 3, 3)
    ]
    assert (specs[0].pairs, specs[2].doses) == (8, (1.0, 2.0))
    assert plan.source == PLAN


def test_chosen_steps_bring_the_heads_that_they_edit() -> None:
    plan = parse_plan(PLAN, "plan")
    assert [step.name for step in plan.with_heads(["key-swap"])] == ["second-cma", "key-swap"]
    assert [step.name for step in plan.with_heads(["cma"])] == ["cma"]
    with pytest.raises(FinstError, match="unknown step 'pca'"):
        plan.with_heads(["pca"])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_plans_have_every_experiment(name: str) -> None:
    plan = shipped_plan(name)
    assert {step.experiment for step in plan.steps} == set(REGISTRY)
    assert all(step.spec(ModelSpec()).seed == 0 for step in plan.steps)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "no TOML"),
        ("", "has no steps"),
        ("step = []", "has no steps"),
        ("step = 3", "has no steps"),
        ("step = [3]", "has no steps"),
        ("title = 3\n[[step]]\nexperiment='pca'", "text as title"),
        ("settings = 3\n[[step]]\nexperiment='pca'", "settings as a table"),
        ("steps = 3", "unknown key of a plan 'steps'"),
        ("[[step]]\nexperiment='cmaa'", "unknown experiment of a step 'cmaa'"),
        ("[[step]]\nname='a'", "unknown experiment of a step None"),
        ("[[step]]\nexperiment=['cma']", "unknown experiment of a step"),
        ("[[step]]\nexperiment='cma'\npears=3", "step 'cma': unknown field of CMASpec 'pears'"),
        ("[[step]]\nexperiment='cma'\npairs='many'", "CMASpec.pairs: expected int"),
        ("[[step]]\nexperiment='cma'\npairs=-1", "pairs is -1"),
        ("[[step]]\nexperiment='cma'\npairs=true", "CMASpec.pairs: expected int"),
        ("[[step]]\nexperiment='cma'\nmodel='organism'", "'model' cannot be set in a plan"),
        ("[settings]\ndevice='cpu'\n[[step]]\nexperiment='cma'", "'device' cannot be set in a plan"),
        ("[settings]\nks=[1]\n[[step]]\nexperiment='cma'", "no step has the setting 'ks'"),
        ("[[step]]\nexperiment='cma'\n[[step]]\nexperiment='cma'", "two steps are called 'cma'"),
        ("[[step]]\nexperiment='cma'\nname='../x'", "cannot be a step's name"),
        ("[[step]]\nexperiment='cma'\nname='earlier'", "cannot be a step's name"),
        ("[[step]]\nexperiment='cma'\nname=3", "cannot be a step's name"),
        ("[[step]]\nexperiment='key-swap'", "before any step of causal mediation"),
        (
            "[[step]]\nexperiment='cma'\n[[step]]\nexperiment='key-swap'\nheads='pca'",
            "unknown step of causal mediation",
        ),
        ("[[step]]\nexperiment='pca'\nheads='cma'", "edits no heads"),
    ],
)
def test_wrong_plans_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(FinstError, match=f"mine.toml.*{message}"):
        parse_plan(text, "mine.toml")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"title = '\xe9'")
    for path in (tmp_path, tmp_path / "absent.toml", tmp_path / "latin"):
        with pytest.raises(FinstError, match="cannot read the plan"):
            read_plan(path)
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbf" + PLAN.encode())
    assert read_plan(tmp_path / "bom.toml").title == "two"
