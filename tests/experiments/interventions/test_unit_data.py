"""The data of one unit: indices of roles, rows over the coordinates of edits, names and units of variables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finst.experiments.interventions.heads import HeadSets
from finst.experiments.interventions.unit_data import (
    edited_rows,
    head_variables,
    role_indices,
    staged_head_variables,
    trial_dataset,
)
from finst.runs.experiment import Unit


@dataclass(frozen=True)
class Trial:
    roles: dict[str, str]


SETS = [HeadSets("top", (((0, 1),), ((0, 1), (2, 0)))), HeadSets("random 0", (((1, 1),), ((1, 1), (2, 1))))]


def test_texts_are_scored_by_the_roles_of_their_own_trial():
    trials = [Trial({"red": "answer", "blue": "other"}), Trial({"blue": "answer"})]
    found = role_indices(iter([["red", "Blue star"], ["red", "blue"]]), trials, ("answer", "other", "none"))
    assert found.dtype == np.int8
    assert found.tolist() == [[0, 1], [2, 0]]


def test_the_unedited_row_comes_first_and_the_last_coordinate_varies_fastest():
    edits = {"set": ["top", "random 0"], "k": (1, 2), "dose": [0.5]}
    values = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    found = edited_rows("hit", values, edits, "score")
    dims, hits = found["hit"]
    assert dims == ("trial", "set", "k", "dose", "score")
    assert (hits[1, 1, 0, 0] == values[1, 3]).all()
    assert found["hit_before"][0] == ("trial", "score")
    assert (found["hit_before"][1] == values[:, 0]).all()


def test_a_dataset_has_its_trials_its_edits_and_names_for_its_variables():
    edits = {"set": ["top", "random 0"], "k": (1, 2)}
    texts = {"said": ("1", "whose colour"), "heads": ("1", "which heads"), "warning": ("1", "ties")}
    data = trial_dataset(
        Unit("trials 4-5", (4, 5)),
        edits,
        {**edited_rows("said", np.zeros((2, 5), np.int8), edits), **head_variables(SETS, ["", "tie"])},
        {"side": ("trial", np.array(["left", "right"]))},
        attrs={"title": "a test"},
        documentation=texts,
    )
    assert data["trial"].values.tolist() == [4, 5]
    assert data["said"].sel(trial=5, set="random 0", k=2) == 0
    assert str(data["heads"].sel(set="top", k=2).item()) == "L0H1 L2H0"
    assert data["warning"].values.tolist() == ["", "tie"]
    assert data["side"].sel(trial=5) == "right"
    assert {name: (data[name].attrs["units"], data[name].attrs["long_name"]) for name in texts} == texts
    assert data.attrs == {"title": "a test"}


def test_heads_and_warnings_may_have_stages():
    found = staged_head_variables({"a": SETS, "b": SETS[::-1]}, {"a": ["", "x"], "b": ["y", ""]})
    assert found["heads"][0] == ("stage", "set", "k")
    assert found["heads"][1][1, 0].tolist() == ["L1H1", "L1H1 L2H1"]
    assert found["warning"][1].tolist() == [["", "x"], ["y", ""]]
