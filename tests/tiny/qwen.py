"""Tiny Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""

from __future__ import annotations

from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.tiny.body import Body, Parts, sentences

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


@cache
def _core(special: tuple[str, ...]) -> str:
    """A byte-level BPE like Qwen2's, trained on the paper's words: common words are one token, others are not."""
    core = Tokenizer(models.BPE())
    words = Regex(r" ?[A-Za-z]+| ?[0-9]|\s+| ?[^\sA-Za-z0-9]+")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    core.train_from_iterator(sentences(), trainer)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return core.to_str()


def byte_level(special: tuple[str, ...], template: str | None, **named: Any) -> PreTrainedTokenizerFast:
    """The tokenizer with these special tokens; ``named`` gives their functions."""
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_core(special)), **named)
    made.chat_template = template
    return made


def qwen(body: Body, template: bool) -> Parts:
    """A model of any of the three: they differ in the vision tower; one has attention in windows of 4x4 image tokens.

    The third adds features of both layers of its tower to what the first two layers of the decoder return.
    """
    given = CHAT_TEMPLATE if template else None
    words = byte_level(SPECIAL, given, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tower: dict[str, Any] = dict(
        num_heads=2,
        patch_size=body.patch_px,
        spatial_merge_size=body.merge,
        temporal_patch_size=body.temporal,
    )
    if body.family == "qwen2_vl":
        tower |= dict(depth=1, embed_dim=32, hidden_size=body.d_model, mlp_ratio=2)
        model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(vision_config=tower, **_decoder(body, words)))
    elif body.family == "qwen3_vl":
        tower |= dict(depth=2, hidden_size=32, out_hidden_size=body.d_model, intermediate_size=64)
        tower |= dict(num_position_embeddings=25, deepstack_visual_indexes=[0, 1])
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(vision_config=tower, **_decoder(body, words)))
    else:
        tower |= dict(depth=2, hidden_size=32, out_hidden_size=body.d_model, intermediate_size=64)
        tower |= dict(window_size=4 * body.merge * body.patch_px, fullatt_block_indexes=[1])
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(vision_config=tower, **_decoder(body, words)))
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=body.patch_px,
        merge_size=body.merge,
        temporal_patch_size=body.temporal,
        size={"shortest_edge": 56 * 56, "longest_edge": 784 * 784},
    )
    return Parts(model, words, image_processor)


def _decoder(body: Body, words: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The configuration without the vision tower."""
    start, end, image, video = (words.get_vocab()[token] for token in SPECIAL[3:])
    half = body.d_head // 2
    return dict(
        text_config=dict(
            vocab_size=len(words),
            hidden_size=body.d_model,
            intermediate_size=2 * body.d_model,
            num_hidden_layers=body.layers,
            num_attention_heads=body.heads,
            num_key_value_heads=body.kv_heads,
            **(dict(head_dim=body.d_head) if body.family == "qwen3_vl" else {}),
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [half - 2 * (half // 3), half // 3, half // 3],
            },
            bos_token_id=None,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        ),
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=False,
    )
