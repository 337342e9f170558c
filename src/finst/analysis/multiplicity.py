"""Corrections for many tests: the false discovery rate."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def bh_fdr(p: Float[np.ndarray, "*map"]) -> Float[np.ndarray, "*map"]:
    """Benjamini and Hochberg's adjusted p values over a whole map.

    Among entries below q, the expected share of false discoveries is at most q (for independent or positively dependent
    entries). Entries without a test (NaN) stay NaN and do not count among the tests.
    """
    known = ~np.isnan(p)
    flat = p[known]
    order = np.argsort(-flat, kind="stable")
    ranks = np.arange(len(flat), 0, -1)
    adjusted = np.empty_like(flat, dtype=np.float64)
    adjusted[order] = np.minimum(np.minimum.accumulate(flat[order] * len(flat) / ranks), 1.0)
    result = np.full(p.shape, np.nan)
    result[known] = adjusted
    return result
