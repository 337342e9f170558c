"""The items of a generated list, and when two of them are one thing: by the whole phrase, or by the head noun."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

_NUMBER = re.compile(r"(?:(?<=\s)|^)(\d{1,2})[.)](?=\s|$)")
"""``2.`` or ``2)`` as a word of its own."""

_OPENING = re.compile(r"\s*in this image,? there (?:is|are)\b:?", re.IGNORECASE)
"""Where a model repeats the unfinished sentence."""

_ARTICLE = re.compile(r"\s*(?:nother|n|an?|the|another|one|some)\s+")
"""``n`` and ``nother`` are the rest of "an" and "another" after a prompt that ends with "a"."""

_END = re.compile(r"[^a-zà-öø-ÿ \t'’-]|\banswer\b")  # noqa: RUF001
"""Ends a phrase: a comma, full stop, digit, any other mark, or the "Answer:" that closes an enumeration."""

_JOINT = re.compile(
    r"with(?:out)?|and|or|in(?:side|to)?|on(?:to)?|of|off|at|by|from|to|near|next|behind|under(?:neath)?|over|above|below|"
    r"beside|between|outside|through|against|around|along|across|for|as|that|which|who|is|are|has|having|holding|wearing|"
    r"carrying|sitting|standing|lying|laying|riding|walking|running|playing|eating|drinking|looking|watching|using|"
    r"cutting|flying|hanging|parked|filled|covered|surrounded|placed|made|dressed"
)
"""The head noun stands before the first of these words (a phrase's own first word does not count)."""

_IRREGULAR: Mapping[str, str] = MappingProxyType(
    {"men": "man", "women": "woman", "children": "child", "people": "person", "buses": "bus", "knives": "knife"}
)

SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("man", "woman", "boy", "girl", "child", "kid", "baby", "lady", "guy", "player", "rider"), "person"
        ),
        **{"bike": "bicycle", "motorbike": "motorcycle", "plane": "airplane", "sofa": "couch", "television": "tv"},
        **{"phone": "cell phone", "table": "dining table", "plant": "potted plant", "glass": "wine glass"},
    }
)
"""Everyday head nouns for which COCO's annotations have another name."""


def items(text: str, first: int) -> dict[int, str]:
    """The phrases of a list that continues with item number ``first``, by number; the first of equal numbers counts.

    A text that repeats the list from its beginning is read by its own numbers.
    """
    opening, *rest = _NUMBER.split(_OPENING.sub("", text, count=1))
    phrases = {first: phrase(opening)} if opening.strip() else {}
    for number, content in zip(rest[::2], rest[1::2], strict=True):
        phrases.setdefault(int(number), phrase(content))
    return phrases


def phrase(text: str) -> str:
    """Lower-case words up to the first comma, full stop, number or other mark, without the article before them."""
    lower = text.lower()
    article = _ARTICLE.match(lower)
    words = lower[article.end() if article else 0 :].lstrip()
    return " ".join(_END.split(words, maxsplit=1)[0].split())


def core(phrase: str) -> list[str]:
    """The words before the first preposition, participle or "and", plurals folded."""
    words = phrase.split()
    end = next((place for place, word in enumerate(words) if place and _JOINT.fullmatch(word)), len(words))
    return [singular(word) for word in words[:end]]


def head(phrase: str) -> str:
    """The head noun: the last word of the core; empty where there is none."""
    return core(phrase)[-1] if phrase else ""


def singular(word: str) -> str:
    """A plural's singular by its ending: -ies, -sses, -xes, -zes, -ches, -shes, -s, and a few irregular ones."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "zzes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def same(phrase: str, other: str) -> tuple[bool, bool]:
    """Whether two phrases are one thing: exact, all words are equal; lenient, their head nouns are.

    An empty phrase is nothing.
    """
    return bool(phrase) and phrase == other, bool(phrase) and head(phrase) == head(other)


def annotated(phrase: str, categories: Sequence[str]) -> bool:
    """Whether a phrase names one of the categories: its core ends with all words of one (or a synonym's)."""
    words = core(phrase)
    if not words:
        return False
    known = [[singular(word) for word in category.lower().split()] for category in categories]
    synonym = [singular(word) for word in SYNONYMS.get(words[-1], words[-1]).split()]
    return any(named[-len(category) :] == category for named in (words, synonym) for category in known)
