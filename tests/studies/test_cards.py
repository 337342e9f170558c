"""The report cards of the shipped organisms are those of the study that trained and measured them."""

import hashlib
import shutil
from pathlib import Path

import pytest

from finst.builtin.organism import card
from finst.vlm.names import BUILTIN
from studies.origins.cards import main
from studies.origins.rows import read

RESULTS = Path(__file__).parents[2] / "studies/origins/results.jsonl"
SHIPPED = {"organism": "legs34-s7", "organism-llava": "llava-s0"}


def folder_of(model):
    return Path(card.__file__).parents[1] / BUILTIN[model]


@pytest.mark.parametrize("model", SHIPPED)
def test_cards_of_shipped_models_have_the_numbers_of_the_study(model, tmp_path):
    folder, copy = folder_of(model), tmp_path / "copy"
    shutil.copytree(folder, copy)
    for name in ("README.md", "report_card.json"):
        (copy / name).unlink()
    main([str(RESULTS), SHIPPED[model], str(copy)])
    for name in ("README.md", "report_card.json"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("model", SHIPPED)
def test_shipped_weights_are_those_that_were_measured(model):
    (line,) = (line for line in read([RESULTS]) if line["name"] == SHIPPED[model])
    weights = (folder_of(model) / "model.safetensors").read_bytes()
    assert line["final"]["weights"] == hashlib.sha256(weights).hexdigest()
