"""The organisms' words: a word-level tokenizer that treats spaces as large models' tokenizers do.

`` red`` and ``red`` are two tokens, as in Qwen2-VL, so that code which minds the difference meets it here first.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from finst.scenes.shapes import COLOURS, SHAPES

PLACES = 14
"""Place tokens along each axis: one for each 28-px patch of the largest canvas (392 px)."""

WORDS = (
    *("Describe", "the", "image", "with", "places", "In", "this", "there", "is", "a", "and"),
    *("what", "color", "of", "object", "that", "directly", "above", "below", "left", "right"),
    *("Answer", "correct", "relevant", "only"),
    *("List", "all", "unique", "colored", "objects", "in", "as", "numbered", "list", "then", "give", "total"),
    *("TOTAL", "COUNT"),
)

MARKS = ("\n", " ", ",", ".", ":", "_", "?")


def place(axis: str, patch: int) -> str:
    """The place token for a 28-px patch column (axis "x") or row (axis "y")."""
    return f"<|{axis}{patch}|>"


def word_tokenizer(
    special: Sequence[str], roles: Sequence[str], chat_template: str, *, bos_token: str | None = None, **named: str
) -> PreTrainedTokenizerFast:
    """A tokenizer of the lessons' words, every one with a form with and one without a leading space.

    ``special`` tokens and the names of the ``roles`` are those of a conversation format; ``named`` gives the
    ``eos_token``, ``pad_token`` and ``unk_token``. A ``bos_token`` opens every text.
    """
    spoken = [*roles, *WORDS, *COLOURS, *SHAPES, *map(str, range(10))]
    places = [place(axis, patch) for axis in "xy" for patch in range(PLACES)]
    entries = [*special, *places, *MARKS, *spoken, *(f" {word}" for word in spoken)]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=named["unk_token"]))
    pieces = Regex(r" ?[A-Za-z]+| ?[0-9]|[^A-Za-z0-9]")
    core.pre_tokenizer = pre_tokenizers.Split(pieces, "isolated")
    core.decoder = decoders.Fuse()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    core.add_tokens([AddedToken(token, normalized=False) for token in places])
    if bos_token is not None:
        core.post_processor = processors.TemplateProcessing(
            f"{bos_token} $A", None, [(bos_token, vocabulary[bos_token])]
        )
        named["bos_token"] = bos_token
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **named)
    tokenizer.chat_template = chat_template
    return tokenizer
