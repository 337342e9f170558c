"""Tiny LLaVA-1.5."""

from __future__ import annotations

import json
from functools import cache

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaTokenizer, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.tiny.body import Body, Parts, sentences

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role | upper }}: "
    "{% for part in message.content %}{% if part.type == 'image' %}<image>\n{% else %}{{ part.text }} {% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@cache
def _core() -> str:
    """A BPE like Llama's, trained on the paper's words: spaces belong to words, unknown characters are bytes."""
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="first"),
            pre_tokenizers.Split(Regex(r"[^\w▁]|[0-9]"), "isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        show_progress=False,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=[chr(code) for code in range(33, 127)],
    )
    core.train_from_iterator([f"USER: {line} ASSISTANT: {line}" for line in sentences()], trainer)
    return core.to_str()


def metaspace(special: tuple[str, ...], template: str | None) -> LlamaTokenizer:
    """The tokenizer with these special tokens beside Llama's own."""
    core = json.loads(_core())["model"]
    made = LlamaTokenizer(vocab=core["vocab"], merges=[tuple(merge) for merge in core["merges"]], add_bos_token=True)
    made.add_special_tokens({"additional_special_tokens": list(special)})
    made.chat_template = template
    return made


def llava(body: Body, template: bool) -> Parts:
    """CLIP has two layers here; the decoder sees the output of the penultimate layer, as in published checkpoints."""
    words = metaspace(("<image>",), CHAT_TEMPLATE if template else None)
    config = LlavaConfig(
        text_config=dict(
            model_type="llama",
            vocab_size=len(words),
            hidden_size=body.d_model,
            intermediate_size=2 * body.d_model,
            num_hidden_layers=body.layers,
            num_attention_heads=body.heads,
            num_key_value_heads=body.kv_heads,
        ),
        vision_config=dict(
            model_type="clip_vision_model",
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=body.image_px,
            patch_size=body.patch_px,
        ),
        image_token_index=words.get_vocab()["<image>"],
        image_seq_length=(body.image_px // body.patch_px) ** 2,
    )
    side = body.image_px
    image_processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    return Parts(LlavaForConditionalGeneration(config), words, image_processor)
