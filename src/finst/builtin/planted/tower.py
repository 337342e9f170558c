"""The vision tower: from the pixels of a patch to colour, shape and the sides on which other objects are.

One patch is one cell of 56 px, so an object on the lattice is one image token. Every feature x is in the tower's stream
twice, as x and as -x. So a LayerNorm subtracts nothing; where the features have a constant norm it divides by a
constant, and its weight multiplies by the same constant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from finst.builtin.planted.heads import Head, Match, Rotary, Turn, matrices
from finst.builtin.planted.mechanism import Coding
from finst.builtin.planted.space import BALLAST, PLACE, STREAM, Space
from finst.scenes.object import OBJECT_PX
from finst.scenes.shapes import COLOURS, SHAPES, coverage

Weights = dict[str, np.ndarray]

DEPTH, HEADS, D_HEAD = 2, 6, 16
WIDTH, MLP_RATIO = HEADS * D_HEAD, 2

FEATURES = Space(
    {
        "paint": tuple(f"{shape} {channel}" for shape in SHAPES for channel in "rgb"),
        "colour": tuple(COLOURS),
        "shape": SHAPES,
        "kind": ("object", "blank"),
        "place": PLACE,
    },
    width=WIDTH // 2,
)

STEPS: Mapping[str, tuple[int, int]] = {"below some": (1, 1), "above some": (1, -1), "right of some": (5, 1)} | {
    "left of some": (5, -1)
}
"""For each part of a relative place: the rotary pair (0.1 rad a cell; pair 1 for height, 5 for width) and the sign of
the distance to the other object."""

ROTARY = Rotary(D_HEAD, steady=(3, 7))

PAINT = 30.0
"""Factor of the patch embedding, so that LayerNorm's epsilon is negligible."""

_SURE = 16.0
"""Activations are linear for inputs of at least this, and zero for inputs of at most minus this."""


def tower_weights(coding: Coding | None) -> Weights:
    """All weights under ``model.visual.`` that are not zero."""
    norm = np.sqrt(2 / WIDTH)
    return {
        "patch_embed.proj.weight": mirrored(unmixed()).reshape(WIDTH, 3, 1, OBJECT_PX, OBJECT_PX),
        "blocks.0.norm1.weight": np.ones(WIDTH),
        "blocks.0.norm2.weight": np.full(WIDTH, norm),
        **{f"blocks.0.mlp.{name}": value for name, value in lookup().items()},
        "blocks.1.norm1.weight": np.full(WIDTH, norm * np.sqrt(_NORM2)),
        "blocks.1.norm2.weight": np.ones(WIDTH),
        **{f"blocks.1.attn.{name}": value for name, value in neighbours().items()},
        "merger.ln_q.weight": np.full(WIDTH, norm * np.sqrt(_NORM2)),
        **{f"merger.mlp.{name}": value for name, value in handed_over(coding).items()},
    }


_NORM2 = 3.0 + len(PLACE)
"""Squared norm of a patch's features from the lookup on: an object's colour, shape and kind, and its place's signs."""


def mirrored(columns: Float[np.ndarray, "feature other"]) -> Float[np.ndarray, "width other"]:
    """Columns that write features, extended to write their negatives as well."""
    return np.concatenate([columns, -columns])


def doubled(rows: Float[np.ndarray, "row coordinate"]) -> Float[np.ndarray, "row widthplus"]:
    """Readings of features as readings of the stream, with its bias."""
    return np.concatenate([rows[:, :-1], np.zeros_like(rows[:, :-1]), rows[:, -1:]], axis=1)


def absorbed(colour: str) -> Float[np.ndarray, "channel"]:
    """White minus the colour, in each channel, in [0, 1]."""
    return 1 - np.array(COLOURS[colour]) / 255


def unmixed() -> Float[np.ndarray, "feature pixels"]:
    """The patch embedding: linear readings of pixels, one for each shape and channel, all 0 for white.

    A patch is coverage_s(pixel) * absorbed_c(channel). The pseudo-inverse of the eight coverages has rows u_t with
    u_t . coverage_s = [t = s], so readings t are ``PAINT`` * absorbed_c if the shape is t, and 0 otherwise.
    """
    outlines = np.stack([coverage(shape, OBJECT_PX, OBJECT_PX).ravel() for shape in SHAPES])
    duals = np.linalg.pinv(outlines).T
    embedding = np.zeros((FEATURES.width, 3 * OBJECT_PX**2))
    for dim, (dual, channel) in zip(
        FEATURES.dims("paint"), ((dual, channel) for dual in duals for channel in range(3)), strict=True
    ):
        embedding[dim, channel * OBJECT_PX**2 : (channel + 1) * OBJECT_PX**2] = -dual
    return PAINT * np.round(embedding, 9)


