"""A tokenizer that stands in for a published model's own where that is not here: one token for each common word."""

from __future__ import annotations

import re
import string
from itertools import chain, count

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from finst.builtin.organism.tokenizer import MARKS, WORDS
from finst.scenes.shapes import COLOURS, SHAPES
from finst.vlm.reader import Reader

FIRST, UNKNOWN = "<s>", "<unk>"

SIDE_PX = 448
"""Side of the blank picture that shows which texts surround image tokens."""


def with_stand_in_words(reader: Reader) -> Reader:
    """The reader with a tokenizer of finst's own words.

    Other words are spelled, a token a letter. The image token has the id that the configuration gives it, and marks in
    angle brackets that the architecture writes into conversations are one token each.
    """
    family, config = reader.family, reader.config
    blank = np.full((SIDE_PX, SIDE_PX, 3), 255, dtype=np.uint8)
    around = family.pixels(config, reader.image_processor, blank).around
    written = "".join((family.render(""), *around))
    image = family.image_token or family.image_placeholder
    marks = [*dict.fromkeys((UNKNOWN, FIRST, *re.findall(r"<[^<>\s]+>", written), family.image_placeholder, image))]
    spoken = [*WORDS, *COLOURS, *SHAPES, *string.ascii_letters, *string.digits]
    entries = dict.fromkeys(chain(marks, MARKS, (each for word in spoken for each in (word, f" {word}"))))
    entries |= dict.fromkeys(f"##{letter}" for letter in string.ascii_letters)
    free = (number for number in count() if number != config.image_token_id)
    ids = {entry: config.image_token_id if entry == image else next(free) for entry in entries}
    core = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[A-Za-z]+| ?[0-9]|[^A-Za-z0-9]"), "isolated")
    core.decoder = decoders.Fuse()
    core.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token=UNKNOWN, bos_token=FIRST)
    return Reader(reader.id, reader.path, reader.revision, config, tokenizer, reader.image_processor, family)
