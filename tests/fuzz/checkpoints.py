"""Damaged checkpoint folders by number: ``case(seed)`` damages a tiny checkpoint and says what must hold of it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from finst.errors import FinstError
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid, on_grid
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, open_reader, open_vlm, rehearse
from tests.tiny import FAMILIES, checkpoint

SCENE = on_grid([("red", "square"), ("blue", "star")], [(0, 0), (1, 1)], Grid(2, 2))
PROMPT = scene_description(SCENE, [0], 1)

INDEX = "model.safetensors.index.json"
JSONS = ("config.json", "preprocessor_config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json")
ODD: tuple[Any, ...] = (
    None,
    "x",
    "",
    0,
    -1,
    3,
    7,
    2.5,
    1e30,
    True,
    False,
    [],
    [1, 2],
    {},
    {"a": 1},
    "flash_attention_2",
)
"""Values of other types and sizes."""


@dataclass(frozen=True)
class Outcome:
    """What became of a damaged checkpoint."""

    damage: str
    legal: bool
    """Whether the damage may change the model without being damage: a configuration with another value, say."""
    checked: str
    """The refusal of the rehearsal; empty if it was accepted."""
    opened: str
    """The refusal of ``open_vlm``; empty if it opened."""
    same: bool
    """Whether logits are those of the undamaged checkpoint; True where it was refused."""


@cache
def original(root: Path, family: str) -> tuple[Path, Encoded, torch.Tensor]:
    """An undamaged checkpoint in three shards, a context, and its logits."""
    folder = checkpoint(root / f"original-{family}", FAMILIES[family])
    sharded(folder)
    vlm = open_vlm(str(folder), device="cpu")
    context = encode(vlm.reader, draw(SCENE), PROMPT)
    return folder, context, logits(vlm, context)


def sharded(folder: Path, count: int = 3) -> None:
    """Rewrites ``model.safetensors`` as shards with an index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    files = [f"model-{n + 1:05d}-of-{count:05d}.safetensors" for n in range(count)]
    for n, file in enumerate(files):
        save_file({name: weights[name].contiguous() for name in names[n::count]}, folder / file, {"format": "pt"})
    weight_map = {name: files[n % count] for n, name in enumerate(names)}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@torch.inference_mode()
def logits(vlm: VLM, context: Encoded) -> torch.Tensor:
    """The last token's logits, by transformers' own pass."""
    family, ids = vlm.reader.family, context.input_ids[None]
    more = {"mm_token_type_ids": (ids == vlm.reader.config.image_token_id).int()} if "qwen" in _type(vlm) else {}
    more |= {"token_type_ids": (ids == vlm.reader.config.image_token_id).int()} if _type(vlm) == "gemma3" else {}
    assert family is not None
    return vlm.model(input_ids=ids, **context.image_inputs, **more).logits[0, -1]


def _type(vlm: VLM) -> str:
    return vlm.reader.config.model_type


def case(seed: int, root: Path) -> Outcome:
    """Damages a copy of a checkpoint below ``root``, rehearses and opens it. Raises only what users would see."""
    rng = random.Random(seed)
    family = rng.choice(sorted(FAMILIES))
    folder, context, expected = original(root, family)
    copy = Path(shutil.copytree(folder, root / f"case-{seed}"))
    try:
        name, (damage, legal) = rng.choice(list(DAMAGES.items()))
        detail = damage(copy, rng)
        try:
            rehearse(open_reader(str(copy)))
            checked = ""
        except FinstError as refusal:
            checked = str(refusal)
        try:
            vlm = open_vlm(str(copy), device="cpu")
        except FinstError as refusal:
            return Outcome(f"{family}: {name}: {detail}", legal, checked, str(refusal), True)
        try:
            found = logits(vlm, context)
            same = bool(found.shape == expected.shape and torch.allclose(found, expected, atol=1e-5))
        except Exception:  # legal changes may not suit the undamaged context
            if not legal:
                raise
            same = False
        return Outcome(f"{family}: {name}: {detail}", legal, checked, "", same)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _json(folder: Path, rng: random.Random, names: tuple[str, ...] = JSONS) -> tuple[Path, Any]:
    file = folder / rng.choice([name for name in names if (folder / name).is_file()])
    return file, json.loads(file.read_text())


