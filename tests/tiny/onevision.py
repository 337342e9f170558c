"""Tiny LLaVA-OneVision."""

from __future__ import annotations

from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from tests.tiny.body import Body, Parts
from tests.tiny.qwen import byte_level

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }} "
    "{% for part in message.content if part.type == 'image' %}<image>{% endfor %}"
    "{% for part in message.content if part.type == 'text' %}{{ '\n' + part.text }}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def onevision(body: Body, template: bool) -> Parts:
    """Up to two by two tiles; a tile's last px fill no patch, as in published tiles of 384 px with 27 patches of 14."""
    given = CHAT_TEMPLATE if template else None
    words = byte_level(SPECIAL, given, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    side = body.image_px
    pinpoints = [[side * rows, side * cols] for rows in (1, 2) for cols in (1, 2)]
    config = LlavaOnevisionConfig(
        text_config=body.decoder("qwen2", len(words), words.eos_token_id),
        vision_config=dict(model_type="siglip_vision_model", vision_use_head=False, **body.tower),
        image_token_index=words.get_vocab()["<image>"],
        video_token_index=words.get_vocab()["<video>"],
        image_grid_pinpoints=pinpoints,
    )
    image_processor = LlavaOnevisionImageProcessorPil(
        size={"height": side, "width": side}, image_grid_pinpoints=pinpoints
    )
    return Parts(LlavaOnevisionForConditionalGeneration(config), words, image_processor)
