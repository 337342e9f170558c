"""Experiments that need right answers, changed so that any answer does: their work is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from finst.experiments.interventions.coco.experiment import Coco
from finst.experiments.interventions.coco.first_pass import (
    ListPrompts,
    NamedThings,
    named_things,
    unedited_texts,
)
from finst.experiments.interventions.rescue.experiment import Rescue
from finst.experiments.interventions.shown_pictures import Sifted
from finst.experiments.registry import experiment_of
from finst.vlm.open import VLM

STAND_INS: Mapping[str, str] = MappingProxyType(
    {
        "cma": "all pairs count, whether or not they are answered correctly",
        "rescue": "prototypes come from all descriptions, whether or not they are right",
        "coco": "every picture counts, with made-up things where the model names none",
    }
)
"""What a rehearsal does so that a model that answers nothing right does the same work, by experiment."""

FIRST, SECOND = "red square", "blue circle"


class RescueByAny(Rescue):
    """``rescue`` with prototypes from all descriptions."""

    right_only: ClassVar[bool] = False


class CocoOfAny(Coco):
    """``coco`` with two things in every picture."""

    def two_things(self, vlm: VLM, prompts: ListPrompts, shown: Sequence[Sifted]) -> list[NamedThings]:
        """The things that the model names, or ``FIRST`` and ``SECOND`` where it names none.

        In those pictures it reads the second prompt as it would after a name.
        """
        named = named_things(vlm, prompts, shown)
        pictures = [one.picture for one, things in zip(shown, named, strict=True) if one.picture and not things.kept]
        contexts = [prompts.second(vlm.reader, picture, FIRST) for picture in pictures]
        unedited_texts(vlm, contexts, prompts, prompts.tokens)
        made_up = NamedThings("", FIRST, SECOND)
        return [things if things.kept or one.reason else made_up for one, things in zip(shown, named, strict=True)]


def rehearsed(name: str) -> Any:
    """The experiment of this name as a rehearsal runs it. Raises FinstError for an unknown name."""
    changed: Mapping[str, Any] = {"rescue": RescueByAny, "coco": CocoOfAny}
    return changed[name]() if name in changed else experiment_of(name)
