"""The two comparisons that the note rests on, each as one sentence with its n, interval and p."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from finst.analysis.proportions import fisher, wilson
from finst.report.wording import counted, format_p
from studies.origins.rows import Row

LONG = 38_100
"""Steps from which a training counts as long. Chosen after all results were seen."""

USUAL = 12_700
"""Steps of the first trainings."""

OUTCOME = "prefill id_retrieval logits"
"""The main outcome, fixed before any training: the strongest retrieval head, sentence in the assistant's turn."""

PLACES = {"binding": "mixed", "counting": "none"}
"""Where nouns have places in mixes whose name does not say it."""


def places_of(mix: str) -> str:
    """``mixed``, ``apart`` or ``none``."""
    return PLACES.get(mix) or mix.rpartition("-")[2]


def steps_in_all(row: Row) -> int:
    """With those of the weights that a training continues from."""
    return (row["steps"] or 0) + row["before"]


def is_binding_recipe(row: Row) -> bool:
    """Captions never come to the last object, places are mixed, and scenes have as many colours as usual."""
    return row["mix"] in ("binding", "never-mixed") and row["low_entropy"] is None


def sentences(rows: Sequence[Row]) -> list[str]:
    """Length, by both rules of what counts as a stage; then places. Only those that have trainings on both sides."""
    recipe = [row for row in rows if is_binding_recipe(row)]
    long, short = ([row for row in recipe if (steps_in_all(row) >= LONG) is side] for side in (True, False))
    usual = [row for row in rows if steps_in_all(row) == USUAL and row.get(OUTCOME) is not None]
    without, placed = ([row for row in usual if (places_of(row["mix"]) == "none") is side] for side in (True, False))
    written: list[str] = []
    if long and short:
        written += [of_length(long, short), of_any_head(long, short)]
    if without and placed:
        written.append(of_places(without, placed))
    return written


def of_length(long: Sequence[Row], short: Sequence[Row]) -> str:
    """How many long and how many shorter trainings have the mechanism, by the rule that was fixed before."""
    most = max(steps_in_all(row) for row in short)
    return (
        f"All three stages of the paper are in {_part(long, 'binds')} trainings of the binding recipe with {LONG:,} "
        f"steps or more, and in {_part(short, 'binds')} with {most:,} or fewer (Fisher's exact p of the difference "
        f"{_fisher(long, short, 'binds')})."
    )


def of_any_head(long: Sequence[Row], short: Sequence[Row]) -> str:
    """The same with the weaker rule."""
    rule = "binds with any heads"
    return (
        f"If any head above the noise counts, however weak, these are {_part(long, rule)} and {_part(short, rule)} "
        f"(p {_fisher(long, short, rule)})."
    )


def of_places(without: Sequence[Row], placed: Sequence[Row]) -> str:
    """The main outcome without and with place tokens, at equal steps."""
    none, some = ([float(row[OUTCOME]) for row in rows] for rows in (without, placed))
    p = float(stats.mannwhitneyu(none, some, method="exact").pvalue)
    return (
        f"At {USUAL:,} steps the strongest retrieval head has {_range(none)} logits in the "
        f"{counted(len(none), 'training')} without place tokens, and {_range(some)} in the {len(some)} with them "
        f"(assistant's turn; exact rank test, p {format_p(p)})."
    )


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _part(rows: Sequence[Row], rule: str) -> str:
    hits = sum(row[rule] for row in rows)
    low, high = wilson(hits, len(rows))
    return f"{hits} of {len(rows)} [{100 * low:.0f}, {100 * high:.0f} %]"


def _fisher(long: Sequence[Row], short: Sequence[Row], rule: str) -> str:
    first, second = (sum(row[rule] for row in rows) for rows in (long, short))
    return format_p(fisher(first, second, len(long), len(short)))
