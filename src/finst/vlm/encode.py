"""Encodes a picture and a prompt as tensors and token roles. Needs a tokenizer and an image processor, no weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from finst.errors import FinstError
from finst.prompts import Prompt
from finst.scenes.object import Picture
from finst.vlm.families.base import Family, Pixels
from finst.vlm.quiet import cause
from finst.vlm.reader import Reader
from finst.vlm.tokens import Role, TokenMap, View, patch_coverage

Offsets = Sequence[tuple[int, int]]
"""Characters [start, stop) of each token; may include the space before a word."""

_USER = "\ue000"
"""Stands for the user's text while the template is rendered: a private-use character that no template contains."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """One context, ready for the model."""

    input_ids: Int[Tensor, "pos"]
    image_inputs: dict[str, Tensor]
    """The vision tower's inputs, from the checkpoint's image processor."""
    tokens: TokenMap
    text: str
    """The whole conversation, with one placeholder for the picture, without the token that a tokenizer puts first."""

    @property
    def prompt(self) -> Encoded:
        """The context without its answer; ``text`` is unchanged."""
        stop = self.tokens.last + 1
        tokens = replace(self.tokens, roles=self.tokens.roles[:stop])
        return replace(self, input_ids=self.input_ids[:stop], tokens=tokens)

    @property
    def batched_with(self) -> tuple[int, ...]:
        """Equal for contexts that may share a pass: their length, and the size of pictures that keep their shape."""
        values = self.image_inputs.get("pixel_values")
        return (len(self.tokens), *(values.shape[-2:] if values is not None and values.ndim > 3 else ()))

    @property
    def answer(self) -> list[int]:
        """The ids of the tokens after the prompt; empty for a context that was encoded without an answer."""
        return self.input_ids[self.tokens.last + 1 :].tolist()


@dataclass(frozen=True)
class _Text:
    """A rendered conversation, split into the template's text and the prompt's."""

    before: str
    user: str
    between: str
    prefill: str

    @property
    def whole(self) -> str:
        return self.before + self.user + self.between + self.prefill

    @property
    def user_start(self) -> int:
        return len(self.before)

    @property
    def prefill_start(self) -> int:
        return len(self.before) + len(self.user) + len(self.between)


def _render(reader: Reader, prompt: Prompt) -> _Text:
    placeholder = reader.family.image_placeholder
    rendered = _opened(reader) if reader.tokenizer.chat_template is None else _by_template(reader)
    if rendered.count(_USER) != 1 or rendered.count(placeholder) != 1:
        raise FinstError(
            f"the chat template of {reader.id} does not render one picture and one text: expected {placeholder} and "
            f"the user's text exactly once each, got {rendered.replace(_USER, 'USER')!r}"
        )
    before, between = rendered.split(_USER)
    return _Text(before, prompt.user, between + _gap(between, prompt.prefill), prompt.prefill)


