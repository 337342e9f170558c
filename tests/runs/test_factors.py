"""Fields of a spec by name and text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pytest

from finst.errors import FinstError
from finst.experiments.cma.spec import CMASpec
from finst.experiments.representations.spec import AccuracySpec, RSAStagesSpec
from finst.runs.factors import valid_factors, with_factors


def test_factors_set_fields_and_leave_the_others():
    spec = RSAStagesSpec(seed=3)
    changed = with_factors(spec, ["leak_target_colour=true", "tensor=post_attention_norm", "grid=2x2", "trials=1"])
    assert changed == replace(spec, leak_target_colour=True, tensor="post_attention_norm", grid="2x2", trials=1)
    assert with_factors(spec, []) == spec


def test_other_names_of_fields_and_values_are_understood():
    changed = with_factors(CMASpec(), ["samples=1", "dtype=bf16", "logits=bf16", "only-correct=FALSE", "alpha=1e-2"])
    assert changed == CMASpec(pairs=1, dtype="bfloat16", logits="bfloat16", only_correct=False, alpha=0.01)


def test_lists_are_written_as_lists():
    assert with_factors(AccuracySpec(), ['placements=["user_turn"]']).placements == ("user_turn",)


@dataclass(frozen=True)
class Named:
    samples: int = 3
    colour: Literal["red", "blue"] = "red"
    where: str | None = None


def test_a_field_of_that_name_comes_before_another_name():
    assert with_factors(Named(), ["samples=5", "where=x"]) == Named(5, where="x")
    assert with_factors(Named(where="x"), ["where=null"]).where is None


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (["readuot=last"], "unknown factor 'readuot': .*readout=last|patched_tokens.*only_correct=true|false"),
        (["readout"], r"no value: expected readout=last\|patched_tokens"),
        (["readout="], "no value"),
        (["readout=first"], r"'first'.*expected readout=last\|patched_tokens"),
        (["pairs=many"], "expected int, not 'many'.*expected pairs=NUMBER"),
        (["pairs=true"], "expected int, not True"),
        (["only_correct=1"], r"not 1.*expected only_correct=true\|false"),
        (["pairs=3", "samples=3"], "set twice"),
    ],
)
def test_invalid_factors_are_refused_with_the_valid_ones(factors: list[str], message: str):
    with pytest.raises(FinstError, match=message):
        with_factors(CMASpec(), factors)


def test_every_factor_is_listed_with_its_values():
    assert valid_factors(Named) == ["samples=NUMBER", "colour=red|blue", "where=TEXT"]
