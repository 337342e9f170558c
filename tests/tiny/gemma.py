"""Tiny Gemma 3."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, GemmaTokenizer
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from tests.tiny.body import Body, Parts, sentences

WINDOW = 16
"""Sliding window in tokens; shorter than the picture."""

TURNS = ["<start_of_turn>", "<end_of_turn>"]
IMAGE = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message.role + '\n' }}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<start_of_image>{% else %}{{ part.text | trim }}{% endif %}"
    "{% endfor %}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


@cache
def _core() -> str:
    """A BPE like Gemma's, trained on the paper's words: spaces belong to words, and newlines merge."""
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="never"),
            pre_tokenizers.Split(Regex(r"\n+|[^\w▁\n]|[0-9]"), "isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=750,
        show_progress=False,
        special_tokens=["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=[chr(code) for code in range(33, 127)],
    )
    lines = sentences()
    core.train_from_iterator([f"user\n\n\n{line}\n\nmodel\n{line[line.index('In this') :]}" for line in lines], trainer)
    return core.to_str()


def _tokenizer(template: bool) -> GemmaTokenizer:
    core = json.loads(_core())["model"]
    merges: Any = [tuple(merge) for merge in core["merges"]]
    made = GemmaTokenizer(vocab=core["vocab"], merges=merges, add_bos_token=True, extra_special_tokens=IMAGE)
    made.add_special_tokens({"additional_special_tokens": TURNS})
    if template:
        made.chat_template = CHAT_TEMPLATE
    return made


def gemma(body: Body, template: bool) -> Parts:
    """Every second layer has a sliding window, the others see everything; ``merge`` patches a side make a token.

    As in the published checkpoints, the residual stream is not as wide as all heads together.
    """
    words = _tokenizer(template)
    start, stop, image = (words.get_vocab()[token] for token in IMAGE.values())
    config = Gemma3Config(
        text_config=dict(
            vocab_size=len(words),
            hidden_size=body.d_model + body.heads,
            intermediate_size=2 * body.d_model,
            num_hidden_layers=body.layers,
            num_attention_heads=body.heads,
            num_key_value_heads=body.kv_heads,
            head_dim=body.d_head,
            query_pre_attn_scalar=body.d_head,
            sliding_window=WINDOW,
            layer_types=["sliding_attention" if n % 2 else "full_attention" for n in range(body.layers)],
        ),
        vision_config=dict(
            model_type="siglip_vision_model",
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=body.image_px,
            patch_size=body.patch_px,
            vision_use_head=False,
        ),
        mm_tokens_per_image=(body.image_px // body.patch_px // body.merge) ** 2,
        boi_token_index=start,
        eoi_token_index=stop,
        image_token_index=image,
    )
    size = {"height": body.image_px, "width": body.image_px}
    return Parts(Gemma3ForConditionalGeneration(config), words, Gemma3ImageProcessorPil(size=size))
