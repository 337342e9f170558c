"""Finding and loading models, and a clear error message when there is none."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from transformers.utils import logging as hf_logging

from finst.errors import FinstError
from finst.prompts import Prompt, colour_retrieval, scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, Picture, Scene, on_grid
from finst.vlm import open as opening
from finst.vlm.encode import encode, first_tokens
from finst.vlm.families import family_of
from finst.vlm.open import Reader, open_reader, open_vlm, quiet
from tests.tiny import FAMILIES, checkpoint

SCENE = on_grid([("red", "square"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to load weights fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(opening, "AutoModelForImageTextToText", SimpleNamespace(from_pretrained=refuse))


def test_a_model_and_its_sizes(folder: Path) -> None:
    vlm = open_vlm(str(folder), dtype="bfloat16", device="cpu")
    assert (vlm.n_layers, vlm.n_heads, vlm.n_kv_heads, vlm.d_head) == (3, 4, 2, 8)
    assert (vlm.dtype, vlm.device.type) == (torch.bfloat16, "cpu")
    assert not vlm.model.training
    assert not any(parameter.requires_grad for parameter in vlm.model.parameters())
    assert vlm.weights_hash == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert (vlm.reader.id, vlm.reader.path, vlm.reader.revision) == (str(folder), folder, None)


def test_opening_prints_nothing_and_restores_logging(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    open_vlm(str(folder))
    assert capfd.readouterr() == ("", "")
    assert (hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()) == before
    with contextlib.suppress(RuntimeError), quiet():
        assert hf_logging.get_verbosity() == logging.ERROR
        raise RuntimeError
    assert (hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()) == before


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("name", ["organsm", "no/such/folder", "./nowhere", "../nowhere", "a b/c", "", "a" * 5000])
def test_unknown_models_name_the_valid_kinds(name: str) -> None:
    known = r"\(organism, organism-llava, planted.*\)"
    with pytest.raises(FinstError, match=rf"unknown model .*built-in model {known}, a folder .* hub id such as"):
        open_vlm(name)


@pytest.mark.usefixtures("no_weights")
def test_folders_lacking_something(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.rename(copy / "pytorch_model.bin")
    with pytest.raises(FinstError, match=r"no weights but pytorch_model\.bin, a pickle, which can run code .*expected"):
        open_vlm(str(copy))
    (copy / "pytorch_model.bin").rename(weights)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(FinstError, match="does not hold a whole checkpoint; expected a configuration, a tokenizer"):
        open_vlm(str(copy))
    (copy / "config.json").unlink()
    with pytest.raises(FinstError, match=r"has no config\.json; expected a Hugging Face checkpoint"):
        open_vlm(str(copy))


@pytest.mark.usefixtures("no_weights")
def test_image_processors_must_be_there(copy: Path) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        (copy / name).unlink(missing_ok=True)
    with pytest.raises(FinstError, match="an image processor"):
        open_vlm(str(copy))


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("model_type", ["llama", "made_up", None])
def test_unsupported_architectures(copy: Path, model_type: str | None) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": model_type}))
    with pytest.raises(FinstError, match=r"unknown architecture .*: expected one of qwen2_vl"):
        open_vlm(str(copy))


@pytest.mark.usefixtures("no_weights")
def test_broken_json_is_named(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    with pytest.raises(FinstError, match=r"config\.json"):
        open_vlm(str(copy))


@pytest.mark.usefixtures("no_weights")
def test_unknown_dtypes_and_devices(folder: Path) -> None:
    valid = "float32, bf16x3, bf16x6, float64, bfloat16, float16"
    with pytest.raises(FinstError, match=f"unknown dtype 'int8': expected one of {valid}"):
        open_vlm(str(folder), dtype="int8")
    with pytest.raises(FinstError, match="unknown device 'gpu': expected one of auto, cpu, cuda"):
        open_vlm(str(folder), device="gpu")
    with pytest.raises(FinstError, match=rf"'cuda:99' is not there: this machine has {torch.cuda.device_count()} CUDA"):
        open_vlm(str(folder), device="cuda:99")


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("device", ["meta", "cuda:", "cuda:-1", "mps", ""])
def test_devices_that_finst_does_not_use(folder: Path, device: str) -> None:
    with pytest.raises(FinstError, match=r"unknown device .*: expected one of auto, cpu, cuda, cuda:N"):
        open_vlm(str(folder), device=device)


@pytest.mark.usefixtures("no_weights")
def test_only_the_hub_has_revisions(folder: Path) -> None:
    for model in (str(folder), "organism"):
        with pytest.raises(FinstError, match="no revision 'v2': only models of the Hugging Face hub have revisions"):
            open_reader(model, revision="v2")


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n"])
def test_weight_files_that_are_none(copy: Path, content: bytes) -> None:
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(FinstError, match=r"model: its weight files cannot be read .*expected whole safetensors files"):
        open_vlm(str(copy))


@pytest.mark.usefixtures("no_weights")
def test_slow_tokenizers_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: SimpleNamespace(is_fast=False))
    with pytest.raises(FinstError, match="gives no character offsets"):
        open_reader(str(folder))


def test_weights_that_lack_a_part_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(FinstError, match=r"do not fit its config\.json, beginning with lm_head\.weight"):
        open_vlm(str(copy))


def test_weights_of_another_size_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"][:-1].clone()
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(FinstError, match=r"do not fit its config\.json, beginning with lm_head\.weight"):
        open_vlm(str(copy))


@pytest.mark.parametrize("revision", [None, "main", "0123456789abcdef0123456789abcdef01234567"])
def test_the_hubs_cache_serves_offline(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--someone--tiny"
    shutil.copytree(folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    reader = open_reader("someone/tiny", revision=revision)
    assert (reader.id, reader.revision) == ("someone/tiny", commit)
    assert open_vlm(reader).n_layers == 3
    with pytest.raises(FinstError, match=r"someone/tiny at other: no network .* cache on this machine lacks its small"):
        open_reader("someone/tiny", revision="other")
    (repo / "snapshots" / commit / "model.safetensors").unlink()
    with pytest.raises(FinstError, match=r"someone/tiny: no network .* lacks its weights \(model\*\.safetensors\)"):
        open_vlm(reader)


def test_two_answers_that_begin_alike(folder: Path) -> None:
    reader, prompt = open_reader(str(folder)), scene_description(SCENE, [0], 1)
    assert len(set(first_tokens(reader, prompt, ["red", "blue", "green"]))) == 3
    with pytest.raises(FinstError, match=r"'blue star' and 'blue circle' begin with the same token ' blue'"):
        first_tokens(reader, prompt, ["red", "blue star", "blue circle"])


def test_first_tokens_are_those_after_the_prompt(folder: Path) -> None:
    """`` red`` continues a sentence; ``red`` begins the assistant's turn: two tokens."""
    reader = open_reader(str(folder))
    prefill, turn = scene_description(SCENE, [1], 0), colour_retrieval(SCENE, 0)
    assert reader.tokenizer.decode(first_tokens(reader, prefill, ["red"])) == " red"
    assert reader.tokenizer.decode(first_tokens(reader, turn, ["red"])) in "red"
    assert first_tokens(reader, prefill, ["red"]) != first_tokens(reader, turn, ["red"])


