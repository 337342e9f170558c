"""On models that know nothing, causal mediation finds nothing: uniform p values over models with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.vlm.open import open_vlm
from tests.tiny import Body, checkpoint

SEEDS = 24


@pytest.fixture(scope="module")
def p_values(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """[model, condition]: that of one head each, drawn from all layers but the last.

    At the described object's tokens heads of the last layer have no way to the answer: their score is 0 and p is 1.
    """
    found = []
    for seed in range(SEEDS):
        folder = str(checkpoint(tmp_path_factory.mktemp("random") / "tiny", Body(seed=seed)))
        few: dict[str, Any] = {"pairs": 12, "pairs_per_unit": 12, "permutations": 200, "bootstraps": 2}
        spec = CMASpec(folder, seed=seed, only_correct=False, device="cpu", **few)
        vlm = open_vlm(folder, device="cpu")
        summary = CMA().summarise(spec, [CMA().measure(vlm, spec, unit) for unit in CMA().plan(spec)])
        p = summary["p"].values[:, :-1].reshape(3, -1)
        found.append(p[:, np.random.default_rng(seed).integers(p.shape[1])])
    return np.array(found)


@pytest.mark.parametrize("condition", [0, 1], ids=["id_retrieval", "id_selection"])
def test_heads_of_random_weights_have_uniform_p(p_values: np.ndarray, condition: int) -> None:
    """Swapped places push one colour's logit up as often as down.

    Not so where the target's features change: what a random head makes of ten colours leans, by chance and truly,
    towards or away from their words.
    """
    assert len(np.unique(p_values[:, condition])) > SEEDS // 2
    assert stats.kstest(p_values[:, condition], "uniform").pvalue > 0.01
