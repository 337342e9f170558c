"""Tiny InternVL3."""

from __future__ import annotations

from transformers import InternVLConfig, InternVLForConditionalGeneration
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from tests.tiny.body import Body, Parts
from tests.tiny.qwen import byte_level

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<IMG_CONTEXT>\n{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def internvl(body: Body, template: bool) -> Parts:
    """The image processor splits pictures into tiles by default."""
    names = ("start_image_token", "end_image_token", "context_image_token", "video_token")
    words = byte_level(
        SPECIAL,
        CHAT_TEMPLATE if template else None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=dict(zip(names, SPECIAL[3:], strict=True)),
    )
    side = body.image_px
    config = InternVLConfig(
        text_config=body.decoder("qwen2", len(words), words.eos_token_id),
        vision_config=body.tower,
        image_token_id=words.get_vocab()["<IMG_CONTEXT>"],
        image_seq_length=(side // body.patch_px // body.merge) ** 2,
        downsample_ratio=1 / body.merge,
    )
    image_processor = GotOcr2ImageProcessorPil(size={"height": side, "width": side}, crop_to_patches=True)
    return Parts(InternVLForConditionalGeneration(config), words, image_processor)
