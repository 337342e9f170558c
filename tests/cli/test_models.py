"""``finst models`` and ``finst check``: what is known about a model without its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from finst.bench.limits.floor import Peaks
from finst.cli import check as checking
from finst.cli.main import COMMANDS
from finst.cli.models import models, table
from finst.cli.options import Check
from finst.vlm import open as opening
from finst.vlm.families import supported
from finst.vlm.published import SHAPES
from tests.cli.conftest import Finst


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with known rates, and no weights."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("weights were loaded")

    monkeypatch.setattr(checking, "measured_peaks", lambda device, dtype: Peaks(1e12, 1e11))
    monkeypatch.setattr(opening, "_load", refuse)


def test_published_models(finst: Finst) -> None:
    listed = {model["name"]: model for model in json.loads(finst("models", "--json").out)}
    qwen, llava = listed["qwen2-vl-7b"], listed["llava-1.5-7b"]
    assert qwen["hub"] == ["Qwen/Qwen2-VL-7B-Instruct"]
    assert (qwen["layers"], qwen["heads"], qwen["kv_heads"]) == (28, 28, 4)
    assert qwen["image_tokens"] == {"280": 100, "336": 144, "392": 196}
    assert llava["image_tokens"] == dict.fromkeys(("280", "336", "392"), 576)
    assert qwen["fp32_bytes"] == 2 * qwen["bf16_bytes"] == 4 * 8_291_375_616
    for model in listed.values():
        assert (model["supported"] == "not yet") == (model["architecture"] not in supported())
    printed = finst("models").out
    assert all(hub in printed for model in listed.values() for hub in model["hub"])
    assert max(map(len, table(models()).splitlines())) <= 160


@pytest.mark.usefixtures("rates")
def test_check_of_a_folder(finst: Finst, tiny: Path, letters: Path) -> None:
    found = json.loads(finst("check", tiny, "--json", "--pairs", 7, "--device", "cpu").out)
    runs = {command.words[1] for command in COMMANDS if command.words[0] == "run"}
    assert set(found["experiments"]) == runs - {"interventions"}  # all of one kind, and no experiment of its own
    assert {found["experiments"][name] for name in ("cma", "rsa-stages", "accuracy")} == {"yes"}
    assert found["experiments"]["reuse"] == "yes"
    assert [fit["fits"] for fit in found["fits"]] == [True, True]
    assert 0 < found["floor_s"] < found["estimate_s"][0] < found["estimate_s"][1]
    fewer = json.loads(finst("check", tiny, "--json", "--pairs", 2, "--device", "cpu").out)
    assert fewer["floor_s"] < found["floor_s"]
    refused = json.loads(finst("check", letters, "--json", "--device", "cpu").out)["experiments"]["cma"]
    assert refused.startswith("no: ")
    assert "begin with the same token" in refused


@pytest.mark.usefixtures("rates")
def test_check_of_a_model_that_is_not_here(finst: Finst, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "free_bytes", lambda device: 20 << 30)
    arguments = ("check", "Qwen/Qwen2-VL-7B-Instruct", "--dtype", "bfloat16", "--device", "cpu")
    result = json.loads(finst(*arguments, "--json").out)
    assert result["source"].startswith("finst's registry of published shapes")
    assert {fit["dtype"]: fit["fits"] for fit in result["fits"]} == {"float32": False, "bfloat16": True}
    assert (result["flops_per_s"], result["bytes_per_s"]) == (1e12, 1e11)
    printed = finst(*arguments).out
    assert result["source"] in printed
    assert "float32     30.9 GiB   does not fit" in printed
    assert "bfloat16    15.4 GiB   fits" in printed
    assert all(f"finst run {name}: " in printed for name in result["experiments"])
    assert "1,000.0 GFLOP/s and 100 GB/s" in printed
    assert "no/such-model: no network (HF_HUB_OFFLINE is set)" in finst("check", "no/such-model").message
    assert "pairs must be at least 1" in finst("check", "organism", "--pairs", 0).message


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize("model", [name for shape in SHAPES.values() for name in (shape.name, *shape.hub)])
def test_check_of_every_published_model_works_without_a_network(model: str) -> None:
    result = checking.check(Check(model, on="80GiB", dtype="bfloat16"))
    assert result.parameters > 1e8
    assert result.text.startswith(f"{model} ({SHAPES[result_name(model)].model_type}), by finst's registry")
    assert set(result.experiments.values()) == {"yes, if the colours begin with different tokens"}


def result_name(model: str) -> str:
    """The shape's name of a published model."""
    return next(name for name, shape in SHAPES.items() if model in (name, *shape.hub))


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize("model", ["qwen2-vl-2b", "idefics2-8b", "HuggingFaceM4/idefics2-8b-chatty", "gemma-3-4b"])
def test_check_estimates_times_of_other_cards(finst: Finst, model: str) -> None:
    found = json.loads(finst("check", model, "--on", "h100-80gb", "--dtype", "bfloat16", "--pairs", 1, "--json").out)
    assert (found["device"], found["free_bytes"]) == ("h100-80gb", 79 << 30)
    assert 7e14 < found["flops_per_s"] < 8e14  # as measured on one
    assert 0 < found["estimate_s"][0] < found["estimate_s"][1] < 60


