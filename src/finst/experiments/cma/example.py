"""A pair of causal mediation, ready to be shown. Needs a tokenizer and an image processor, but no weights."""

from __future__ import annotations

from finst.errors import FinstError
from finst.experiments.cma.design import (
    COLOURS,
    CONDITIONS,
    CONTEXTS,
    CMASpec,
    colours_of,
    contexts_of,
    patched_positions,
)
from finst.experiments.example import chips_of, shot_of
from finst.report.example import Example, Shot
from finst.scenes.designs import MediationPair, mediation_pairs
from finst.scenes.draw import draw
from finst.vlm.encode import Encoded
from finst.vlm.open import Reader

CAPTIONS = {
    "clean": "The scene that every patched run sees.",
    "swapped": "Source of ID retrieval and ID selection: the two objects have changed places.",
    "changed": "Source of feature retrieval: another target at the same place.",
}


def example(spec: CMASpec, reader: Reader, pair: int = 0) -> Example:
    """Pair number ``pair`` of the design: its three pictures, its tokens, and what is patched where.

    Raises FinstError when the design has no such pair.
    """
    if not 0 <= pair < spec.pairs:
        raise FinstError(f"pair {pair} is not in the design: expected 0 to {spec.pairs - 1}")
    shown = mediation_pairs(spec.pairs, spec.seed)[pair]
    contexts = contexts_of(reader, spec, shown)
    patched = {name: patched_positions(contexts[0], condition) for name, condition in CONDITIONS.items()}
    words = dict(zip(COLOURS, colours_of(shown), strict=True))
    return Example(
        pair=pair,
        grid=contexts[0].tokens.grid,
        shots=tuple(_shot(shown, name, context) for name, context in zip(CONTEXTS, contexts, strict=True)),
        chips=chips_of(reader, contexts[0], patched),
        contrasts={name: (words[c.original], words[c.counterfactual]) for name, c in CONDITIONS.items()},
    )


def _shot(pair: MediationPair, name: str, context: Encoded) -> Shot:
    scene = getattr(pair, name)
    return shot_of(name, CAPTIONS[name], draw(scene), context, scene.objects[1].colour)