def test_answers_must_continue_the_prompt(folder: Path) -> None:
    reader = open_reader(str(folder))
    for call in (
        lambda: first_tokens(reader, colour_retrieval(SCENE, 0), [""]),
        lambda: encode(reader, draw(SCENE), colour_retrieval(SCENE, 0), ""),
    ):
        with pytest.raises(FinstError, match="does not tokenise the prompt as the beginning of prompt and answer ''"):
            call()


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content[1].text }}",
        "<|image_pad|>",
        "<|image_pad|><|image_pad|>{{ messages[0].content[1].text }}",
    ],
)
def test_templates_must_place_one_picture_and_one_text(folder: Path, template: str) -> None:
    reader = open_reader(str(folder))
    reader.tokenizer.chat_template = template
    with pytest.raises(FinstError, match=r"does not render one picture and one text: .* exactly once each"):
        encode(reader, draw(SCENE), scene_description(SCENE, [0], 1))


@pytest.mark.parametrize("template", [False, True], ids=["none_of_the_tokenizers", "instead_of_the_tokenizers"])
def test_templates_that_older_checkpoints_keep_beside_the_tokenizer(tmp_path: Path, template: bool) -> None:
    """SmolVLM's first version: Idefics3's architecture and a tokenizer that does not add the first token."""
    folder = checkpoint(tmp_path, FAMILIES["smolvlm"], template=template)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "idefics3"}))
    opened = "<|im_start|>Older:<image>{{ messages[0].content[1].text }}<end_of_utterance>\nAssistant:"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": opened}))
    reader, prompt = open_reader(str(folder)), scene_description(SCENE, [0], 1)
    encoded = encode(reader, draw(SCENE), prompt)
    assert encoded.text == (
        f"<|im_start|>Older:<image>{prompt.user}<end_of_utterance>\nAssistant: {prompt.prefill}"
    ).rstrip(" ")
    opening = reader.tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert torch.nonzero(encoded.input_ids == opening).tolist() == [[0]]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"chat_template": ["{{ messages }}"]}'])
