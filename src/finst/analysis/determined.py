"""When data do not determine a statistic: one rule, relative to rounding, that all estimators share.

What a subtraction leaves is rounding if it is no larger than a few rounding errors of what was subtracted. So values
are constant when their deviations from their mean are that small, and two quantities are collinear when nothing larger
is left of one after a regression on the other. A statistic that divides by such a remainder is NaN. Data that are no
numbers, or do not fit together, are refused instead (FinstError).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from finst.errors import FinstError

ROUNDINGS = 4
"""A remainder of at most so many rounding errors is none."""

Number = float | np.floating

Axes = int | tuple[int, ...]


def precision(values: Shaped[np.ndarray, "*any"]) -> float:
    """The relative rounding error (machine epsilon) of the values' format; of float64 for whole numbers."""
    return float(np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps)


def vanishes(
    remainder: Float[np.ndarray, "*any"] | Number,
    whole: Float[np.ndarray, "*#any"] | Number,
    eps: float,
    terms: int = 1,
) -> Bool[np.ndarray, "..."]:
    """Whether ``remainder`` is what rounding leaves of a difference between numbers of the size ``whole``.

    ``eps`` is the relative rounding error of these numbers. Errors of sums grow with the square root of their number
    of ``terms``. NaN vanishes, too: it is no remainder.
    """
    return np.asarray(~(np.asarray(remainder) > ROUNDINGS * eps * np.sqrt(terms) * np.asarray(whole, np.float64)))


def constant(values: Shaped[np.ndarray, "*any"], axis: Axes = -1) -> Bool[np.ndarray, "..."]:
    """Whether values are the same along ``axis`` up to rounding; true without values, and for a single one.

    Compares the root mean square of deviations from the mean with that of the values themselves, at any scale.
    """
    axes = (axis,) if isinstance(axis, int) else axis
    last = np.moveaxis(values, axes, range(-len(axes), 0))
    flat = last.reshape(*last.shape[: last.ndim - len(axes)], -1)
    if flat.shape[-1] < 2:
        return np.ones(flat.shape[:-1], dtype=bool)
    data, _ = scaled(np.asarray(flat, dtype=np.float64), axis=-1)
    apart = data - data[..., :1]  # exactly zero for equal values; their computed mean may differ from them
    spread = np.linalg.norm(apart - apart.mean(axis=-1, keepdims=True), axis=-1)
    return vanishes(spread, np.linalg.norm(data, axis=-1), precision(values))


def scaled(
    values: Float[np.ndarray, "*any"], axis: Axes | None = None
) -> tuple[Float[np.ndarray, "*any"], Int[np.ndarray, "..."]]:
    """Values divided by the power of two above their largest absolute value along ``axis``, and its exponent.

    Squares of the result neither overflow nor vanish. The division is exact, so no digit of a result changes.
    """
    largest = np.max(abs(values), axis=axis, keepdims=True, initial=0.0)
    exponent = np.frexp(largest)[1]
    return np.ldexp(values, -exponent), exponent


def ties_joined(
    values: Float[np.ndarray, "entry"], size: float | None = None, eps: float | None = None
) -> Float[np.ndarray, "entry"]:
    """Values in which those that differ by rounding alone are equal, for ranks.

    Numbers of the absolute ``size`` have been subtracted to make the values; None where they stand for themselves. Left
    as they are: chains of close values that are longer than rounding explains, and ties of less than 1 % of all values,
    which dense data have by chance and whose order changes no rank by more.
    """
    if len(values) < 2:
        return values
    eps = precision(values) if eps is None else eps
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    width = ROUNDINGS * eps * (np.maximum(abs(ordered[1:]), abs(ordered[:-1])) if size is None else size)
    starts = np.flatnonzero(np.append(True, np.diff(ordered) > width))
    counts = np.diff(starts, append=len(values))
    lengths = ordered[starts + counts - 1] - ordered[starts]
    limit = 2 * ROUNDINGS * eps * (abs(ordered[starts]) if size is None else size)
    tied = (lengths <= limit) & (counts >= max(2, len(values) / 100))
    result = np.empty_like(values)
    result[order] = np.where(np.repeat(tied, counts), np.repeat(ordered[starts], counts), ordered)
    return result


def finite(values: Shaped[np.ndarray, "*any"], what: str = "scores") -> Float[np.ndarray, "*any"]:
    """``values`` in float64. Raises FinstError if any of them is not finite."""
    data = np.asarray(values, dtype=np.float64)
    if not np.isfinite(data).all():
        raise FinstError(f"{what} must be finite; {np.count_nonzero(~np.isfinite(data))} of {data.size} are not")
    return data
