"""Training as a whole: recipes, records, checkpoints, and what is refused. On a CPU, with a few steps."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer

from finst.builtin.organism.llava import Llava
from finst.builtin.organism.qwen2_vl import Qwen2VL
from finst.builtin.organism.training.recipes import RECIPES
from finst.builtin.organism.training.schedule import checkpoint_steps, learning_rate, leg_of, progress
from finst.builtin.organism.training.spec import TrainSpec
from finst.builtin.organism.training.train import completed, train
from finst.errors import FinstError
from finst.vlm.open import BUILTIN, open_vlm
from tests.builtin.test_organism import PACKAGE

TINY = {"layers": 2, "tokens": 300, "workers": 0, "device": "cpu", "examined": 0}


def tiny(out, **options):
    return TrainSpec(out, **{**TINY, **options})


def record_of(folder):
    return json.loads((folder / "training.json").read_text())


def test_the_first_leg_peaks_at_the_rate_and_the_next_at_less():
    rates = [learning_rate(1e-3, step / 10_000, 2, step % 5000) for step in range(10_000)]
    assert rates[0] == pytest.approx(1e-3 / 300)
    assert max(rates[:5000]) == pytest.approx(1e-3, rel=0.01)
    assert rates[4999] == pytest.approx(1e-3 / 50, rel=0.01)
    assert max(rates[5000:]) == pytest.approx(0.7 * max(rates[:5000]))
    assert rates[9999] == pytest.approx(0.7e-3 / 50, rel=0.01)
    whole = [learning_rate(1e-3, step / 1000, 1, step) for step in range(1000)]
    assert sorted(whole[300:], reverse=True) == whole[300:]


def test_progress_is_by_steps_or_by_the_clock_and_legs_are_equally_long():
    assert progress(5, 10) == 0.5
    assert progress(1, 10, elapsed_s=90, minutes=2) == 0.75
    assert progress(11, 10) == 1
    assert [leg_of(done, 3) for done in (0, 0.33, 0.34, 0.67, 1)] == [0, 0, 1, 2, 2]


def test_checkpoints_are_evenly_spaced_on_a_log_scale():
    assert checkpoint_steps(0, 100) == ()
    assert checkpoint_steps(1, 100) == (100,)
    assert checkpoint_steps(3, 10_000) == (100, 1000, 10_000)
    assert checkpoint_steps(5, 3) == (3,)


def test_what_is_asked_for_wins_over_the_recipe():
    spec, recipe = completed(TrainSpec(Path("new"), mix="binding"))
    assert recipe == RECIPES["binding"]
    assert (spec.layers, spec.steps, spec.legs, spec.evenness) == (6, 12_700, 2, 0.5)
    spec, recipe = completed(replace(spec, evenness=0.0, layers=10, legs=1))
    assert (recipe.layers, recipe.legs, recipe.evenness, recipe.colour_noise) == (10, 1, 0.0, 10.0)
    assert recipe.mix == RECIPES["binding"].mix


@pytest.mark.parametrize(("family", "examined"), [("qwen2_vl", 0), ("llava", 1)])
def test_training_writes_a_checkpoint_that_plain_transformers_loads(family, examined, tmp_path):
    spec = TrainSpec(tmp_path / "a", family=family, steps=8, tokens=600, workers=0, device="cpu", examined=examined)
    train(spec)
    model = AutoModelForImageTextToText.from_pretrained(spec.out)
    assert 10.5e6 < sum(p.numel() for p in model.parameters()) < 12e6
    assert model.config.model_type == family
    (leg,) = record_of(spec.out)
    assert (leg["steps"], leg["layers"]) == (8, 10)
    assert leg["curve"][-1]["loss"] < math.log(len(AutoTokenizer.from_pretrained(spec.out)))
    assert (spec.out / "README.md").exists() == bool(examined)


def test_training_goes_on_from_a_folder(tmp_path):
    train(tiny(tmp_path / "a", steps=1))
    train(tiny(tmp_path / "b", start=tmp_path / "a", mix="finishing", steps=1))
    assert [leg["mix"]["name"] for leg in record_of(tmp_path / "b")] == ["grounded", "finishing"]


def test_checkpoints_open_as_models_and_the_last_holds_the_final_weights(tmp_path):
    out = train(tiny(tmp_path / "a", mix="binding", steps=4, checkpoints=3))
    folders = sorted((out / "checkpoints").iterdir())
    assert [folder.name for folder in folders] == ["step-000004"]
    opened = open_vlm(str(folders[-1]), device="cpu")
    assert (opened.n_layers, opened.n_heads) == (2, 8)
    final, kept = (AutoModelForImageTextToText.from_pretrained(folder) for folder in (out, folders[-1]))
    assert kept.dtype == torch.bfloat16
    assert all(torch.equal(p, q) for p, q in zip(final.parameters(), kept.parameters(), strict=True))
    assert record_of(out)[0]["legs"] == 2


def test_training_again_gives_the_same_weights(tmp_path):
    first, second = (train(tiny(tmp_path / name, mix="counting", steps=3, legs=2)) for name in "ab")
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


@pytest.mark.parametrize("architecture", [Qwen2VL(), Llava()], ids=lambda architecture: architecture.name)
def test_models_have_as_many_layers_as_asked_for(architecture):
    model = architecture.build_model(architecture.build_tokenizer(), 3)
    assert len(model.model.language_model.layers) == 3


def test_the_clock_ends_training_before_the_steps_do(tmp_path):
    train(tiny(tmp_path / "a", steps=10**6, minutes=0.01))
    (leg,) = record_of(tmp_path / "a")
    assert 1 <= leg["steps"] < 1000


def test_training_refuses_what_it_cannot_do(tmp_path):
    shipped = PACKAGE / BUILTIN["organism"]
    with pytest.raises(FinstError, match=r"unknown mix 'porridge'.*grounded"):
        train(TrainSpec(tmp_path / "new", mix="porridge"))
    with pytest.raises(FinstError, match=r"unknown family 'clip'.*qwen2_vl.*llava"):
        train(TrainSpec(tmp_path / "new", family="clip"))
    with pytest.raises(FinstError, match=r"of family 'qwen2_vl': expected 'llava'"):
        train(TrainSpec(tmp_path / "new", family="llava", start=shipped))
    with pytest.raises(FinstError, match=r"of 6 layers: expected 10"):
        train(TrainSpec(tmp_path / "new", layers=10, start=shipped))
    with pytest.raises(FinstError, match=r"legs is 0: expected at least 1"):
        train(TrainSpec(tmp_path / "new", legs=0))
    with pytest.raises(FinstError, match=r"nearly_full is -0\.1: expected a share from 0 to 1"):
        train(TrainSpec(tmp_path / "new", nearly_full=-0.1))
    with pytest.raises(FinstError, match=r"low_entropy is 1\.5: expected a share from 0 to 1"):
        train(TrainSpec(tmp_path / "new", low_entropy=1.5))
    with pytest.raises(FinstError, match=r"holds no training\.json"):
        train(TrainSpec(tmp_path / "new", start=tmp_path))
    (tmp_path / "mine").write_text("keep me")
    with pytest.raises(FinstError, match="not empty"):
        train(TrainSpec(tmp_path))
    assert (tmp_path / "mine").read_text() == "keep me"