def lookup() -> Weights:
    """The first block's MLP: two hidden units for every conjunction of colour and shape.

    After the norm the paint has length 1, in its shape's coordinates and its colour's direction. A conjunction's
    reading is linear in the paint's cosine with the conjunction's direction: 3 ``_SURE`` if they are equal, and at most
    -3 ``_SURE`` for all other colours. Its units are act(reading) and act(reading - ``_SURE``). Their difference is
    ``_SURE`` or 0, whatever the last digits of the pixels. Times the difference, the units add colour, shape and
    ``object`` and subtract ``blank`` (the bias) and the paint.
    """
    directions = np.stack([absorbed(colour) / np.linalg.norm(absorbed(colour)) for colour in COLOURS])
    nearest = (directions @ directions.T - 2 * np.eye(len(COLOURS))).max(axis=1)
    reads, writes = np.zeros((MLP_RATIO * WIDTH, WIDTH + 1)), np.zeros((WIDTH // 2, MLP_RATIO * WIDTH))
    blank = np.sqrt(3.0) * FEATURES.sum("kind", ["blank"])[:-1]
    for index, (c, s) in enumerate(np.ndindex(len(COLOURS), len(SHAPES))):
        colour, shape, units = list(COLOURS)[c], SHAPES[s], [2 * index, 2 * index + 1]
        paint = FEATURES.read("paint")[3 * s : 3 * s + 3]
        middle = (1 + nearest[c]) / 2
        reading = 3 * _SURE / (1 - middle) * (directions[c] @ paint - middle * FEATURES.one)
        reads[units] = doubled(np.stack([reading, reading - _SURE * FEATURES.one]))
        made = FEATURES.sum("colour", [colour]) + FEATURES.sum("shape", [shape]) + FEATURES.sum("kind", ["object"])
        column = (made[:-1] - blank - PAINT * absorbed(colour) @ paint[:, :-1]) / _SURE
        writes[:, units] = np.stack([column, -column], axis=1)
    start = blank - FEATURES.sum("place", PLACE)[:-1]
    return {
        "fc1.weight": reads[:, :-1],
        "fc1.bias": reads[:, -1],
        "fc2.weight": mirrored(writes),
        "fc2.bias": mirrored(start[:, None])[:, 0],
    }


def neighbours() -> Weights:
    """The second block's attention: four heads that detect another object on one side each.

    The score of an object d cells on that side is 300 sin(0.1 d); that of a blank patch is 30, which is between
    300 sin(0) and 300 sin(0.2). So an object attends to another object on that side, or else to blank patches. An
    attended object adds 2 to the -1 that every place begins with. Blank patches attend to blank patches.
    """
    seen, blank = (doubled(FEATURES.sum("kind", [kind])[None])[0] for kind in ("object", "blank"))
    blank = blank / np.sqrt(3.0)
    qkv, proj = np.zeros((3, HEADS, D_HEAD, WIDTH + 1)), np.zeros((WIDTH, HEADS, D_HEAD))
    for index, (name, (pair, sign)) in enumerate(STEPS.items()):
        terms = [Turn(seen, seen, 300, pair, phase=-sign * math.pi / 2), Match(seen + blank, blank, 30)]
        writes = mirrored(2 * FEATURES.sum("place", [name])[:-1, None]).T
        made = matrices(Head(terms, seen[None], writes), ROTARY)
        qkv[:, index], proj[:, index] = np.stack([made.q, made.k, made.v]), made.o
    flat = qkv.reshape(3 * WIDTH, WIDTH + 1)
    return {"qkv.weight": flat[:, :-1], "qkv.bias": flat[:, -1], "proj.weight": proj.reshape(WIDTH, WIDTH)}


def handed_over(coding: Coding | None) -> Weights:
    """The merger: copies features into the decoder's stream, exactly, since gelu(x) - gelu(-x) = x.

    Relative places are copied. Absolute places begin as -1, and the decoder's first layer adds 2. A model that counts
    has no places.
    """
    into = np.zeros((STREAM.width, FEATURES.width))
    into[STREAM.dims("seen colour"), FEATURES.dims("colour")] = 1
    into[STREAM.dims("seen shape"), FEATURES.dims("shape")] = 1
    into[:, FEATURES.dims("kind")[0]] = STREAM.sum("kind", ["object"])[:-1]
    into[:, FEATURES.dims("kind")[1]] = STREAM.sum("kind", ["plain"])[:-1] / np.sqrt(3.0)
    if coding == "relative":
        into[STREAM.dims("seen place"), FEATURES.dims("place")] = 1
    bias = STREAM.sum("kind", ["image"]) + BALLAST * STREAM.sum("ballast", ["ballast"])
    if coding == "absolute":
        bias = bias - STREAM.sum("seen place", PLACE)
    return {
        "0.weight": np.eye(WIDTH),
        "2.weight": np.concatenate([into, -into], axis=1),
        "2.bias": bias[:-1],
    }
