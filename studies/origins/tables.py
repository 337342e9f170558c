"""All trainings in Markdown: an overview, and tables of recipes, stages, steering and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from finst.analysis.proportions import wilson
from finst.report.wording import NAMES
from studies.origins.evidence import LONG, steps_in_all
from studies.origins.names import PLACEMENTS, STAGES
from studies.origins.rows import POOLED, ROWS, Row

TURNS: Mapping[str, str] = {"prefill": "assistant", "user_turn": "user"}
ARCHITECTURES: Mapping[str, str] = {"qwen2_vl": "Qwen2-VL", "llava": "LLaVA-1.5"}
LESSONS = (
    "next, low entropy",
    "next, high entropy",
    "description, 5-9 objects, low entropy",
    "description, 5-9 objects, high entropy",
    "questions",
    "lists",
)
UNKNOWN = "?"

KEY = """\
Logits: mean effect of patching one head, over pairs of pictures, with its 95 % bootstrap interval over pairs; \\* where
the head is above the family-wise noise (sign flips, 5 %). The strongest head is chosen among all of them, so its
interval leans upwards. After the semicolon: the effects of all heads above the noise together, and how many these are.
Order: how many layers selection lies behind retrieval, and features behind selection; it holds where the interval is
above 0. Compared with: no effect. n counts pairs that are answered right."""

STEERED = """\
Share of pictures, in %, in which the edit brings the other thing, with Wilson's 95 % interval; then the strongest
control at the same K and dose; then the strongest control at its own best. K and dose were chosen on as many other
pictures. n is pictures."""

ANSWERED = "Share of lessons that come out in full, in %, with Wilson's 95 % interval, and lessons. New scenes only."


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def overview(rows: Sequence[Row]) -> str:
    """A row a training: recipe, length, the main outcome in both placements, whether all holds, the hardest task."""
    head = ["training", "mix", "architecture", "steps", "ID retrieval, assistant's turn", "user's turn"]
    head += ["all stages, in order", "next, low entropy"]
    return markdown(
        head,
        [
            [
                row["name"],
                _mix(row),
                ARCHITECTURES[row["family"]],
                f"{steps_in_all(row):,}",
                *(strongest(row, f"{placement} id_retrieval") for placement in PLACEMENTS),
                _verdict(row),
                answered(row, "next, low entropy"),
            ]
            for row in rows
        ],
    )


def details(rows: Sequence[Row]) -> str:
    """Four tables of all trainings, each with what its cells are."""
    parts = [
        "# All trainings",
        "Made by `python -m studies.origins.collect`; `trainings.csv` has the same numbers and more.",
        "## Recipes\n\n" + recipes(rows),
        f"## Stages\n\n{KEY}\n\n" + stages(rows),
        f"## Steering\n\n{STEERED}\n\n" + steering(rows),
        f"## Answers\n\n{ANSWERED}\n\n" + answers(rows),
    ]
    return "\n\n".join(parts) + "\n"


def recipes(rows: Sequence[Row]) -> str:
    """What was trained, and where."""
    head = ["training", "mix", "architecture", "layers", "legs", "steps", "continues", "tokens a step", "seed", "loss"]
    return markdown(
        [*head, "machine"],
        [
            [
                row["name"],
                _mix(row),
                ARCHITECTURES[row["family"]],
                *(_known(row[name]) for name in ("layers", "legs")),
                f"{row['steps']:,}",
                f"{row['start']}, {row['before']:,} steps" if row["start"] else "nothing",
                f"{row['tokens']:,}",
                str(row["seed"]),
                UNKNOWN if row["loss"] is None else f"{row['loss']:.3f}",
                row["machine"],
            ]
            for row in rows
        ],
    )


def stages(rows: Sequence[Row]) -> str:
    """Two rows a training, one for each placement of the sentence."""
    body = []
    for row in rows:
        for placement in PLACEMENTS:
            cells = [strongest(row, f"{placement} {stage}") + summed(row, f"{placement} {stage}") for stage in STAGES]
            counts = {row[f"{placement} {stage} n"] for stage in STAGES}
            n = "-".join(str(count) for count in sorted(counts)) if None not in counts else UNKNOWN
            body.append([row["name"], TURNS[placement], n, *cells, order(row, placement)])
    return markdown(["training", "turn", "n", *(NAMES[stage] for stage in STAGES), "order, layers"], body)


def steering(rows: Sequence[Row]) -> str:
    """A row for each row of the canvas of a training."""
    body = [
        [row["name"], place, str(row[f"steering {place} {STAGES[0]} n"])]
        + [steered(row, f"steering {place} {stage}") for stage in STAGES]
        for row in rows
        for place in (POOLED, *ROWS)
        if row[f"steering {place} {STAGES[0]} n"]
    ]
    return markdown(["training", "pictures", "n", *(NAMES[stage] for stage in STAGES)], body)


def steering_of_long(rows: Sequence[Row]) -> str:
    """``steering`` of the long trainings."""
    return steering([row for row in rows if steps_in_all(row) >= LONG])


def answers(rows: Sequence[Row]) -> str:
    """A row a training."""
    return markdown(["training", *LESSONS], [[row["name"], *(answered(row, name) for name in LESSONS)] for row in rows])


def strongest(row: Row, column: str) -> str:
    """``1.62\\* [1.14, 2.17]``."""
    if row[f"{column} logits"] is None:
        return UNKNOWN
    mark = "\\*" if row[f"{column} above"] else ""
    return f"{_number(row[f'{column} logits'])}{mark} {_interval(row[f'{column} low'], row[f'{column} high'])}"


def summed(row: Row, column: str) -> str:
    """``; 2.61 in 11``."""
    if row[f"{column} summed"] is None:
        return ""
    return f"; {row[f'{column} summed']:.2f} in {_known(row[f'{column} heads_above'])}"


def order(row: Row, placement: str) -> str:
    """``0.95 [0.82, 1.08], 1.67 [1.58, 1.78]``."""
    steps = [f"{placement} order {step + 1}" for step in range(len(STAGES) - 1)]
    return ", ".join(
        "none" if row[f"{step} difference"] is None
        else f"{_number(row[f'{step} difference'])} {_interval(row[f'{step} low'], row[f'{step} high'])}"
        for step in steps
    )  # fmt: skip


def steered(row: Row, column: str) -> str:
    """``50 [25, 75]; 0; 50``."""
    after, n = row[f"{column} after"], row[f"{column} n"]
    low, high = wilson(round(after * n), n)
    controls = (row[f"{column} {control}"] for control in ("control", "control_own"))
    return "; ".join([f"{100 * after:.0f} [{100 * low:.0f}, {100 * high:.0f}]", *(f"{100 * c:.0f}" for c in controls)])


def answered(row: Row, lessons: str) -> str:
    """``98 [95, 99] of 300``."""
    share, n = row.get(lessons), row.get(f"{lessons} n")
    if share is None or n is None:
        return UNKNOWN
    low, high = wilson(round(share * n), n)
    return f"{100 * share:.0f} [{100 * low:.0f}, {100 * high:.0f}] of {n}"


def _interval(low: float | None, high: float | None) -> str:
    return "[?]" if low is None or high is None else f"[{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return f"{value:.1g}" if 0 < abs(value) < 0.005 else f"{value:.2f}"


def _mix(row: Row) -> str:
    return row["mix"] if row["low_entropy"] is None else f"{row['mix']}, {100 * row['low_entropy']:.0f} % low entropy"


def _verdict(row: Row) -> str:
    if row["binds"]:
        return "yes"
    return "not the strongest heads" if row["binds with any heads"] else "no"


def _known(value: object) -> str:
    return UNKNOWN if value is None else str(value)
