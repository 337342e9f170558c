"""Where a correlation over layers is largest, and whether it was found: what all reports of RSA say in one form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from finst.report.status import LEAST, Evidence, permutation_limit
from finst.report.wording import counted, interval, number, probability, span

SHUFFLED = "shuffled labels"
"""What every p of RSA is against."""

SAME_R = 0.005
"""Correlations that differ by less are the same in a sentence."""

IGNORABLE_R = 0.1
"""Correlations up to this size, a hundredth of the variance, would not matter: "not found" excludes larger ones."""

PEAK_RULE = (
    f"“peak” is the first layer whose r is within {SAME_R} of the largest: later layers that only keep it do not count"
)

STATUS_RULE = (
    f"“not found”: the intervals of all places exclude an r above {IGNORABLE_R}; “undecided”: they do not, and no "
    "place is significant; “not testable”: no p below alpha was possible"
)


@dataclass(frozen=True)
class Peak:
    """The largest correlation of one role and comparison over layers."""

    layer: int
    r: float
    low: float
    high: float
    p: float
    """Family-wise over layers."""
    significant: tuple[int, ...]
    """Layers with a family-wise p below alpha."""
    undefined: tuple[int, ...]
    """Layers without an r, as the data do not determine it."""
    evidence: Evidence

    @property
    def numbers(self) -> str:
        """``r = 0.61 [0.52, 0.70], family-wise p < 0.001 against shuffled labels``."""
        p = probability(self.p, SHUFFLED, "family-wise p")
        return f"r = {number(self.r, 2)} {interval(self.low, self.high, 2)}, {p}"

    @property
    def verdict(self) -> str:
        """``found, peak in layer 3 (r = ...)``; what was not found names the largest r, too."""
        if self.evidence.status == "not testable":
            return f"not testable ({limit_text(self.evidence)})"
        where = "peak" if self.significant else "largest r"
        return f"{self.evidence.status}, {where} in layer {self.layer} ({self.numbers})"

    @property
    def where(self) -> str:
        """The layers in which it is significant, or why there are none, and those without an r."""
        without = f"; r is not defined in {span(self.undefined)}" if self.undefined else ""
        return f"{self._significance}{without}"

    @property
    def _significance(self) -> str:
        if self.significant:
            return f"significant in {span(self.significant)}"
        if self.evidence.status == "not testable":
            return f"not testable: {limit_text(self.evidence)}"
        return f"{self.evidence.status}: not significant in any layer"


def peak_layer(r: xr.DataArray) -> int:
    """The first layer whose r is as large as the largest: later layers that only keep it are not the peak.

    The first layer of all where no layer has an r.
    """
    return int(r["layer"].values[int((r > r.max() - SAME_R).argmax("layer"))])


def peak_of(part: xr.Dataset, n: int) -> Peak:
    """The peak of one role and comparison (the one dim layer) over ``n`` trials."""
    alpha, layer = part.attrs["alpha"], peak_layer(part["r"])
    at = part.sel(layer=layer)
    significant = part["layer"].values[(part["p_fwer"] < alpha).values].tolist()
    undefined = part["layer"].values[part["r"].isnull().values].tolist()
    r, low, high, p = (float(at[name]) for name in ("r", "ci_low", "ci_high", "p_fwer"))
    return Peak(layer, r, low, high, p, tuple(significant), tuple(undefined), evidence_of(part, n))


def evidence_of(part: xr.Dataset, n: int) -> Evidence:
    """That r is positive at any place of ``part`` (layers, or layers and heads)."""
    alpha, p = part.attrs["alpha"], part["p_fwer"].values
    significant = p < alpha
    low, high = part["ci_low"].values, part["ci_high"].values
    return Evidence(
        n=n,
        low=_largest(low[significant] if significant.any() else low.ravel()),
        high=_largest(high.ravel()),
        p=float(np.nanmin(p)) if np.isfinite(p).any() else float("nan"),
        least_p=permutation_limit(part.attrs["permutations"]),
        alpha=alpha,
        ignorable=IGNORABLE_R,
    )


def _largest(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else float("nan")


def limit_text(evidence: Evidence) -> str:
    """Why no p below alpha was possible."""
    if np.isnan(evidence.p) and evidence.n >= LEAST:
        return "r is not defined, as the data do not determine it"
    if evidence.least_p >= evidence.alpha:
        permutations = counted(round(1 / evidence.least_p) - 1, "permutation")
        return f"with {permutations} no p can be below {evidence.least_p:.3f}"
    return f"with {counted(evidence.n, 'trial')} there is nothing to test"


def trials_in(summary: xr.Dataset) -> int:
    """The trials behind each correlation."""
    return int(summary.attrs["n"]) if "n" in summary.attrs else summary.sizes["trial"]


def range_of(values: Sequence[float]) -> str:
    """``0.10 to 0.20``."""
    return " to ".join(number(end, 2) for end in (min(values), max(values)))
