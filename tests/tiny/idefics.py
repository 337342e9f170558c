"""Tiny Idefics2, Idefics3 and SmolVLM."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, processors
from transformers import (
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from tests.tiny.body import Body, Parts
from tests.tiny.llava import metaspace
from tests.tiny.qwen import byte_level

IMAGE = ("<fake_token_around_image>", "<image>", "<end_of_utterance>")

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role | capitalize }}:"
    "{% if message.content[0].type != 'image' %} {% endif %}"
    "{% for part in message.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def idefics2(body: Body, template: bool) -> Parts:
    """Eight latents; the image processor splits pictures into quarters by default, as the published one does."""
    words = metaspace(IMAGE, CHAT_TEMPLATE if template else None)
    config = Idefics2Config(
        text_config=body.decoder("mistral", len(words), words.eos_token_id),
        vision_config={**body.tower, "image_size": 5 * body.image_px},
        perceiver_config=dict(
            hidden_size=body.d_model,
            resampler_n_latents=8,
            resampler_depth=2,
            resampler_n_heads=2,
            resampler_head_dim=16,
            num_key_value_heads=1,
        ),
        image_token_id=words.get_vocab()["<image>"],
    )
    size = {"shortest_edge": body.image_px, "longest_edge": 5 * body.image_px}
    image_processor = Idefics2ImageProcessorPil(size=size, do_image_splitting=True)
    return Parts(Idefics2ForConditionalGeneration(config), words, image_processor)


def idefics3(body: Body, template: bool) -> Parts:
    """A model of either architecture. Their tokenizers differ: only Idefics3's adds a first token by itself."""
    smol = body.family == "smolvlm"
    opening = "<|im_start|>" if smol else "<|begin_of_text|>"
    words = byte_level(
        ("<|endoftext|>", opening, "<global-img>", *IMAGE, *(() if not smol else ("<video>",))),
        f"{opening}{CHAT_TEMPLATE}" if template else None,
        bos_token=opening,
        eos_token="<end_of_utterance>",
        pad_token="<|endoftext|>",
    )
    if not smol:
        _opens(words.backend_tokenizer, opening)
    makers: tuple[Any, Any, Any] = (
        (SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessorPil)
        if smol
        else (Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessorPil)
    )
    make_config, make_model, make_processor = makers
    config = make_config(
        text_config=body.decoder("llama", len(words), words.eos_token_id),
        vision_config=body.tower,
        scale_factor=body.merge,
        image_token_id=words.get_vocab()["<image>"],
    )
    image_processor = make_processor(
        size={"longest_edge": 4 * body.image_px}, max_image_size={"longest_edge": body.image_px}
    )
    return Parts(make_model(config), words, image_processor)


def _opens(core: Tokenizer, opening: str) -> None:
    """Makes a tokenizer put this token before every text."""
    core.post_processor = processors.TemplateProcessing(
        single=f"{opening} $A", special_tokens=[(opening, core.token_to_id(opening))]
    )