def test_damaged_templates_are_named(copy: Path, content: str) -> None:
    (copy / "chat_template.json").write_text(content)
    with pytest.raises(FinstError, match="does not hold a whole checkpoint"):
        open_reader(str(copy))


def test_tokenizers_must_belong_to_the_configuration(folder: Path) -> None:
    reader = open_reader(str(folder))
    reader.config.image_token_id = 0
    with pytest.raises(FinstError, match="as its image token 0: expected the tokenizer that belongs"):
        encode(reader, draw(SCENE), scene_description(SCENE, [0], 1))


def blank(width: int, height: int) -> Picture:
    image = np.full((height, width, 3), 255, dtype=np.uint8)
    return Picture(Scene(width, height, ()), image, np.zeros((0, height, width), dtype=bool))


def test_awkward_pictures(reader: Reader) -> None:
    prompt = Prompt("What is this?", (), "user_turn", "")
    tokens = encode(reader, blank(1, 1), prompt).tokens
    assert len(tokens.positions("image")) == tokens.grid[0] * tokens.grid[1] > 1
    assert tokens.coverage.shape == (0, tokens.grid[0] * tokens.grid[1])
    with pytest.raises(FinstError, match="a picture of 1000x2 px does not suit qwen2_vl"):
        encode(reader, blank(1000, 2), prompt)


@pytest.mark.parametrize("limit", ["fits", "too long"])
def test_prompts_longer_than_the_decoder_takes(folder: Path, limit: str) -> None:
    """Image tokens and the answer count, too."""
    reader, prompt = open_reader(str(folder)), scene_description(SCENE, [0], 1)
    length = len(encode(reader, draw(SCENE), prompt).tokens)
    assert length > 100
    reader.config.get_text_config().max_position_embeddings = length - (limit == "too long")
    if limit == "fits":
        assert len(encode(reader, draw(SCENE), prompt).tokens) == length
        length += len(reader.tokenizer(" blue star")["input_ids"])
    with pytest.raises(FinstError, match=rf"picture and prompt take {length} positions, and .* expected a shorter"):
        encode(reader, draw(SCENE), prompt, None if limit == "too long" else "blue star")


def test_families_list_their_model_types() -> None:
    assert "qwen2_vl" in family_of("qwen2_vl").model_types
