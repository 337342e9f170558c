"""Which plan and folder the options of ``finst reproduce``, ``rehearse`` and ``score`` mean."""

from __future__ import annotations

from pathlib import Path

from finst.cli.options import PlanChoice, Score, check_one_plan
from finst.plans.plan import Plan, read_plan, shipped_plan


def chosen_plan(options: PlanChoice | Score) -> Plan:
    """The plan that the options name; the small one if they name none. Raises FinstError for more than one."""
    check_one_plan(options)
    if options.plan is not None:
        return read_plan(options.plan)
    return shipped_plan("full" if options.full else "fast")


def default_folder(model: str) -> Path:
    """The folder of a model's reproduction where none is given."""
    return Path("runs") / f"reproduce-{Path(model).name}"