def _spots(content: Any) -> list[tuple[Any, Any]]:
    """Every entry of nested objects, as its container and key."""
    if not isinstance(content, dict):
        return []
    return [spot for key, value in content.items() for spot in [(content, key), *_spots(value)]]


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-*.safetensors"))


def _field_gone(folder: Path, rng: random.Random) -> str:
    file, content = _json(folder, rng)
    holder, key = rng.choice([s for s in _spots(content) if s[1] not in ("vocab", "merges")] or [({"": 0}, "")])
    del holder[key]
    file.write_text(json.dumps(content))
    return f"{file.name} without {key}"


def _field_odd(folder: Path, rng: random.Random) -> str:
    file, content = _json(folder, rng)
    holder, key = rng.choice(_spots(content) or [({}, "")])
    holder[key] = rng.choice(ODD)
    file.write_text(json.dumps(content))
    return f"{file.name}: {key} is {holder[key]!r}"


def _other_json(folder: Path, rng: random.Random) -> str:
    file, _ = _json(folder, rng)
    text = rng.choice(
        ["", "{", "[]", "null", "3", '"x"', "{}", "\ufeff{}", "[" * 5000, "version https://git-lfs.github.com"]
    )
    file.write_text(text)
    return f"{file.name} holds {text[:20]!r}"


def _file_gone(folder: Path, rng: random.Random) -> str:
    file = rng.choice(sorted(folder.iterdir()))
    file.unlink()
    return f"without {file.name}"


def _file_cut(folder: Path, rng: random.Random) -> str:
    file = rng.choice(sorted(folder.iterdir()))
    content = file.read_bytes()
    length = rng.randrange(len(content))
    file.write_bytes(content[:length])
    return f"{file.name} cut to {length} bytes"


def _bytes_flipped(folder: Path, rng: random.Random) -> str:
    """In text files, and in the headers of weight files: flipped weights cannot be known to be wrong."""
    file = rng.choice(sorted(folder.iterdir()))
    content = bytearray(file.read_bytes())
    limit = min(
        len(content), 8 + int.from_bytes(content[:8], "little") if file.suffix == ".safetensors" else len(content)
    )
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(limit)] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(content))
    return f"bits of {file.name} flipped"


def _shards_swapped(folder: Path, rng: random.Random) -> str:
    first, second = rng.sample(_shards(folder), 2)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    return f"{first.name} and {second.name}"


def _shard_twice(folder: Path, rng: random.Random) -> str:
    first, second = rng.sample(_shards(folder), 2)
    first.write_bytes(second.read_bytes())
    return f"{second.name} also as {first.name}"


def _tensors(
    change: Callable[[dict[str, torch.Tensor], str, random.Random], str],
) -> Callable[[Path, random.Random], str]:
    def damage(folder: Path, rng: random.Random) -> str:
        file = rng.choice(_shards(folder))
        weights = load_file(file)
        name = rng.choice(sorted(weights))
        detail = change(weights, name, rng)
        save_file(weights, file, {"format": "pt"})
        index = json.loads((folder / INDEX).read_text())
        if rng.random() < 0.5:  # an index that agrees, or one that does not
            listed = {n: f for n, f in index["weight_map"].items() if f != file.name} | dict.fromkeys(
                weights, file.name
            )
            (folder / INDEX).write_text(json.dumps(index | {"weight_map": listed}))
        return detail

    return damage


def _renamed(weights: dict[str, torch.Tensor], name: str, rng: random.Random) -> str:
    weights[f"{name}_" if rng.random() < 0.5 else name.replace(".", "_")] = weights.pop(name)
    return f"{name} renamed"


def _removed(weights: dict[str, torch.Tensor], name: str, rng: random.Random) -> str:
    del weights[name]
    return f"{name} removed"


