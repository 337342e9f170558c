"""A pair of causal mediation, ready to be shown. Needs a tokenizer and an image processor, but no weights."""

from __future__ import annotations

from itertools import groupby

from finst.errors import FinstError
from finst.experiments.cma_design import (
    COLOURS,
    CONDITIONS,
    CONTEXTS,
    CMASpec,
    colours_of,
    contexts_of,
    patched_positions,
)
from finst.report.example import Cells, Chip, Example, Shot
from finst.scenes.designs import MediationPair, mediation_pairs
from finst.scenes.draw import draw
from finst.vlm.encode import Encoded, token_texts
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
    words = dict(zip(COLOURS, colours_of(shown), strict=True))
    return Example(
        pair=pair,
        grid=contexts[0].tokens.grid,
        shots=tuple(_shot(shown, name, context) for name, context in zip(CONTEXTS, contexts, strict=True)),
        chips=_chips(reader, contexts[0]),
        contrasts={name: (words[c.original], words[c.counterfactual]) for name, c in CONDITIONS.items()},
    )


def _shot(pair: MediationPair, name: str, context: Encoded) -> Shot:
    scene = getattr(pair, name)
    tokens = context.tokens
    cells = []
    for index, obj in enumerate(scene.objects):
        positions = () if tokens.unplaced else tokens.object_patches(index, view=0)
        patches = [tokens.roles[pos].patch for pos in positions]
        cells.append(Cells(index, obj.name, tuple(patch for patch in patches if patch is not None)))
    return Shot(name, CAPTIONS[name], draw(scene).image, tuple(cells), scene.objects[1].colour)


def _chips(reader: Reader, context: Encoded) -> tuple[Chip, ...]:
    patched = {name: patched_positions(context, condition) for name, condition in CONDITIONS.items()}
    texts = token_texts(reader, context.input_ids.tolist())
    chips = []
    of_picture = (context.input_ids == reader.config.image_token_id).tolist()
    for is_image, run in groupby(range(len(texts)), key=of_picture.__getitem__):
        positions = list(run)
        if is_image:
            chips.append(Chip(f"picture: {context.tokens.layout} tokens", "image", tokens=len(positions)))
            continue
        for pos in positions:
            conditions = tuple(name for name, where in patched.items() if pos in where)
            chips.append(Chip(texts[pos], context.tokens.roles[pos].kind, conditions))
    return tuple(chips)
