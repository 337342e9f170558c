"""A checkpoint with one number that is no number stops every experiment, before any result."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from finst.cli.main import main
from finst.errors import NotFiniteError
from finst.experiments.interventions.protocol import Intervention
from finst.experiments.registry import REGISTRY
from finst.runs.executor import run
from finst.runs.spec import from_json
from finst.vlm.open import open_vlm
from tests.experiments.interventions.small import maps_of, measured
from tests.runs.old_runs import unpacked
from tests.tiny import checkpoint

WEIGHT = "model.language_model.layers.1.mlp.up_proj.weight"


def damage(folder: Path, change: Callable[[torch.Tensor], None], name: str = WEIGHT) -> Path:
    """Changes one tensor of a checkpoint."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    found = next(each for each in weights if name.removeprefix("model.language_model") in each)
    change(weights[found])
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def one_nan(tensor: torch.Tensor) -> None:
    tensor.view(-1)[7] = torch.nan


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(damage(checkpoint(tmp_path_factory.mktemp("damaged")), one_nan))


def small_spec(name: str, model: str, folder: Path) -> Any:
    """The settings of the smallest run, on another model."""
    stored = json.loads((unpacked(name, folder) / "manifest.json").read_text())["spec"]
    settings = {"cma": None} if "cma" in stored else {}
    return replace(from_json(REGISTRY[name].load().spec, {**stored, **settings}), model=model, device="cpu")


@pytest.mark.parametrize("name", REGISTRY)
def test_a_damaged_checkpoint_stops_every_experiment_and_leaves_no_unit(
    name: str, damaged: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(NotFiniteError, match=r"first in layer 1\. Likely cause: weights, 1 of the .*up_proj") as error:
        run(REGISTRY[name].load(), small_spec(name, damaged, tmp_path / "old"), out)
    assert "context 1 of" in str(error.value)
    assert not [*tmp_path.glob("run*/units/*"), *tmp_path.glob("run*/summary*")]


@pytest.mark.parametrize("name", [name for name in REGISTRY if isinstance(REGISTRY[name].load(), Intervention)])
def test_interventions_stop_also_where_the_heads_are_known(name: str, damaged: str, tmp_path: Path) -> None:
    vlm = open_vlm(damaged, device="cpu")
    with pytest.raises(NotFiniteError, match=r"first in layer 1\. Likely cause: weights"):
        measured(REGISTRY[name].load(), vlm, small_spec(name, damaged, tmp_path), maps_of(vlm))


def test_the_command_exits_with_2_and_one_message(
    damaged: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "cma", damaged, "--pairs", "2", "--device", "cpu", "--out", str(tmp_path / "run")]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in printed
    assert "not finite, first in layer 1. Likely cause: weights" in printed


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("embed_tokens", "before layer 0"),
        ("lm_head", "after the last layer"),
        ("layers.0.self_attn.q_proj.weight", "in layer 0"),
        ("visual.blocks.0.mlp.fc1.weight", "before layer 0"),
    ],
)
def test_damage_anywhere_is_found_and_the_tensor_named(name: str, where: str, tmp_path: Path) -> None:
    def all_nan(tensor: torch.Tensor) -> None:
        tensor.fill_(torch.nan)

    folder = str(damage(checkpoint(tmp_path / "tiny"), all_nan, name))
    with pytest.raises(NotFiniteError, match=f"first {where}.*Likely cause: weights, .*{name}"):
        run(REGISTRY["cma"].load(), small_spec("cma", folder, tmp_path), tmp_path / "run")


def test_float16_that_overflows_in_some_contexts_only_is_refused_with_another_format(tmp_path: Path) -> None:
    """One word's embedding grows until the layer's input overflows: only contexts with this word are affected."""
    folder = checkpoint(tmp_path / "tiny")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    word = next(index for piece, index in tokenizer.items() if piece.endswith("green"))

    def grow(tensor: torch.Tensor) -> None:
        tensor[word] *= 3e4 / tensor[word].abs().max()

    damage(folder, grow, "embed_tokens")

    def double(tensor: torch.Tensor) -> None:
        tensor *= 4e4

    damage(folder, double, "layers.0.mlp.down_proj.weight")
    spec = replace(small_spec("cma", str(folder), tmp_path), dtype="float16", only_correct=False)
    with pytest.raises(NotFiniteError, match=r"format, all weights are finite, but float16 ends at 6\.55e\+04: use"):
        run(REGISTRY["cma"].load(), spec, tmp_path / "run")
    assert np.isfinite(
        run(REGISTRY["cma"].load(), replace(spec, dtype="float32"), tmp_path / "wide").summary["mean"]
    ).all()
