"""config.json: read, refused when finst cannot run what it describes, and stripped of settings of other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

from finst.errors import FinstError
from finst.vlm.quiet import cause

_POINTER = b"version https://git-lfs"
"""How a placeholder of Git LFS begins."""

_OBJECTS = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "model.safetensors.index.json",
)
"""Small files that hold a JSON object."""

_OF_OTHERS = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_internal",
        "_attn_implementation_autoset",
        "attn_implementation",
        "_experts_implementation",
        "_experts_implementation_internal",
        "experts_implementation",
        "_flash_attn_2_enabled",
        "auto_map",
        "fusion_config",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "torchscript",
        "use_flash_attention_2",
    }
)
"""Settings of the program that saved the checkpoint, which do not change what a model computes: finst has its own."""

_QUANTIZED = ("quantization_config", "quantization", "compression_config")
_QUANTIZED_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt"}
"""Files in which quantisers describe what they did, beside a config.json that does not."""


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object. Raises FinstError, which names the file, for anything else."""
    try:
        text = file.read_bytes()
        if text.startswith(_POINTER):
            raise FinstError(f"{file} is a placeholder of Git LFS: expected the file itself, as from git lfs pull")
        content = json.loads(text.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise FinstError(f"{file} is not a JSON object ({cause(error)}): expected Hugging Face's format") from error
    if not isinstance(content, dict):
        raise FinstError(f"{file} is not a JSON object but a {type(content).__name__}: expected Hugging Face's format")
    return content


def read_config(model: str, folder: Path) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises FinstError when there is none, when it or another small file of the folder is damaged, and for adapters and
    quantised weights.
    """
    _refuse_adapters(model, folder)
    if not (folder / "config.json").is_file():
        raise FinstError(f"{model}: the folder {folder} has no config.json; expected a Hugging Face checkpoint")
    for name in _OBJECTS:
        if (folder / name).is_file():
            read_object(folder / name)
    raw = read_object(folder / "config.json")
    _refuse_quantized(model, folder, raw)
    if raw.get("transformers_weights") is not None:
        raise FinstError(
            f"{model}: its config.json names other weight files (transformers_weights: "
            f"{raw['transformers_weights']!r}): expected model.safetensors, or shards with their index"
        )
    return raw


def made_config(raw: Mapping[str, Any]) -> PreTrainedConfig:
    """transformers' configuration of this content. Raises whatever transformers raises for a damaged one."""
    return CONFIG_MAPPING[raw["model_type"]].from_dict(_own(raw))


def _own(value: Any) -> Any:
    """The content without settings of other programs, at any depth."""
    if isinstance(value, Mapping):
        return {key: _own(part) for key, part in value.items() if key not in _OF_OTHERS}
    return [_own(part) for part in value] if isinstance(value, list) else value


def _refuse_adapters(model: str, folder: Path) -> None:
    names = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
    found = next((name for name in names if (folder / name).is_file()), None)
    if found is None:
        return
    base = None
    if (folder / names[0]).is_file():
        base = read_object(folder / names[0]).get("base_model_name_or_path")
    of = f" of {base}" if isinstance(base, str) and base else ""
    beside = " beside whole weights, which do not contain it" if (folder / "config.json").is_file() else ""
    raise FinstError(
        f"{model}: the folder {folder} holds an adapter (LoRA){of}, {found}{beside}: expected a whole checkpoint; "
        "merge them with peft's merge_and_unload and save_pretrained"
        + ("" if not beside else ", or move the adapter's files away")
    )


def _refuse_quantized(model: str, folder: Path, raw: Mapping[str, Any]) -> None:
    found = next(_quantizers(raw), None)
    if found is None:
        for name, method in _QUANTIZED_FILES.items():
            if (folder / name).is_file():
                found = name, _method(read_object(folder / name), method)
                break
    if found is not None:
        place, method = found
        raise FinstError(
            f"{model}: its weights are quantised by {method} ({place}), and finst does not run quantised checkpoints: "
            "expected weights in float32, bfloat16 or float16, such as those of the model that was quantised; dtypes "
            "8bit and 4bit quantise such weights while they load"
        )


def _quantizers(raw: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    """Place and method of every description of quantised weights."""
    for key, value in raw.items():
        where = f"{place}.{key}" if place else str(key)
        if key in _QUANTIZED and value not in (None, False):
            yield f"config.json: {where}", _method(value, "an unnamed method")
        elif isinstance(value, Mapping):
            yield from _quantizers(value, where)


def _method(described: Any, otherwise: str) -> str:
    if not isinstance(described, Mapping):
        return str(described)
    bits = next((n for n in (4, 8) if described.get(f"load_in_{n}bit") or described.get(f"_load_in_{n}bit")), None)
    name = described.get("quant_method") or ("bitsandbytes" if bits else otherwise)
    bits = bits or described.get("bits") or described.get("w_bit")
    return f"{name}, {bits} bit" if isinstance(bits, int) else str(name)
