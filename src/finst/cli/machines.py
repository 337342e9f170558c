"""Other machines for ``finst check --on``: named cards, several of one kind, or an amount of memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from finst.errors import FinstError

REACHED = (0.75, 0.85)
"""The parts of a data sheet's arithmetic and memory rates that large products and copies reached on an H100
(docs/benchmarks.md: 715 to 771 of 989 TFLOP/s, 51 of 67, 2.8 to 2.9 of 3.35 TB/s)."""


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: dense products without sparsity."""

    memory_gib: float
    """What programs can have, which is less than in the name."""
    bf16_tflops: float | None
    """None for cards without bfloat16."""
    fp16_tflops: float
    fp32_tflops: float
    gb_per_s: float
    """Bandwidth of the memory."""


CARDS: Mapping[str, Card] = MappingProxyType(
    {
        "b200-180gb": Card(178, 2250, 2250, 75, 8000),
        "h200-141gb": Card(139, 989, 989, 67, 4800),
        "h100-80gb": Card(79, 989, 989, 67, 3350),
        "a100-80gb": Card(79, 312, 312, 19.5, 2039),
        "a100-40gb": Card(39, 312, 312, 19.5, 1555),
        "l40s-48gb": Card(44, 362, 362, 91.6, 864),
        "a6000-48gb": Card(47, 154.8, 154.8, 38.7, 768),
        "a10g-24gb": Card(22, 70, 70, 31.2, 600),
        "l4-24gb": Card(22, 121, 121, 30.3, 300),
        "rtx5090-32gb": Card(31, 209.5, 209.5, 104.8, 1792),
        "rtx4090-24gb": Card(23.5, 165.2, 165.2, 82.6, 1008),
        "rtx3090-24gb": Card(23.5, 71, 71, 35.6, 936),
        "v100-32gb": Card(31.5, None, 125, 15.7, 900),
        "v100-16gb": Card(15.5, None, 125, 15.7, 900),
        "t4-16gb": Card(14.5, None, 65, 8.1, 320),
    }
)
"""GPUs by the names that ``--on`` takes."""


@dataclass(frozen=True)
class Machine:
    """A machine that is not this one."""

    name: str
    count: int
    """Number of cards."""
    memory_gib: float
    """Memory of all cards together."""
    card: Card | None
    """None for an amount of memory, of which nothing else is known."""

    def lacks(self, dtype: str) -> str:
        """Why the cards have no such numbers; empty if they have."""
        if self.card is None or self.card.bf16_tflops is not None or dtype in ("float32", "float64", "float16"):
            return ""
        return f"{self.name} has no bfloat16, so {dtype} does not run there: expected float16 or float32"

    def rates(self, dtype: str) -> tuple[float, float] | None:
        """Operations and bytes a second that large products in this format and copies may reach; None if unknown.

        Layers on several cards work one after the other, so several are as fast as one.
        """
        if self.card is None or self.lacks(dtype) or dtype == "float64":
            return None
        card = self.card
        bf16 = card.bf16_tflops or 0.0
        tflops = {
            "float32": card.fp32_tflops,
            "float16": card.fp16_tflops,
            "bf16x3": max(bf16 / 3, card.fp32_tflops),
            "bf16x6": max(bf16 / 6, card.fp32_tflops),
        }.get(dtype, bf16)
        return REACHED[0] * tflops * 1e12, REACHED[1] * card.gb_per_s * 1e9


def machine(name: str) -> Machine:
    """The machine of this name: a card, ``2xCARD``, or memory such as ``24GiB``. Raises FinstError for other names."""
    plain = name.strip().lower()
    memory = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(gib|gb)", plain)
    if memory and float(memory[1]) > 0:
        return Machine(name.strip(), 1, float(memory[1]) * (1.0 if memory[2] == "gib" else 1e9 / 2**30), None)
    cards = re.fullmatch(r"(?:([1-9]\d{0,2})\s*x\s*)?(\S+)", plain)
    if cards and cards[2] in CARDS:
        count, card = int(cards[1] or 1), CARDS[cards[2]]
        return Machine(plain, count, count * card.memory_gib, card)
    raise FinstError(
        f"unknown machine {name!r}: expected one of {', '.join(CARDS)}, several such as 2xh100-80gb, or an amount of "
        "memory such as 24GiB"
    )
