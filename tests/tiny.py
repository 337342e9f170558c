"""Checkpoints of tiny random Qwen2-VL models, for tests that need the architecture and no knowledge."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from finst.prompts import DESCRIBE
from finst.scenes.shapes import COLOURS, SHAPES
from finst.vlm.open import quiet

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Body:
    """Sizes of a tiny model."""

    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    d_head: int = 8
    patch_px: int = 28
    merge: int = 1
    temporal: int = 1
    seed: int = 0


ORGANISM_GEOMETRY = Body()
"""28-px patches, each one image token."""

QWEN_GEOMETRY = Body(patch_px=14, merge=2, temporal=2)
"""28-px image tokens made of 2x2 patches, each of two equal frames, as in the published checkpoints."""


@cache
def _core() -> str:
    """A byte-level BPE in Qwen2's manner, learned from the paper's words: common ones are one token, others are not."""
    core = Tokenizer(models.BPE())
    words = Regex(r" ?[A-Za-z]+| ?[0-9]|\s+| ?[^\sA-Za-z0-9]+")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    core.decoder = decoders.ByteLevel()
    whole = [name for name in COLOURS if name != "orange"]
    lines = [f"{DESCRIBE} In this image there is a {c} {s}, a {c} and a" for c, s in itertools.product(whole, SHAPES)]
    trainer = trainers.BpeTrainer(
        vocab_size=420, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    core.train_from_iterator(lines, trainer)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return core.to_str()


def tokenizer(template: bool = True) -> PreTrainedTokenizerFast:
    """With a chat template of its own, or without any."""
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_core()), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    if template:
        made.chat_template = CHAT_TEMPLATE
    return made


def config(body: Body, words: PreTrainedTokenizerFast) -> Qwen2VLConfig:
    start, end, image, video = (words.get_vocab()[token] for token in SPECIAL[3:])
    d_model, half = body.heads * body.d_head, body.d_head // 2
    return Qwen2VLConfig(
        text_config=dict(
            vocab_size=len(words),
            hidden_size=d_model,
            intermediate_size=2 * d_model,
            num_hidden_layers=body.layers,
            num_attention_heads=body.heads,
            num_key_value_heads=body.kv_heads,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [half - 2 * (half // 3), half // 3, half // 3],
            },
            bos_token_id=None,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        ),
        vision_config=dict(
            depth=1,
            embed_dim=32,
            hidden_size=d_model,
            num_heads=2,
            mlp_ratio=2,
            patch_size=body.patch_px,
            spatial_merge_size=body.merge,
            temporal_patch_size=body.temporal,
        ),
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=False,
    )


def checkpoint(folder: Path, body: Body = ORGANISM_GEOMETRY, template: bool = True) -> Path:
    """Writes a whole checkpoint, weights large enough that attention is far from uniform, and returns the folder."""
    words = tokenizer(template)
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(body.seed)
        model = Qwen2VLForConditionalGeneration(config(body, words))
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.6 if "embed" in name else 1.2 / parameter.shape[-1] ** 0.5)
            elif name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        Qwen2VLImageProcessorPil(
            patch_size=body.patch_px,
            merge_size=body.merge,
            temporal_patch_size=body.temporal,
            size={"shortest_edge": 56 * 56, "longest_edge": 784 * 784},
        ).save_pretrained(folder)
    return folder
