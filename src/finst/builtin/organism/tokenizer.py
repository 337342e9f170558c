"""The organism's words: a word-level tokenizer that treats spaces as large models' tokenizers do.

`` red`` and ``red`` are two tokens, as in Qwen2-VL, so that code which minds the difference meets it here first.
"""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from finst.scenes.shapes import COLOURS, SHAPES

PLACES = 14
"""Place tokens along each axis: one for each 28-px patch of the largest canvas (392 px)."""

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

PLAIN = (
    *("system", "user", "assistant"),
    *("Describe", "the", "image", "with", "places", "In", "this", "there", "is", "a", "and"),
    *("what", "color", "of", "object", "that", "directly", "above", "below", "left", "right"),
    *("Answer", "correct", "relevant", "only"),
    *("List", "all", "unique", "colored", "objects", "in", "as", "numbered", "list", "then", "give", "total"),
    *("TOTAL", "COUNT"),
)

MARKS = ("\n", " ", ",", ".", ":", "_", "?")

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{%- if message.content is string -%}{{- message.content -}}"
    "{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- else -%}{{- part.text -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def place(axis: str, patch: int) -> str:
    """The place token for a 28-px patch column (axis "x") or row (axis "y")."""
    return f"<|{axis}{patch}|>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The organism's tokenizer; every word has a form with and one without a leading space."""
    spoken = [*PLAIN, *COLOURS, *SHAPES, *map(str, range(10))]
    places = [place(axis, patch) for axis in "xy" for patch in range(PLACES)]
    entries = [*SPECIAL, *places, *MARKS, *spoken, *(f" {word}" for word in spoken)]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[0]))
    pieces = Regex(r" ?[A-Za-z]+| ?[0-9]|[^A-Za-z0-9]")
    core.pre_tokenizer = pre_tokenizers.Split(pieces, "isolated")
    core.decoder = decoders.Fuse()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    core.add_tokens([AddedToken(token, normalized=False) for token in places])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
