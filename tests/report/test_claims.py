"""The reports of all experiments keep the rules of claims: stored runs are read, and their findings looked through."""

# ruff: noqa: RUF001  (typeset text: minus signs as readers expect them)

from __future__ import annotations

import re
from pathlib import Path

import pytest

from finst.experiments.api import Run, load
from finst.experiments.registry import REGISTRY
from finst.report.figures import LEAST_TEXT_PX
from tests.runs.old_runs import unpacked

NOUNS = "heads|pairs|trials|layers|conditions|objects|pictures|cells|permutations|resamples|choices|components|places"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = Path(tmp_path_factory.mktemp("old"))
    return {name: load(unpacked(name, folder)) for name in REGISTRY}


@pytest.mark.parametrize("name", REGISTRY)
def test_every_p_says_what_it_is_against(name: str, runs: dict[str, Run]) -> None:
    findings = runs[name].findings
    for text in (findings.headline, *findings.sentences):
        assert not re.search(r"\b[pq] (=|<) [\d.]++(?! against )", text)
    for column in findings.columns:
        assert not re.search(r"\b[pq]$", column)


@pytest.mark.parametrize("name", REGISTRY)
def test_headlines_have_n_and_an_interval_or_say_that_nothing_was_tested(name: str, runs: dict[str, Run]) -> None:
    headline = runs[name].findings.headline
    assert re.search(r"\bn = [\d,]+ \w+", headline)
    shown = re.search(r"\[[−\d.%]+, [−\d.%]+\]", headline) or "not testable" in headline
    assert shown or "their intervals are in the table" in headline  # counts of cases have none


@pytest.mark.parametrize("name", REGISTRY)
def test_one_is_singular(name: str, runs: dict[str, Run]) -> None:
    findings = runs[name].findings
    for text in (findings.headline, *findings.sentences, *findings.method):
        assert not re.search(rf"(?<![\d.,])1 (\w+ )?({NOUNS})\b", text), text


@pytest.mark.parametrize("name", REGISTRY)
def test_figures_keep_their_texts_readable_on_a_phone(name: str, runs: dict[str, Run]) -> None:
    for figure in runs[name].figures.values():
        px_per_pt = figure.least_px / (72 * figure.figure.get_figwidth())
        sizes = [
            float(text.get_fontsize()) for axes in figure.figure.axes for text in axes.texts if text.get_text().strip()
        ]
        assert all(size * px_per_pt >= LEAST_TEXT_PX for size in sizes)
