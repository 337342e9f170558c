"""Blocks of a Markdown document that are made from results: ``<!-- name -->`` to ``<!-- end -->``."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

from finst.errors import FinstError

END = "<!-- end -->"


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """The document with each block's text in its place.

    Raises FinstError for a block that the document lacks.
    """
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?({re.escape(END)})", re.DOTALL)
        if not pattern.search(text):
            raise FinstError(f"the note has no block {name!r}: expected <!-- {name} --> and, after it, {END}")
        text = pattern.sub(lambda match, block=block: f"{match[1]}\n{wrapped(block)}\n\n{match[2]}", text, count=1)
    return text


def wrapped(block: str) -> str:
    """Paragraphs in lines of at most 170 characters; tables as they are."""
    return block if block.startswith("|") else textwrap.fill(block, 170, break_on_hyphens=False)
