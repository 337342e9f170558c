"""What is measured, by name; light enough to be read without a model."""

from __future__ import annotations

from finst.options import Placement

STAGES = ("id_retrieval", "id_selection", "feature_retrieval")
PLACEMENTS: tuple[Placement, ...] = ("prefill", "user_turn")

PEAKS = (("commas", "position"), ("last", "position"), ("last", "features"))
"""(tokens, what they are similar in): the three curves of Fig 1c."""

RESULTS = "results.jsonl"
"""One line a training, in the order in which they were done."""
