"""Names of other machines for ``finst check --on``."""

from __future__ import annotations

import pytest

from finst.cli.machines import CARDS, machine
from finst.errors import FinstError


@pytest.mark.parametrize("name", CARDS)
def test_every_card_has_less_memory_than_its_name_says(name: str) -> None:
    nominal = float(name.rpartition("-")[2].removesuffix("gb"))
    card = machine(name)
    assert 0.9 * nominal < card.memory_gib < nominal
    assert machine(f" 2x{name.upper()}").memory_gib == 2 * card.memory_gib
    rates = card.rates("float16")
    assert rates is not None
    assert 1e13 < rates[0] < 2e15
    assert 2e11 < rates[1] < 8e12


def test_amounts_of_memory() -> None:
    assert (machine("24GiB").memory_gib, machine("24gib").card) == (24, None)
    assert machine("24 GB").memory_gib == pytest.approx(24e9 / 2**30)
    assert machine("24GiB").rates("float32") is None


def test_cards_without_bfloat16_say_so() -> None:
    assert {name for name in CARDS if machine(name).lacks("bfloat16")} == {"t4-16gb", "v100-16gb", "v100-32gb"}
    assert not machine("t4-16gb").lacks("float16")
    assert machine("t4-16gb").rates("bfloat16") is None


@pytest.mark.parametrize(
    "name", ["", "h100", "0xh100-80gb", "-2xh100-80gb", "h100-80gbx2", "0GiB", "24", "24MiB", "x", "nan GiB"]
)
def test_other_names_are_refused_with_the_list(name: str) -> None:
    with pytest.raises(FinstError) as refusal:
        machine(name)
    assert repr(name) in str(refusal.value)
    assert all(card in str(refusal.value) for card in CARDS)
