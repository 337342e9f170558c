"""One trial as reports show it: picture, image tokens of every object, and prompt tokens. Needs no weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Float

from finst.report.example import Cells, ContextView, Edges, Lattice, TokenView, TrialExample
from finst.scenes.object import Picture
from finst.vlm.encode import Encoded, token_texts
from finst.vlm.open import Reader


def context_view(
    name: str, caption: str, picture: Picture, context: Encoded, answer: str, targets: Sequence[int]
) -> ContextView:
    """A context's picture, with the image tokens of every object.

    ``answer`` is the right answer to its prompt. ``targets`` are the objects that it names: mostly one; all
    where they are listed; none in pictures without objects. Raises FinstError where these do not fit each other.
    """
    roles = context.tokens.roles
    cells = []
    for index, obj in enumerate(picture.scene.objects):
        positions = () if context.tokens.unplaced else context.tokens.object_patches(index, view=0)
        patches = [roles[pos].patch for pos in positions]
        cells.append(Cells(index, obj.name, tuple(patch for patch in patches if patch is not None)))
    view = context.tokens.views[0]
    lattice = Lattice(_edges(view.rows), _edges(view.cols))
    return ContextView(name, caption, picture.image, tuple(cells), answer, tuple(targets), lattice)


def _edges(spans: Float[np.ndarray, "patch 2"]) -> Edges:
    return tuple((float(start), float(stop)) for start, stop in spans)


def token_views(reader: Reader, context: Encoded, marked: Mapping[str, Collection[int]]) -> tuple[TokenView, ...]:
    """A context's tokens, each with its marks: the names in ``marked`` whose positions include that of the token.

    Consecutive image tokens are one view.
    """
    texts = token_texts(reader, context.input_ids.tolist())
    views = []
    image = (context.input_ids == reader.config.image_token_id).tolist()
    for is_image, run in groupby(range(len(texts)), key=image.__getitem__):
        positions = list(run)
        if is_image:
            views.append(TokenView(f"picture: {context.tokens.layout} tokens", "image", tokens=len(positions)))
            continue
        for pos in positions:
            marks = tuple(name for name, marked_positions in marked.items() if pos in marked_positions)
            views.append(TokenView(texts[pos], context.tokens.roles[pos].kind, marks))
    return tuple(views)


def trial_example(
    reader: Reader,
    picture: Picture,
    context: Encoded,
    answer: str,
    marked: Collection[int],
    *,
    targets: Sequence[int],
) -> TrialExample:
    """A trial with one context; ``marked`` are the positions of the tokens that are read or edited.

    ``answer`` and ``targets`` are those of ``context_view``.
    """
    view = context_view("trial", "The scene of the first trial.", picture, context, answer, targets)
    return TrialExample(context.tokens.grid, view, token_views(reader, context.prompt, {"marked": marked}))