def _added(weights: dict[str, torch.Tensor], name: str, rng: random.Random) -> str:
    added = rng.choice([f"{name}.lora_A", name.replace(".0.", ".9."), "extra.weight", f"{name}_scale"])
    if added not in weights:
        weights[added] = torch.ones(2, 3)
    return f"{added} added"


def _reshaped(weights: dict[str, torch.Tensor], name: str, rng: random.Random) -> str:
    old = weights[name]
    weights[name] = rng.choice([old[:-1].clone(), torch.cat([old, old]), old[None].clone(), old.flatten()[:0].clone()])
    return f"{name} {tuple(old.shape)} as {tuple(weights[name].shape)}"


def _retyped(weights: dict[str, torch.Tensor], name: str, rng: random.Random) -> str:
    dtype = rng.choice([torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn, torch.bool])
    weights[name] = weights[name].to(dtype)
    return f"{name} as {dtype}"


def _junk(folder: Path, rng: random.Random) -> str:
    name = rng.choice(
        [
            "notes.txt",
            "model.fp16.safetensors",
            "pytorch_model.bin",
            "model-00009-of-00009.safetensors",
            "x.json",
            "README.md",
        ]
    )
    (folder / name).write_bytes(rng.randbytes(50))
    return name


def _second_set(folder: Path, rng: random.Random) -> str:
    name = rng.choice(["model.safetensors", "adapter_config.json", "adapter_model.safetensors", "quantize_config.json"])
    (folder / name).write_text("{}")
    return name


def _setting(folder: Path, rng: random.Random) -> str:
    """A setting that only other programs need."""
    content = json.loads((folder / "config.json").read_text())
    key, value = rng.choice(
        [
            ("_attn_implementation", "flash_attention_2"),
            ("attn_implementation", "flash_attention_3"),
            ("_attn_implementation_autoset", True),
            ("output_attentions", True),
            ("auto_map", {"AutoModel": "modeling.Model"}),
            ("return_dict", False),
        ]
    )
    holder = rng.choice([content, content["text_config"], content["vision_config"]])
    holder[key] = value
    (folder / "config.json").write_text(json.dumps(content))
    return f"{key} {value}"


def _quantised(folder: Path, rng: random.Random) -> str:
    content = json.loads((folder / "config.json").read_text())
    method = rng.choice(["awq", "gptq", "bitsandbytes", "fp8", "compressed-tensors", "hqq", "new", None, 4])
    content[rng.choice(["quantization_config", "compression_config"])] = {"quant_method": method}
    (folder / "config.json").write_text(json.dumps(content))
    return str(method)


def _template(folder: Path, rng: random.Random) -> str:
    text = rng.choice(
        ["", "{{ messages[0].content + 'x' }}", "{% for %}", "{{ raise_exception('no') }}", "<image>", "{{ a.b.c }}"]
    )
    value = rng.choice(
        [text, {"default": text}, {"a": text, "b": text}, [text], [{"name": "default"}], [{}], 3, None, []]
    )
    (folder / "chat_template.json").write_text(json.dumps(rng.choice([{"chat_template": value}, value])))
    return repr(value)[:60]


DAMAGES: dict[str, tuple[Callable[[Path, random.Random], str], bool]] = {
    "field gone": (_field_gone, True),
    "field odd": (_field_odd, True),
    "other json": (_other_json, True),
    "file gone": (_file_gone, True),
    "file cut": (_file_cut, False),
    "bytes flipped": (_bytes_flipped, True),
    "shards swapped": (_shards_swapped, False),
    "shard twice": (_shard_twice, False),
    "tensor renamed": (_tensors(_renamed), False),
    "tensor removed": (_tensors(_removed), False),
    "tensor added": (_tensors(_added), False),
    "tensor reshaped": (_tensors(_reshaped), False),
    "tensor of another type": (_tensors(_retyped), False),
    "junk": (_junk, False),
    "second set": (_second_set, False),
    "setting of other programs": (_setting, False),
    "quantised": (_quantised, False),
    "template": (_template, True),
}
"""Damages by name, each with whether it may change the model legally."""
