"""Checkpoints that cannot be run: refused with one message, the same in ``check`` and ``run``, before weights load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from finst.errors import FinstError
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.vlm.encode import encode
from finst.vlm.names import shadowed
from finst.vlm.open import open_reader, open_vlm
from tests.cli.conftest import Finst
from tests.cli.conftest import finst as finst
from tests.fuzz.checkpoints import SCENE, logits, sharded
from tests.tiny import FAMILIES, checkpoint

Damage = Callable[[Path], object]


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return Path(shutil.copytree(folder, tmp_path / "model"))


def with_entries(name: str, **entries: Any) -> Damage:
    """Sets entries of a JSON file; ``a__b`` is entry b of section a, and ``...`` removes it."""

    def damage(folder: Path) -> None:
        file = folder / name
        content = json.loads(file.read_text()) if file.is_file() else {}
        for key, value in entries.items():
            section, _, inner = key.rpartition("__") if "__" in key[1:] else ("", "", key)
            holder = content[section] if section else content
            if value is ...:
                holder.pop(inner)
            else:
                holder[inner] = value
        file.write_text(json.dumps(content))

    return damage


def holding(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text)


def moved(name: str, to: str) -> Damage:
    return lambda folder: (folder / name).rename(folder / to)


def in_shards(damage: Damage) -> Damage:
    def whole(folder: Path) -> None:
        sharded(folder)
        damage(folder)

    return whole


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return damage


def swapped(folder: Path) -> None:
    first, second = sorted(folder.glob("model-*.safetensors"))[:2]
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def twice(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    sharded(folder)
    (folder / "model.safetensors").write_bytes(content)


def quantised(method: object, **more: object) -> Damage:
    return with_entries("config.json", quantization_config={"quant_method": method, **more})


def only_sentencepiece(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")


NORM = "model.layers.0.input_layernorm.weight"
ADAPTER = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "Qwen/Qwen2-VL-2B-Instruct"})
TEMPLATE = "the chat template of .* does not render one picture and one text"
INDEX = "model.safetensors.index.json"

DAMAGED: dict[str, tuple[Damage, str]] = {
    "awq": (quantised("awq", bits=4), "quantised by awq, 4 bit .*finst does not run quantised"),
    "gptq": (quantised("gptq", bits=4), "quantised by gptq, 4 bit"),
    "bitsandbytes 4 bit": (quantised("bitsandbytes", load_in_4bit=True), "quantised by bitsandbytes, 4 bit"),
    "bitsandbytes 8 bit": (quantised("bitsandbytes", load_in_8bit=True), "quantised by bitsandbytes, 8 bit"),
    "bitsandbytes unnamed": (
        with_entries("config.json", quantization_config={"load_in_8bit": True}),
        "quantised by bitsandbytes, 8 bit",
    ),
    "fp8": (quantised("fp8"), "quantised by fp8"),
    "compressed-tensors": (quantised("compressed-tensors"), "quantised by compressed-tensors"),
    "a quantiser of the future": (quantised("q17"), "quantised by q17"),
    "quantised text model": (
        with_entries("config.json", text_config__quantization_config={"quant_method": "hqq"}),
        "quantised by hqq .*text_config.quantization_config",
    ),
    "mlx": (with_entries("config.json", quantization={"group_size": 64, "bits": 4}), "quantised by an unnamed method"),
    "gptq in a file of its own": (with_entries("quantize_config.json", bits=4), "quantised by gptq, 4 bit"),
    "integers without a word": (
        tensors(lambda weights: weights.update({NORM: weights[NORM].to(torch.int8)})),
        r"its weights are quantised \(.*input_layernorm.weight holds I8\)",
    ),
    "adapter alone": (
        lambda folder: [(folder / "config.json").unlink(), holding("adapter_config.json", ADAPTER)(folder)],
        r"holds an adapter \(LoRA\) of Qwen/Qwen2-VL-2B-Instruct, .*merge_and_unload",
    ),
    "adapter beside weights": (
        holding("adapter_config.json", ADAPTER),
        "beside whole weights, which do not contain it",
    ),
    "adapter's weights beside weights": (holding("adapter_model.safetensors", ""), "holds an adapter"),
    "shards without index": (
        in_shards(lambda folder: (folder / INDEX).unlink()),
        r"no weights but 3 shards, beginning with model-00001-of-00003\.safetensors, without model\.safetensors\.index",
    ),
    "variant": (moved("model.safetensors", "model.fp16.safetensors"), r"those of a variant, model\.fp16\.safetensors"),
    "another name": (moved("model.safetensors", "consolidated.safetensors"), "no weights but consolidated.safetensors"),
    "gguf": (moved("model.safetensors", "model-q4.gguf"), r"no weights but model-q4\.gguf"),
    "pickle": (moved("model.safetensors", "pytorch_model.bin"), "a pickle, which can run code"),
    "two sets of weights": (twice, "two sets of weights"),
    "missing shard": (
        in_shards(lambda folder: (folder / "model-00002-of-00003.safetensors").unlink()),
        r"names 1 files that are not in the folder .*beginning with model-00002-of-00003\.safetensors",
    ),
    "shards swapped": (in_shards(swapped), "its weight files are not those of model.safetensors.index.json"),
    "shard twice": (
        in_shards(
            lambda folder: shutil.copy(
                folder / "model-00001-of-00003.safetensors", folder / "model-00002-of-00003.safetensors"
            )
        ),
        "is in several weight files",
    ),
    "index without map": (in_shards(holding(INDEX, "{}")), "has no weight_map"),
    "index out of the folder": (
        in_shards(with_entries(INDEX, weight_map={"a": "../model.safetensors"})),
        "has no weight_map: expected the name of a file in this folder",
    ),
    "truncated weights": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
        "its weight files cannot be read .*expected whole safetensors files",
    ),
    "missing tensor": (tensors(lambda weights: weights.pop(NORM)), "input_layernorm.weight, which is missing"),
    "extra tensor": (
        tensors(lambda weights: weights.update({"model.layers.3.mlp.up_proj.weight": torch.ones(2, 2)})),
        r"layers\.3\.mlp\.up_proj\.weight, which is no part of this architecture",
    ),
    "fewer layers than weights": (
        with_entries("config.json", text_config__num_hidden_layers=2, text_config__layer_types=["full_attention"] * 2),
        r"layers\.2\..* which is no part of this architecture",
    ),
    "tensor of another shape": (
        tensors(lambda weights: weights.update({NORM: torch.ones(3)})),
        r"input_layernorm\.weight, which has the shape \(3,\) and not \(32,\)",
    ),
    "renamed tensor": (
        tensors(lambda weights: weights.update({"x": weights.pop(NORM)})),
        r"input_layernorm\.weight, which is missing \(missing: 1, of another shape: 0, besides: 1\)",
    ),
    "config of another type": (
        with_entries("config.json", text_config=3),
        "whole checkpoint|that transformers can build",
    ),
    "config with a word for a number": (
        with_entries("config.json", text_config__num_hidden_layers="three"),
        "whole checkpoint|that transformers can build",
    ),
    "config with no layers": (
        with_entries("config.json", text_config__num_hidden_layers=-1),
        "num_hidden_layers|no part of|build",
    ),
    "unknown activation": (with_entries("config.json", text_config__hidden_act="none"), "that transformers can build"),
    "rotary sections that do not fit": (
        with_entries(
            "config.json",
            text_config__rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 1]},
        ),
        "of its config.json does not compute",
    ),
    "other weights by name": (with_entries("config.json", transformers_weights="x.safetensors"), "names other weight"),
    "config is no JSON": (holding("config.json", "{"), "config.json is not a JSON object"),
    "config is a list": (holding("config.json", "[]"), "config.json is not a JSON object but a list"),
    "config is a placeholder": (
        holding("config.json", "version https://git-lfs.github.com/spec/v1\n"),
        "config.json is a placeholder of Git LFS",
    ),
    "generation_config is no JSON": (holding("generation_config.json", "{"), "generation_config.json is not a JSON"),
    "lone tokenizer.model": (
        only_sentencepiece,
        "tokenizer.model alone: save it as tokenizer.json|no character offsets",
    ),
    "tokenizer is no JSON": (holding("tokenizer.json", "{"), "whole checkpoint"),
    "no settings of pictures": (lambda folder: (folder / "preprocessor_config.json").unlink(), "an image processor"),
    "another's settings of pictures": (
        with_entries("preprocessor_config.json", image_processor_type="CLIPImageProcessor"),
        "'CLIPImageProcessor', which is another architecture's: expected one of Qwen2VLImageProcessor",
    ),
    "pictures divided by zero": (with_entries("preprocessor_config.json", image_std=[0, 0, 0]), "not finite|whole"),
    "settings of pictures of another type": (
        with_entries("preprocessor_config.json", size="large"),
        "whole checkpoint",
    ),
    "template of text only": (holding("chat_template.jinja", "{{ messages[0].content + 'x' }}"), TEMPLATE),
    "template that cannot be read": (holding("chat_template.jinja", "{% for %}"), TEMPLATE),
    "template that refuses": (holding("chat_template.jinja", "{{ raise_exception('no pictures') }}"), TEMPLATE),
    "templates without a default": (
        with_entries("chat_template.json", chat_template={"a": "x", "b": "y"}),
        "chat templates 'a', 'b': expected one named 'default'",
    ),
}
"""How a whole checkpoint is damaged, and the decisive words of the refusal."""


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_run_refuses_check_refuses_with_the_same_words(
    finst: Finst, copy: Path, tmp_path: Path, kind: str
) -> None:
    damage, words = DAMAGED[kind]
    damage(copy)
    run = finst("run", "cma", copy, "--pairs", 4, "--device", "cpu", "--out", tmp_path / "run").message
    assert finst("check", copy, "--device", "cpu").message == run
    with pytest.raises(FinstError, match=words) as refusal:
        open_vlm(str(copy), device="cpu")
    assert " ".join(str(refusal.value).split()) in run
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "entries",
    [
        {"_attn_implementation": "flash_attention_2"},
        {"text_config__attn_implementation": "flash_attention_3"},
        {"_attn_implementation_autoset": True},
        {"output_attentions": True},
        {"return_dict": False},
        {"quantization_config": None},
    ],
)
def test_settings_of_other_programs_change_nothing(folder: Path, copy: Path, entries: dict[str, Any]) -> None:
    with_entries("config.json", **entries)(copy)
    plain, changed = open_vlm(str(folder), device="cpu"), open_vlm(str(copy), device="cpu")
    context = encode(plain.reader, draw(SCENE), scene_description(SCENE, [0], 1))
    assert torch.equal(logits(plain, context), logits(changed, context))


@pytest.mark.parametrize("place", ["chat_template.json", "processor_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("form", ["text", "dict", "list", "only one"])
def test_templates_of_any_form(copy: Path, place: str, form: str) -> None:
    given = "Mine:<|image_pad|>{{ messages[0].content[1].text }}"
    forms: dict[str, Any] = {
        "text": given,
        "dict": {"default": given, "tools": "x"},
        "list": [{"name": "tools", "template": "x"}, {"name": "default", "template": given}],
        "only one": {"pictures": given},
    }
    (copy / "chat_template.jinja").unlink()
    with_entries(place, chat_template=forms[form])(copy)
    prompt = scene_description(SCENE, [0], 1)
    assert encode(open_reader(str(copy)), draw(SCENE), prompt).text.startswith("Mine:<|image_pad|>")


def test_a_file_of_templates_without_their_key(copy: Path) -> None:
    given = "Mine:<|image_pad|>{{ messages[0].content[1].text }}"
    for content in ({"default": given}, [{"name": "default", "template": given}]):
        holding("chat_template.json", json.dumps(content))(copy)
        assert open_reader(str(copy)).tokenizer.chat_template == given


@pytest.mark.parametrize("model_type", ["smolvlm", "idefics3"])
def test_a_conversation_without_template_begins_with_the_tokenizers_first_token(
    tmp_path: Path, model_type: str
) -> None:
    """SmolVLM's first version has Idefics3's model_type; its tokenizer does not add the token by itself."""
    own = checkpoint(tmp_path / "own", FAMILIES["smolvlm"])
    bare = checkpoint(tmp_path / "bare", FAMILIES["smolvlm"], template=False)
    prompt = scene_description(SCENE, [0], 1)
    for folder in (own, bare):
        with_entries("config.json", model_type=model_type)(folder)
    told, untold = (encode(open_reader(str(folder)), draw(SCENE), prompt) for folder in (own, bare))
    assert untold.input_ids.tolist() == told.input_ids.tolist()
    with_entries("tokenizer_config.json", bos_token=...)(bare)
    with pytest.raises(FinstError, match="names no first token"):
        open_reader(str(bare))


def test_stale_shards_are_not_read_and_do_not_change_the_hash(copy: Path) -> None:
    sharded(copy)
    before = open_vlm(str(copy), device="cpu").weights_hash
    shutil.copy(copy / "model-00001-of-00003.safetensors", copy / "model-00001-of-00009.safetensors")
    assert open_vlm(str(copy), device="cpu").weights_hash == before


def test_tokens_that_the_decoder_lacks(copy: Path) -> None:
    reader = open_reader(str(copy))
    reader.config.get_text_config().vocab_size = 300
    with pytest.raises(FinstError, match="and the decoder has 300 tokens: expected the tokenizer that belongs"):
        encode(reader, draw(SCENE), scene_description(SCENE, [0], 1))


def test_weights_larger_than_the_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finst.vlm.memory.free_bytes", lambda device: 1 << 10)
    with pytest.raises(
        FinstError, match=r"its weights take 0\.0 GiB in float32, and cpu has 0\.0 GiB free, .* too few"
    ):
        open_vlm(str(folder), device="cpu")


def test_a_built_in_name_is_that_model_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shadowed("organism") == ""
    (tmp_path / "organism").mkdir()
    assert shadowed("organism").endswith("the folder of this name is ./organism")
    assert open_reader("organism").path.name == "weights"


def test_the_place_names_all_devices(folder: Path) -> None:
    vlm = open_vlm(str(folder), device="cpu")
    assert vlm.place == "cpu"
    vlm.model.lm_head.to("meta")
    assert vlm.place == "cpu, meta"
