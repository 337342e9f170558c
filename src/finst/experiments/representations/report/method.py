"""What the representational analyses showed, queried, read and tested: sentences that their reports share."""

# ruff: noqa: RUF001  (typeset text: minus signs and apostrophes as readers expect them)
from __future__ import annotations

import xarray as xr

from finst.analysis.proportions import wilson
from finst.report.wording import counted, share_interval

TENSORS = {
    "resid": "the residual stream after each layer",
    "post_attention_norm": "the normalised residual stream between each layer’s attention and MLP",
    "attn_out": "the output of each layer’s attention",
    "z": "every head’s output, before the layer’s output projection",
}
"""The spec's ``tensor`` in words."""

SAME_OBJECTS = (
    "Every trial shows the same objects, in other cells each time. The described objects therefore determine the "
    "missing one even without the picture, and features may be similar for that reason alone."
)
FRESH_OBJECTS = "Every trial shows objects of its own, drawn independently of their cells."
PROMPT = "The prompt describes all objects but the target, in random order; the answer is the target."
COUNTERBALANCED = (
    "At every comma and at the last token, each place in the list of objects falls into each cell equally often, so "
    "position and features are independent."
)
ALL_ARRANGEMENTS = "Every arrangement is shown equally often; the target is drawn at random."
NO_LEAK = "The prompt contains no feature of the target."
LEAK = "The prompt ends with the target’s colour, so it contains half of the target’s features."


def design_text(summary: xr.Dataset) -> str:
    """Which objects, cells and targets the trials of a summary have."""
    objects = FRESH_OBJECTS if summary.attrs.get("objects") == "fresh" else SAME_OBJECTS
    arrangements = ALL_ARRANGEMENTS if summary.attrs.get("arrangements") == "all" else COUNTERBALANCED
    return f"{objects} {PROMPT} {arrangements}"


def reading_text(summary: xr.Dataset) -> str:
    """How the prompt is placed, and which tensor is read."""
    attrs = summary.attrs
    placed = "begins the assistant’s turn" if attrs["placement"] == "prefill" else "is in the user’s turn"
    return f"{leak_text(summary)} The sentence {placed}. The tensor is {TENSORS[attrs['tensor']]}."


def leak_text(summary: xr.Dataset) -> str:
    """Whether the prompt names a feature of the target."""
    return LEAK if summary.attrs["leak_target_colour"] else NO_LEAK


def statistics_text(summary: xr.Dataset) -> str:
    """How RSMs are made, correlated and tested."""
    attrs = summary.attrs
    places = "layers and heads" if "head" in summary.dims else "layers"
    return (
        "A model RSM holds the cosine similarity of every pair of trials. Target RSMs: position is 1 − distance / "
        "largest distance; features are the mean of colour match and shape match. r is Pearson’s correlation over all "
        "pairs of different trials. p values are against shuffled labels "
        f"({counted(attrs['permutations'], 'permutation')} of the trials); family-wise p values compare with the "
        f"largest r over {places}, for each token and target. Intervals are bootstraps over trials "
        f"({counted(attrs['bootstraps'], 'resample')}). The noise ceiling is the r that the best target of cell and "
        "object reaches; it is given where these recur in enough trials."
    )


def exact_text(summary: xr.Dataset) -> str:
    """How often greedy decoding gives exactly the answer."""
    exact = summary["exact"].values
    ends = wilson(int(exact.sum()), len(exact), 1 - summary.attrs["alpha"])
    share = share_interval(float(exact.mean()), *ends)
    return f"greedy decoding gives exactly the answer in {share} of {counted(len(exact), 'trial')}"
