"""The decoder's weights: planted heads, idle heads, embeddings and unembeddings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from finst.builtin.planted.circuit import ROTARY, circuit
from finst.builtin.planted.heads import Matrices, matrices
from finst.builtin.planted.mechanism import D_HEAD, HEADS, LAYERS, Place, Planted
from finst.builtin.planted.space import BALLAST, CONTENT, STREAM
from finst.scenes.shapes import COLOURS, SHAPES

Weights = dict[str, np.ndarray]

WORD_GAIN = 20.0
"""Logits that a word gets for the right kind (colour or shape), and again for the right feature."""

_IDLE_WRITES = 1e-4


def decoder_weights(planted: Planted, vocabulary: Mapping[str, int]) -> Weights:
    """All weights under ``model.language_model.`` and ``lm_head`` that are not zero (those of the MLPs are zero)."""
    heads = {place: matrices(head, ROTARY) for place, head in circuit(planted).items()}
    norm = np.full(STREAM.width, np.sqrt((BALLAST**2 + CONTENT) / STREAM.width))
    weights = {"embed_tokens.weight": embeddings(vocabulary), "norm.weight": norm}
    for layer in range(LAYERS):
        row = [heads.get((layer, head)) or idle((layer, head)) for head in range(HEADS)]
        weights |= {f"layers.{layer}.{name}": value for name, value in attention(row).items()}
        weights[f"layers.{layer}.input_layernorm.weight"] = norm
    return {f"model.language_model.{name}": value for name, value in weights.items()} | {
        "lm_head.weight": unembeddings(vocabulary)
    }


def attention(heads: list[Matrices]) -> Weights:
    """A layer's projections, with its heads concatenated."""
    weights = {"self_attn.o_proj.weight": np.concatenate([head.o for head in heads], axis=1)}
    for name in ("q", "k", "v"):
        stacked = np.concatenate([getattr(head, name) for head in heads])
        weights |= {f"self_attn.{name}_proj.weight": stacked[:, :-1], f"self_attn.{name}_proj.bias": stacked[:, -1]}
    return weights


def idle(place: Place) -> Matrices:
    """A head with random weights, the same every time.

    It writes almost nothing, where nothing reads it. A patch of it reaches the logits only through the norms, below
    float32's resolution.
    """
    rng = np.random.default_rng(place)
    q, k, v = rng.normal(0, 0.5, (3, D_HEAD, STREAM.width + 1))
    for reading in (q, k, v):
        reading[:, [*STREAM.dims("ballast"), -1]] = 0
    o = np.zeros((STREAM.width, D_HEAD))
    o[list(STREAM.dims("noise"))] = rng.normal(0, _IDLE_WRITES, (len(STREAM.dims("noise")), D_HEAD))
    return Matrices(q, k, v, o)


def meaning(token: str) -> dict[str, str]:
    """The content of a token's embedding besides the ballast: the entry of each of its blocks."""
    word = token.strip(" ")
    if word in COLOURS:
        return {"word colour": word, "precedes": "shape"}
    if word in SHAPES:
        return {"word shape": word, "kind": "noun"}
    if token in (",", " and"):
        return {"kind": "pause"}
    kinds = {"<|im_start|>": "opening", "<|vision_start|>": "anchor", " what": "question"}
    if token in kinds:
        return {"kind": kinds[token]}
    before_colours = {" a": "spaced colour", "\n": "bare colour"}
    return {"precedes": before_colours[token]} if token in before_colours else {}


def embeddings(vocabulary: Mapping[str, int]) -> Float[np.ndarray, "token d_model"]:
    """Every token's ballast and meaning, and ``plain`` unless ``leaves_out`` sums over it."""
    table = np.zeros((len(vocabulary), STREAM.width + 1))
    for token, index in vocabulary.items():
        table[index] = BALLAST * STREAM.sum("ballast", ["ballast"])
        entries = meaning(token)
        for block, entry in entries.items():
            table[index] += STREAM.sum(block, [entry])
        if entries.get("kind") not in ("opening", "noun"):
            table[index] += STREAM.sum("kind", ["plain"])
    return table[:, :-1]


def unembeddings(vocabulary: Mapping[str, int]) -> Float[np.ndarray, "token d_model"]:
    """For every word of an answer: the kind of token that it follows, and the feature that it names.

    The answer to a question is a colour alone: after it, the end of the turn has a larger logit than any shape.
    """
    table = np.zeros((len(vocabulary), STREAM.width + 1))
    for colour in COLOURS:
        for token, kind in ((f" {colour}", "spaced colour"), (colour, "bare colour")):
            table[vocabulary[token]] = STREAM.sum("precedes", [kind]) + STREAM.sum("next colour", [colour])
    for shape in SHAPES:
        table[vocabulary[f" {shape}"]] = STREAM.sum("precedes", ["shape"]) + STREAM.sum("next shape", [shape])
    table[vocabulary["<|im_end|>"]] = 2 * STREAM.sum("kind", ["noun"]) + 3 * STREAM.sum("answer", ["complete"])
    return WORD_GAIN * table[:, :-1]
