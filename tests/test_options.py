"""Named choices agree with the modules that implement them, and cost nothing to import."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

from finst.errors import FinstError, choice
from finst.options import Arrangements, Dtype, Entropy, Objects, Placement, TensorName, Wording
from finst.prompts import begun_list
from finst.scenes.designs import features
from finst.scenes.object import Grid
from finst.scenes.sets import unique_objects
from finst.vlm.placement import DTYPES, QUANTIZED


def test_number_formats_are_those_of_placement() -> None:
    assert get_args(Dtype) == (*DTYPES, *QUANTIZED)


@pytest.mark.parametrize("entropy", get_args(Entropy))
def test_every_entropy_has_a_design(entropy: Entropy) -> None:
    assert len(set(features(np.random.default_rng(0), 4, entropy))) == 4


@pytest.mark.parametrize("objects", get_args(Objects))
@pytest.mark.parametrize("arrangements", get_args(Arrangements))
def test_every_kind_of_objects_and_arrangements_has_a_design(objects: Objects, arrangements: Arrangements) -> None:
    trials = unique_objects(Grid(2, 2), "high", 1, 0, objects, arrangements)
    assert len(trials) == (16 if arrangements == "counterbalanced" else 24)
    assert (len({frozenset(obj.name for obj in trial.scene.objects) for trial in trials}) == 1) == (objects == "same")


@pytest.mark.parametrize("wording", get_args(Wording))
def test_every_wording_begins_a_list(wording: Wording) -> None:
    assert begun_list(["dog"], wording=wording).prefill.endswith("1. a dog 2. a")


def test_sentences_can_be_placed_in_either_turn() -> None:
    prompts = {placement: begun_list([], placement) for placement in get_args(Placement)}
    assert [bool(prompt.prefill) for prompt in prompts.values()] == [True, False]


def test_tensors_can_be_sampled() -> None:
    from finst.engine.activations import Sampleable

    assert set(get_args(TensorName)) <= set(get_args(Sampleable))


def test_options_and_errors_import_nothing_heavy() -> None:
    code = "import sys, finst.options, finst.errors; print(*({'torch', 'numpy', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def test_the_error_for_a_choice_names_the_valid_ones() -> None:
    error = choice("colour", "mauve", ["red", "blue"])
    assert isinstance(error, FinstError)
    assert str(error) == "unknown colour 'mauve': expected one of red, blue"
