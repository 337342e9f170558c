"""The settings of ``coco``."""

from __future__ import annotations

from dataclasses import dataclass

from finst.experiments.interventions.spec import InterventionSpec
from finst.options import DRAWN, Wording
from finst.vlm.spec import check_numbers


@dataclass(frozen=True)
class CocoSpec(InterventionSpec):
    """Outputs of selection heads before the first thing of a list is named, written where the second one is (Fig 45).

    A model continues "In this image there is 1. a"; half of the pictures of a split give the mean outputs at that
    prompt's last token, and in the other half they replace those at the last token of "... 1. a {first thing} 2. a". A
    hit repeats the first thing, by the whole phrase (exact) or by the head noun (lenient). The paper takes COCO's
    validation photographs of 2017, the top 50, 100 and 200 heads of some 800, and three random splits: --photos
    FOLDER --pictures 5000 --ks 50 100 200. Pictures are named one at a time. The default, drawn scenes, takes two
    minutes on two cores with the built-in model.
    """

    photos: str = DRAWN
    """A folder of photographs, or one with COCO's val2017 and annotations (then those with two categories or more), or
    drawn: scenes of two to four shapes, for models that know nothing else, such as the built-in ones."""
    pictures: int = 120
    """Pictures, drawn by seed from the folder; all if it has fewer."""
    px: int = 448
    """Photographs are made smaller until their longer side has this length. LLaVA-1.5 sees the middle square."""
    splits: int = 3
    """Random divisions of the pictures into sources and targets."""
    wording: Wording | None = None
    """How the list is begun: with the paper's sentence, or (enumeration) as the answer to the request for a numbered
    list of all coloured objects, which the organism was trained to continue; it does not continue the paper's. None:
    enumeration for drawn scenes, the paper's for photographs. The same for sources and targets."""
    ks: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 40)
    """Heads that are edited: the K strongest of ID selection; at most half of all heads."""
    naming_tokens: int = 40
    """New tokens in which the model names two things."""
    tokens: int = 15
    """New tokens after the second prompt, with and without edits."""

    def check(self) -> None:
        """Raises FinstError for numbers out of range."""
        super().check()
        check_numbers(self, {"pictures": 4, "px": 56, "splits": 1, "naming_tokens": 1, "tokens": 1})
