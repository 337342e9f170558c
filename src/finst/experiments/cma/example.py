"""One pair of causal mediation for a page. Needs a tokenizer and an image processor, but no weights."""

from __future__ import annotations

from finst.errors import FinstError
from finst.experiments.cma.design import (
    COLOURS,
    CONDITIONS,
    CONTEXTS,
    colours_of,
    contexts_of,
    patched_positions,
)
from finst.experiments.cma.page import PairExample
from finst.experiments.cma.spec import CMASpec
from finst.experiments.example import context_view, token_views
from finst.scenes.designs import mediation_pairs
from finst.scenes.draw import draw
from finst.vlm.open import Reader

TARGET = 1
"""The object that the answer names; object 0 is described."""

CAPTIONS = {
    "clean": "The scene of every patched run.",
    "swapped": "Source of ID retrieval and ID selection: the two objects are swapped.",
    "changed": "Source of feature retrieval: another target in the same place.",
}


def pair_example(spec: CMASpec, reader: Reader, pair: int = 0) -> PairExample:
    """Pair number ``pair`` of the design: its three pictures, its tokens, and the conditions that patch each token.

    Raises FinstError when the design does not have this pair.
    """
    if not 0 <= pair < spec.pairs:
        raise FinstError(f"pair {pair} is not in the design: expected 0 to {spec.pairs - 1}")
    design = mediation_pairs(spec.pairs, spec.seed)[pair]
    contexts = contexts_of(reader, spec, design)
    patched = {name: patched_positions(contexts[0], condition) for name, condition in CONDITIONS.items()}
    words = dict(zip(COLOURS, colours_of(design), strict=True))
    scenes = {name: getattr(design, name) for name in CONTEXTS}
    return PairExample(
        pair=pair,
        grid=contexts[0].tokens.grid,
        views=tuple(
            context_view(name, CAPTIONS[name], draw(scene), context, scene.objects[TARGET].colour, [TARGET])
            for (name, scene), context in zip(scenes.items(), contexts, strict=True)
        ),
        tokens=token_views(reader, contexts[0], patched),
        contrasts={name: (words[c.original], words[c.counterfactual]) for name, c in CONDITIONS.items()},
    )