@pytest.mark.usefixtures("rates")
def test_a_model_that_does_not_fit_is_refused_by_all_experiments_with_how_much(finst: Finst) -> None:
    arguments = ("check", "qwen2-vl-7b", "--on", "24GiB", "--pairs", 1)
    found = json.loads(finst(*arguments, "--json").out)
    assert set(found["experiments"].values()) == {"no: 11.7 GiB too few for its weights in float32"}
    printed = finst(*arguments).out
    assert "float32     30.9 GiB   does not fit, 11.7 GiB too few" in printed
    assert ": yes" not in printed
    assert "no estimate, since its rates in this format are unknown" in printed
    shorter = json.loads(finst(*arguments, "--dtype", "bfloat16", "--json").out)
    assert not any(answer.startswith("no") for answer in shorter["experiments"].values())


@pytest.mark.usefixtures("rates")
def test_cards_without_bfloat16(finst: Finst) -> None:
    found = json.loads(finst("check", "qwen2-vl-2b", "--on", "t4-16gb", "--dtype", "bfloat16", "--json").out)
    assert {answer.partition(",")[0] for answer in found["experiments"].values()} == {"no: t4-16gb has no bfloat16"}
    plain = json.loads(
        finst("check", "qwen2-vl-2b", "--on", "t4-16gb", "--dtype", "float16", "--pairs", 1, "--json").out
    )
    assert [fit["dtype"] for fit in plain["fits"]] == ["float32", "float16"]


@pytest.mark.usefixtures("rates")
def test_a_folder_is_taken_before_a_published_shape_of_its_name(
    finst: Finst, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "qwen2-vl-7b")
    monkeypatch.chdir(tmp_path)
    found = json.loads(finst("check", "qwen2-vl-7b", "--device", "cpu", "--pairs", 1, "--json").out)
    assert found["source"] == "its files in qwen2-vl-7b"
    assert found["parameters"] < 1e6
    (tmp_path / "organism").mkdir()
    assert "(organism is the model that comes with finst; the folder" in finst("check", "organism", "--pairs", 1).out
    (tmp_path / "qwen2-vl-7b" / "config.json").write_text("{")
    assert "is not a JSON object" in finst("check", "qwen2-vl-7b").message


@pytest.mark.usefixtures("rates")
def test_check_refuses_what_excludes_each_other(finst: Finst) -> None:
    assert "expected one of the two" in finst("check", "organism", "--on", "24GiB", "--device", "cpu").message
    assert "unknown machine 'h100': expected one of" in finst("check", "organism", "--on", "h100").message
    assert "has no revision 'v2'" in finst("check", "qwen2-vl-7b", "--revision", "v2").message


def test_spans_of_time() -> None:
    spans = {0.123: "0.12 s", 3.0: "3 s", 90.0: "90 s", 150.0: "2 min", 9000.0: "2 h", 1e6: "12 days"}
    assert {seconds: checking._span(seconds) for seconds in spans} == spans
