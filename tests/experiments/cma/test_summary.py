"""Statistics of causal mediation on data with planted effects."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from finst.errors import FinstError
from finst.experiments.cma.experiment import CMA
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.summary import DOCUMENTATION, TOP_SETS
from tests.experiments import synthetic

SPEC = CMASpec(pairs=7, pairs_per_unit=3, permutations=200, bootstraps=50)


def test_planted_heads_are_found_and_nothing_else():
    found = synthetic.summary(pairs=40)
    for stage, effects in synthetic.STAGED.items():
        above = np.argwhere(found["above"].sel(condition=stage).values)
        assert {(int(layer), int(head)) for layer, head in above} == {
            at for at, effect in effects.items() if effect > 0
        }
    assert np.argwhere(found["below"].sel(condition="id_selection").values).tolist() == [[5, 6]]
    assert found["order_holds"].values.all()
    assert found["order_difference"].values.tolist() == pytest.approx([2.2, 1.9], abs=0.2)
    assert found["median_layer"].values.tolist() == [3, 5, 7]
    assert (found["centre_low"] <= found["centre_mean"]).all()
    assert (found["centre_mean"] <= found["centre_high"]).all()
    assert found["margin"].values.tolist() == pytest.approx([9.0, 9.0, 9.0], abs=1e-4)


def test_nothing_is_found_where_nothing_is():
    found = synthetic.summary({}, pairs=40)
    assert not found["above"].any()
    assert found["order_untestable"].values.tolist() == [
        "no head above the noise in id_retrieval and id_selection",
        "no head above the noise in id_selection and feature_retrieval",
    ]


def test_wrongly_answered_pairs_are_dropped_and_counted():
    wrong = [(0, "clean"), (1, "swapped"), (2, "changed"), (3, "changed")]
    found = synthetic.summary(wrong=wrong)
    assert found["n"].values.tolist() == [18, 18, 17]
    assert found["dropped_clean"].values.tolist() == [1, 1, 1]
    assert found["dropped_source"].values.tolist() == [1, 1, 2]
    used = found["score"].sel(condition="feature_retrieval").values[4:]
    expected = np.concatenate([found["score"].sel(condition="feature_retrieval", pair=[1]).values, used]).mean(0)
    np.testing.assert_allclose(found["mean"].sel(condition="feature_retrieval"), expected)


def test_a_condition_without_pairs_is_no_obstacle_to_the_others():
    found = synthetic.summary(wrong=[(pair, "changed") for pair in range(20)])
    assert found["n"].values.tolist() == [20, 20, 0]
    assert found["above"].sum(["layer", "head"]).values.tolist() == [3, 2, 0]
    assert np.isnan(found["mean"].sel(condition="feature_retrieval")).all()
    assert found["order_untestable"].values.tolist() == ["", "no head above the noise in feature_retrieval"]


def test_without_usable_pairs_the_error_states_what_the_model_predicted():
    wrong = [(pair, "clean") for pair in range(7)]
    data = synthetic.parts(SPEC, wrong=wrong)
    word = str(data[0]["predicted_word"].sel(pair=1, context="clean").item())
    with pytest.raises(FinstError, match="organism has no two usable pairs") as error:
        CMA().summarise(SPEC, data)
    assert repr(word) in str(error.value)


def test_the_noise_floor_is_the_largest_noise_seen_and_no_less_than_the_resolution():
    found = synthetic.summary()
    assert float(found["noise_floor"]) >= float(found["noise"].max()) > 0
    assert float(found["noise_floor"]) >= 4 * float(np.spacing(np.float32(9.0)))


def test_a_summary_is_the_same_in_any_order_of_units():
    data = synthetic.parts(SPEC)
    xr.testing.assert_identical(CMA().summarise(SPEC, data), CMA().summarise(SPEC, data[::-1]))


def test_every_statistic_has_units_and_a_long_name():
    found = synthetic.summary(pairs=4)
    for name, (units, long_name) in DOCUMENTATION.items():
        assert found[name].attrs == {"units": units, "long_name": long_name}
    assert found["cut"].values.tolist() == [size for size in TOP_SETS if size < synthetic.LAYERS * synthetic.HEADS]
    assert found["cut_tied"].dims == ("condition", "cut")
    assert found["centre"].dims == ("condition", "pair")
    assert found["layer_mean"].dims == ("condition", "layer")
    assert found["p_fwer"].dims == ("condition", "layer", "head")
    assert found["order_p"].dims == ("step",)
