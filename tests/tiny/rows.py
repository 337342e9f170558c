"""What the tests need to know about each architecture. A new row makes every test of families run for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from transformers import (
    Gemma3Processor,
    Idefics2Processor,
    Idefics3Processor,
    InternVLProcessor,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    Qwen2_5_VLProcessor,
    Qwen2VLProcessor,
    Qwen3VLProcessor,
    SmolVLMProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from tests.tiny.body import Body, Parts
from tests.tiny.gemma import gemma
from tests.tiny.idefics import idefics2, idefics3
from tests.tiny.internvl import internvl
from tests.tiny.llava import llava
from tests.tiny.onevision import onevision
from tests.tiny.qwen import qwen


@dataclass(frozen=True)
class Row:
    """One architecture."""

    make: Callable[[Body, bool], Parts]
    """Makes a tiny model, with or without a chat template."""
    body: Body
    """The model's sizes, with the published checkpoints' patches."""
    conversation: str
    """The decoder's whole text, with one image token, ``{user}`` and the assistant's first ``{words}``."""
    processor: Callable[..., Any]
    """transformers' processor of the architecture."""
    image_processor: Any
    """The image processor that published checkpoints name."""
    around: Mapping[str, str] = field(default_factory=dict)
    """Texts around the image tokens, each with the part of it that the conversation's template writes."""
    untiled: Mapping[str, bool] = field(default_factory=dict)
    """Arguments with which the processor does not split the picture."""
    token_types: str = ""
    """The argument that marks image tokens, if transformers' model needs it."""
    refuses_as: str = ""
    """The name in error messages about pictures smaller than a patch of 14 px, if whole pictures are seen."""
    real: tuple[tuple[str, str], ...] = ()
    """Available tokenizers (``tests/tokenizers``), each with a published model that has it."""


def without_videos(cls: Any) -> Any:
    """A processor of transformers without its video part, which would need torchvision."""

    def init(self: Any, image_processor: Any = None, tokenizer: Any = None, **rest: Any) -> None:
        cls.__init__(self, image_processor, tokenizer, None, **rest)

    return type(cls.__name__, (cls,), {"__init__": init})


CHATML = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{user}<|im_end|>\n<|im_start|>assistant\n{words}"
)
FAKE, IDEFICS_END = "<fake_token_around_image>", "<end_of_utterance>\nAssistant: {words}"

QWEN_GEOMETRY = Body(patch_px=14, merge=2, temporal=2)
"""Image tokens of 28 px from 2x2 patches, each of two equal frames, as in the published checkpoints."""

ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "qwen2_vl": Row(
            qwen,
            QWEN_GEOMETRY,
            CHATML,
            without_videos(Qwen2VLProcessor),
            Qwen2VLImageProcessorPil,
            token_types="mm_token_type_ids",
            real=(("qwen", "qwen2-vl-7b"),),
        ),
        "qwen2_5_vl": Row(
            qwen,
            Body(family="qwen2_5_vl", patch_px=14, merge=2, temporal=2),
            CHATML,
            without_videos(Qwen2_5_VLProcessor),
            Qwen2VLImageProcessorPil,
            token_types="mm_token_type_ids",
            real=(("qwen", "qwen2.5-vl-7b"),),
        ),
        "llava": Row(
            llava,
            Body(family="llava", patch_px=14),
            "<s> USER: <image>\n{user} ASSISTANT: {words}",
            partial(
                LlavaProcessor, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1
            ),
            CLIPImageProcessorPil,
            refuses_as=r"LLaVA-1\.5",
            real=(("llama2", "llava-1.5-7b"),),
        ),
        "llava_onevision": Row(
            onevision,
            Body(family="llava_onevision", patch_px=14, image_px=86),
            "<|im_start|>user <image>\n{user}<|im_end|><|im_start|>assistant\n{words}",
            partial(
                without_videos(LlavaOnevisionProcessor), num_image_tokens=36, vision_feature_select_strategy="full"
            ),
            LlavaOnevisionImageProcessorPil,
            refuses_as="LLaVA-OneVision",
            real=(("qwen", "llava-onevision-7b"),),
        ),
        "idefics2": Row(
            idefics2,
            Body(family="idefics2", patch_px=14),
            f"<s> User:{FAKE}<image>{FAKE} {{user}}{IDEFICS_END}",
            partial(Idefics2Processor, image_seq_len=8),
            Idefics2ImageProcessorPil,
            around={f"{FAKE} ": "", FAKE: ""},
            untiled={"do_image_splitting": False},
            refuses_as="Idefics2",
            real=(("mistral", "idefics2-8b"),),
        ),
        "idefics3": Row(
            idefics3,
            Body(family="idefics3", patch_px=14, merge=2),
            f"<|begin_of_text|>User:{FAKE}<global-img><image>{FAKE}{{user}}{IDEFICS_END}",
            partial(Idefics3Processor, image_seq_len=9),
            Idefics3ImageProcessorPil,
            around={f"{FAKE}<global-img>": "", FAKE: ""},
            untiled={"do_image_splitting": False},
            refuses_as="Idefics3 or SmolVLM",
        ),
        "smolvlm": Row(
            idefics3,
            Body(family="smolvlm", patch_px=14, merge=3, image_px=128),
            f"<|im_start|>User:{FAKE}<global-img><image>{FAKE}{{user}}{IDEFICS_END}",
            partial(without_videos(SmolVLMProcessor), image_seq_len=9),
            SmolVLMImageProcessorPil,
            around={f"{FAKE}<global-img>": "", FAKE: ""},
            untiled={"do_image_splitting": False},
            refuses_as="Idefics3 or SmolVLM",
        ),
        "internvl": Row(
            internvl,
            Body(family="internvl", patch_px=14, merge=2),
            "<|im_start|>user\n<img><IMG_CONTEXT></img>\n{user}<|im_end|>\n<|im_start|>assistant\n{words}",
            partial(without_videos(InternVLProcessor), image_seq_length=9),
            GotOcr2ImageProcessorPil,
            around={"<img>": "", "</img>": ""},
            untiled={"crop_to_patches": False},
            refuses_as="InternVL3",
            real=(("qwen", "internvl3-8b"),),
        ),
        "qwen3_vl": Row(
            qwen,
            Body(family="qwen3_vl", patch_px=16, merge=2, temporal=2),
            CHATML.partition("<|im_end|>\n")[2],
            without_videos(Qwen3VLProcessor),
            Qwen2VLImageProcessorPil,
            token_types="mm_token_type_ids",
            real=(("qwen", "qwen3-vl-8b"),),
        ),
        "gemma3": Row(
            gemma,
            Body(family="gemma3", patch_px=14, merge=2, image_px=140),
            "<bos><start_of_turn>user\n\n\n<start_of_image><image_soft_token><end_of_image>\n\n{user}<end_of_turn>\n"
            "<start_of_turn>model\n{words}",
            partial(Gemma3Processor, image_seq_length=25),
            Gemma3ImageProcessorPil,
            around={"\n\n<start_of_image><image_soft_token><end_of_image>\n\n": "<start_of_image>"},
            token_types="token_type_ids",
            real=(("gemma3", "gemma-3-4b"),),
        ),
    }
)
"""Rows by ``config.model_type``."""