def _by_template(reader: Reader) -> str:
    content = [{"type": "image"}, {"type": "text", "text": _USER}]
    turns = [{"role": "user", "content": content}]
    try:
        return str(reader.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program
        raise FinstError(
            f"the chat template of {reader.id} does not render one picture and one text ({cause(error)}): expected one "
            "that takes a message's content as a list of parts, as those of vision-language models do"
        ) from error


def _opened(reader: Reader) -> str:
    """The family's conversation, after the first token if conversations have one and the tokenizer does not add it."""
    text, first = reader.family.render(_USER), reader.tokenizer.bos_token
    if not reader.family.opened or reader.tokenizer("")["input_ids"]:
        return text
    if first is None:
        raise FinstError(
            f"{reader.id} has no chat template, and its tokenizer names no first token (bos_token) for a conversation: "
            "expected a chat_template.jinja"
        )
    return first + text


def _gap(before: str, words: str) -> str:
    """A space before the assistant's text, unless the opening of the turn (such as ``ASSISTANT:``) ends with one."""
    return " " if words and not before[-1:].isspace() and not words[0].isspace() else ""


def _continuation(text: str, prompt: Prompt, answer: str) -> str:
    continuation = prompt.continuation(answer)
    return _gap(text, continuation) + continuation


def _tokenise(reader: Reader, text: str) -> tuple[list[int], Offsets]:
    """Ids and offsets, with the token that some tokenizers put first unless the template contains it already."""
    opening = reader.tokenizer.bos_token
    opened = opening is not None and text.startswith(opening)
    out = reader.tokenizer(text, add_special_tokens=not opened, return_offsets_mapping=True)
    return out["input_ids"], out["offset_mapping"]


def token_texts(reader: Reader, ids: Sequence[int]) -> tuple[str, ...]:
    """The text that each token adds to the tokens before it. (Decoded alone, Llama's tokens lose a leading space.)"""
    decode = partial(reader.tokenizer.decode, clean_up_tokenization_spaces=False)
    pairs = pairwise([[], *([token] for token in ids)])
    return tuple(decode(before + token)[len(decode(before)) :] for before, token in pairs)


def _overlap(token: tuple[int, int], start: int, stop: int) -> int:
    return max(0, min(token[1], stop) - max(token[0], start))


def _text_role(token: tuple[int, int], text: _Text, prompt: Prompt) -> Role:
    """The role of a token that is neither image nor last nor answer."""
    sentence = text.prefill_start if prompt.placement == "prefill" else text.user_start
    shares = [_overlap(token, sentence + span.start, sentence + span.stop) for span in prompt.spans]
    if any(shares):
        span = prompt.spans[shares.index(max(shares))]
        return Role(span.role, span.object)
    written = ((text.user_start, text.user), (text.prefill_start, text.prefill))
    in_prompt = any(_overlap(token, start, start + len(words)) for start, words in written)
    return Role("text" if in_prompt else "template")


def _roles(
    ids: Sequence[int],
    offsets: Offsets,
    text: _Text,
    prompt: Prompt,
    image_id: int,
    shown: Sequence[Role],
    last: int,
) -> tuple[Role, ...]:
    roles = []
    of_picture = iter(shown)
    for pos, (token, offset) in enumerate(zip(ids, offsets, strict=True)):
        if token == image_id:
            roles.append(next(of_picture))
        elif pos >= last:
            roles.append(Role("last" if pos == last else "answer"))
        else:
            roles.append(_text_role(offset, text, prompt))
    return tuple(roles)


def encode(reader: Reader, picture: Picture, prompt: Prompt, answer: str | None = None) -> Encoded:
    """Tensors and token roles of one context. If ``answer`` is given, its tokens follow the prompt's.

    The conversation is the checkpoint's own template with the picture and ``prompt.user`` in the user's turn and
    ``prompt.prefill`` after the opening of the assistant's turn. Raises FinstError when the picture does not suit the
    model, the model crops an object, the template does not take one picture and one text, picture and prompt have more
    positions than the decoder, or the answer changes how the prompt is tokenised.
    """
    pixels = _pixels(reader, picture)
    _check_in_view(reader, picture, pixels.views[0])
    placeholder = reader.family.image_placeholder
    text = _render(reader, prompt)
    wide = replace(text, before=text.before.replace(placeholder, _picture_text(reader.family, pixels)))
    prompt_ids, offsets = _tokenise(reader, wide.whole)
    ids = prompt_ids
    if answer is not None:
        ids, offsets = _continued(reader, prompt_ids, wide.whole, prompt, answer)
    _check_length(reader, len(ids))
    image_id, words = reader.config.image_token_id, reader.config.get_text_config().vocab_size
    if max(ids, default=0) >= words:
        raise FinstError(
            f"the tokenizer of {reader.id} gives the token {max(ids)}, and the decoder has {words} tokens: expected "
            "the tokenizer that belongs to the configuration"
        )
    if ids.count(image_id) != len(pixels.roles):
        raise FinstError(
            f"{reader.id} does not read {placeholder} as its image token {image_id}: expected the tokenizer that "
            "belongs to the configuration"
        )
    roles = _roles(ids, offsets, wide, prompt, image_id, pixels.roles, len(prompt_ids) - 1)
    coverage = np.concatenate([patch_coverage(picture.masks, view) for view in pixels.views], axis=1)
    shown = text.whole if answer is None else text.whole + _continuation(text.whole, prompt, answer)
    tokens = TokenMap(roles, pixels.views, coverage, pixels.unplaced)
    return Encoded(torch.tensor(ids), pixels.inputs, tokens, shown)


def _pixels(reader: Reader, picture: Picture) -> Pixels:
    """The vision tower's inputs. What an image processor raises for a picture's size is a FinstError, too."""
    try:
        return reader.family.pixels(reader.config, reader.image_processor, picture.image)
    except (ValueError, ArithmeticError, IndexError, RuntimeError) as cause:
        height, width = picture.image.shape[:2]
        raise FinstError(
            f"a picture of {width}x{height} px does not suit {reader.id} ({cause}): expected another size or shape"
        ) from cause


def _picture_text(family: Family, pixels: Pixels) -> str:
    """The text that replaces the placeholder before tokenisation: one image token for each role."""
    before, after = pixels.around
    return before + (family.image_token or family.image_placeholder) * len(pixels.roles) + after


def _check_length(reader: Reader, length: int) -> None:
    """Raises FinstError for more positions, image tokens included, than the decoder takes."""
    limit = getattr(reader.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and length > limit:
        raise FinstError(
            f"picture and prompt take {length} positions, and {reader.id} has {limit}: expected a shorter prompt or a "
            "smaller picture"
        )


def _check_in_view(reader: Reader, picture: Picture, view: View) -> None:
    """Raises FinstError when pixels of an object lie outside the part of the picture that the model sees."""
    left, top, right, bottom = view.window
    in_view = patch_coverage(picture.masks, view) @ view.areas
    for obj, px, shown in zip(picture.scene.objects, picture.masks.sum(axis=(1, 2)), in_view, strict=True):
        if shown < px * (1 - 1e-9):
            scene = picture.scene
            raise FinstError(
                f"{reader.id} sees x {left:g} to {right:g} and y {top:g} to {bottom:g} of a picture of "
                f"{scene.width}x{scene.height} px, which cuts the {obj.name} off: expected all objects in that part; a "
                "square picture is seen whole"
            )


def _continued(
    reader: Reader, prompt_ids: list[int], text: str, prompt: Prompt, answer: str
) -> tuple[list[int], Offsets]:
    ids, offsets = _tokenise(reader, text + _continuation(text, prompt, answer))
    if ids[: len(prompt_ids)] != prompt_ids or len(ids) == len(prompt_ids):
        raise FinstError(
            f"{reader.id} does not tokenise the prompt as the beginning of prompt and answer {answer!r}: expected an "
            "answer that adds tokens and leaves those of the prompt unchanged"
        )
    return ids, offsets


def first_tokens(reader: Reader, prompt: Prompt, answers: Sequence[str]) -> list[int]:
    """The id of each answer's first token, tokenised after the prompt as it would be generated.

    Raises FinstError when two answers begin with the same token, since one logit cannot distinguish them.
    """
    text = _render(reader, prompt).whole
    prompt_ids, _ = _tokenise(reader, text)
    first: dict[int, str] = {}
    for answer in answers:
        ids, _ = _continued(reader, prompt_ids, text, prompt, answer)
        token = ids[len(prompt_ids)]
        if token in first:
            raise FinstError(
                f"the answers {first[token]!r} and {answer!r} begin with the same token "
                f"{reader.tokenizer.decode([token])!r} of {reader.id}: expected first tokens that differ"
            )
        first[token] = answer
    return list(first)


def unsayable(reader: Reader, words: Iterable[str]) -> list[str]:
    """The words that the tokenizer cannot encode, not even letter by letter: it would give its unknown token for all of
    them."""
    unknown = reader.tokenizer.unk_token_id
    return [word for word in words if unknown in reader.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]]
