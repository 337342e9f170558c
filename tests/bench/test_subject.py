"""Models and shapes to be timed: their contexts, positions and answers, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from finst.bench.spec import SubjectSpec
from finst.bench.subject import Subject, conditions_of, contexts_needed, of_shape, open_subject, patched, weights_bytes
from finst.errors import FinstError
from finst.scenes.shapes import COLOURS
from tests.bench.tiny import TINY
from tests.tiny import checkpoint

SPEC = SubjectSpec(tokens=50, device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def subject() -> Subject:
    return of_shape(TINY, SPEC)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("tiny")))


def test_conditions_record_what_they_need() -> None:
    assert contexts_needed(conditions_of("all")) == ("clean", "swapped", "changed")
    assert contexts_needed(conditions_of("retrieval")) == ("clean", "swapped")
    assert contexts_needed(conditions_of("selection")) == ("clean", "swapped")
    assert contexts_needed(conditions_of("feature")) == ("clean", "changed")


def test_unknown_condition() -> None:
    with pytest.raises(
        FinstError, match="unknown condition 'binding': expected one of all, retrieval, selection, feature"
    ):
        conditions_of("binding")


def test_positions(subject: Subject) -> None:
    pair = subject.pair(0)
    assert patched(pair, conditions_of("all")) == ((40, 41), (49,), (49,))
    assert patched(of_shape(TINY, replace(SPEC, suffix=5)).pair(0), conditions_of("retrieval")) == ((45, 46),)


def test_pairs_of_a_shape(subject: Subject) -> None:
    first, again, other = subject.pair(0), subject.pair(0), subject.pair(1)
    assert torch.equal(first[1].image_inputs["pixel_values"], again[1].image_inputs["pixel_values"])
    assert not torch.equal(first[0].input_ids, other[0].input_ids)
    assert len(set(subject.answers)) == 3
    assert weights_bytes(subject.vlm) == sum(t.nbytes for t in subject.vlm.model.state_dict().values()) + sum(
        t.nbytes for name, t in subject.vlm.model.named_buffers()
    )


def test_pairs_of_a_model(model: str) -> None:
    subject = open_subject(SubjectSpec(model, device="cpu"), 2)
    assert subject.name == model
    assert len(subject.answers) == len(set(subject.answers)) <= len(COLOURS)
    clean, swapped, _ = subject.pair(1)
    assert torch.equal(clean.input_ids, swapped.input_ids)
    assert patched((clean,), conditions_of("retrieval")) == (clean.tokens.described(0),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": 0}, "inputs must be at least 1, not 0"),
        ({"shape": "gpt-2"}, "unknown shape 'gpt-2'"),
        ({"shape": "qwen2-vl-7b", "model": "mine"}, "both the shape qwen2-vl-7b and a model were given"),
        ({"shape": "qwen2-vl-7b", "revision": "main"}, "both the shape qwen2-vl-7b and a model were given"),
        ({"shape": "qwen2-vl-7b", "tokens": 5}, "tokens is 5: a picture and a suffix of 10 tokens need at least 14"),
        ({"shape": "qwen2-vl-7b", "suffix": 1}, "suffix is 1: expected at least 3"),
        ({"shape": "qwen2-vl-7b", "device": "tpu"}, "unknown device 'tpu'"),
        ({"tokens": 100}, "tokens, suffix and picture-px belong to a shape"),
        ({"suffix": 10}, "tokens, suffix and picture-px belong to a shape"),
        ({"model": "no-such-model"}, "unknown model 'no-such-model'"),
    ],
)
def test_refusals(change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def built(*_: object, **__: object) -> None:
        raise AssertionError("weights were created")

    monkeypatch.setattr("finst.bench.random_vlm.AutoModelForImageTextToText.from_config", built)
    with pytest.raises(FinstError, match=message):
        open_subject(SubjectSpec(**change), 1)


def test_no_pairs() -> None:
    with pytest.raises(FinstError, match="pairs must be at least 1, not 0"):
        open_subject(SubjectSpec(), 0)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FinstError, match=r"has no config\.json"):
        open_subject(SubjectSpec(str(tmp_path)), 1)
