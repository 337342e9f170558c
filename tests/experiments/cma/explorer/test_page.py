"""The numbers on the page of all heads are those of the run, and the page stays small."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from finst.analysis.mediation import STAGES
from finst.errors import FinstError
from finst.experiments.cma.example import pair_example
from finst.experiments.cma.explorer.page import Edited, TopSet, facts, heads_page, pair_texts, ranks, stage_scores
from finst.experiments.cma.explorer.run import heads_page_of
from finst.experiments.cma.spec import CMASpec
from finst.experiments.cma.top_heads import top_heads
from finst.report.head_charts import STATISTICS
from finst.runs.finished import finished_run
from tests.experiments import synthetic
from tests.experiments.cma.test_page import MANIFEST, Reader
from tests.runs.old_runs import unpacked

PAIRS = 20

WRONG = [(3, "clean"), (5, "changed")]

SETS = (Edited("steer", "steer/report.html", (TopSet("ID selection", 2, ((5, 2), (4, 4)), reported=True),)),)


@cache
def summary() -> xr.Dataset:
    return synthetic.summary(pairs=PAIRS, wrong=WRONG)


@cache
def page() -> str:
    example = pair_example(CMASpec(pairs=PAIRS), synthetic.reader())
    return heads_page(summary(), MANIFEST, example, "cma/report.html", SETS)


def found(value: Any) -> Iterator[Mapping[str, Any]]:
    """All objects within a JSON value."""
    if isinstance(value, dict):
        yield value
        yield from (inner for each in value.values() for inner in found(each))
    elif isinstance(value, list):
        yield from (inner for each in value for inner in found(each))


def unzipped(data: bytes) -> bytes:
    """Newer versions of Bokeh compress columns, older ones do not."""
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def columns(html: str, source: str) -> dict[str, np.ndarray]:
    """The binary columns of one of the page's sources by name."""
    match = re.search(r"docs_json = '(.*?)';$", html, re.MULTILINE)
    assert match is not None
    document = json.loads(match[1].replace("\\\\", "\\"))
    (attributes,) = (
        each["attributes"]
        for each in found(document)
        if each.get("name") == "ColumnDataSource" and each["attributes"].get("name") == source
    )
    return {
        name: np.frombuffer(unzipped(base64.b64decode(column["array"]["data"])), column["dtype"])
        for name, column in attributes["data"]["entries"]
        if isinstance(column, dict)
    }


def test_statistics_on_the_page_are_those_of_the_run_in_float32() -> None:
    shown = columns(page(), "heads")
    shape = tuple(summary().sizes[dim] for dim in ("layer", "head"))
    for stage in STAGES:
        part = summary().sel(condition=stage)
        for name in set(STATISTICS) - {"rank", "above"}:
            values = shown[f"{name}_{stage}"]
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values.reshape(shape), part[name].values.astype(np.float32), err_msg=name)
        np.testing.assert_array_equal(shown[f"above_{stage}"].reshape(shape), part["above"].values)
        best = top_heads(summary(), stage, 80)
        assert [shown[f"rank_{stage}"].reshape(shape)[head.layer, head.head] for head in best] == [*range(1, 81)]
    assert [*zip(shown["layer"].tolist(), shown["head"].tolist(), strict=True)] == [*np.ndindex(*shape)]


def test_every_score_of_every_pair_is_on_the_page() -> None:
    shown = columns(page(), "scores")
    for stage in STAGES:
        scores = summary()["score"].sel(condition=stage).transpose("layer", "head", "pair").values
        assert shown[stage].dtype == np.float32
        np.testing.assert_array_equal(shown[stage].reshape(scores.shape), scores.astype(np.float32))


def test_pairs_that_are_left_out_are_hollow() -> None:
    for stage in STAGES:
        filled = columns(page(), f"samples-{stage}")["opacity"]
        np.testing.assert_array_equal(filled, summary()["usable"].sel(condition=stage).values)
    assert columns(page(), "samples-id_selection")["opacity"][[3, 5]].tolist() == [0, 1]
    assert columns(page(), "samples-feature_retrieval")["opacity"][[3, 5]].tolist() == [0, 0]


def test_ranks_count_larger_means_and_leave_out_what_has_none() -> None:
    assert ranks(np.array([[0.5, -1.0], [0.5, np.nan], [2.0, 0.0]])).tolist() == [[2, 5], [2, 0], [1, 4]]
    assert ranks(np.full((1, 2), np.nan)).tolist() == [[0, 0]]


def test_facts_hold_n_margins_and_the_sets_of_interventions() -> None:
    data = facts(summary(), SETS)
    assert (data["layers"], data["heads"], data["pairs"]) == (synthetic.LAYERS, synthetic.HEADS, PAIRS)
    for stage in data["stages"]:
        part = summary().sel(condition=stage["key"])
        assert (stage["n"], stage["margin"]) == (int(part["n"]), float(part["margin"]))
    ((chosen,),) = (each["sets"] for each in data["interventions"])
    assert chosen == {"stage": "ID selection", "k": 2, "reported": True, "heads": [5 * 8 + 2, 4 * 8 + 4]}
    assert facts(summary().drop_vars("margin"), ())["stages"][0]["margin"] is None


def test_pairs_are_described_by_their_clean_scene() -> None:
    first = summary().isel(pair=0)
    words = [str(first[f"{role}_{what}"].item()) for role in ("described", "target") for what in ("colour", "shape")]
    assert pair_texts(summary())[0] == "pair 0: {} {} described, {} {} to name".format(*words)


def test_the_page_is_whole_html_that_loads_nothing_and_marks_the_patched_tokens() -> None:
    head, _, scripts = page().partition('<script type="application/json"')
    reader = Reader()
    reader.feed(f"{head}</body></html>")
    assert not reader.open
    assert len(set(reader.ids)) == len(reader.ids)
    outside = [each for each in reader.addresses if not each.startswith(("data:", "#", "cma/", "steer/"))]
    assert {each.partition("/")[0] for each in outside} == {"https:"}  # links to the paper, which are not followed
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", scripts)
    assert page().count(" patched") >= 3
    assert "Pair 0 as an example" in page()


def large() -> xr.Dataset:
    """28 layers of 28 heads, as Qwen2-VL-7B has, and the paper's 50 pairs, with numbers that do not compress."""
    sizes = {"layer": 28, "head": 28, "pair": 50}
    repeated = summary().isel({dim: np.arange(size) % summary().sizes[dim] for dim, size in sizes.items()})
    rng = np.random.default_rng(0)
    noisy = {
        name: repeated[name] + rng.normal(size=repeated[name].shape)
        for name in ("score", "mean", "standard_error", "ci_low", "ci_high", "p_fwer")
    }
    return repeated.assign(noisy).assign_coords({dim: range(size) for dim, size in sizes.items()})


def test_a_run_of_a_large_model_fits_into_four_megabytes() -> None:
    sizes = (1, 5, 10, 20, 50, 100, 200, 390)
    sets = tuple(TopSet("ID selection", k, tuple(np.ndindex(28, 28))[:k], reported=k == 5) for k in sizes)
    many = tuple(Edited(f"step-{number}", "step/report.html", sets * 3) for number in range(9))
    example = pair_example(CMASpec(pairs=PAIRS), synthetic.reader())
    html = heads_page(large(), MANIFEST, example, "report.html", many)
    assert columns(html, "scores")["id_retrieval"].size == 784 * 50
    assert len(html.encode()) < 4_000_000


def test_an_old_run_has_a_page_and_other_runs_have_none(tmp_path: Path) -> None:
    run = finished_run(unpacked("cma", tmp_path))
    shown = columns(heads_page_of(run, "report.html"), "heads")
    np.testing.assert_array_equal(
        shown["mean_id_selection"], run.summary["mean"].sel(condition="id_selection").values.ravel().astype(np.float32)
    )
    with pytest.raises(FinstError, match="holds a run of 'accuracy': expected one of causal mediation"):
        heads_page_of(finished_run(unpacked("accuracy", tmp_path)), "report.html")


def test_a_model_that_is_gone_costs_the_example_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FinstError("the folder is gone")

    monkeypatch.setattr("finst.experiments.cma.explorer.run.open_reader", gone)
    html = heads_page_of(finished_run(unpacked("cma", tmp_path)), "report.html")
    assert "The example pair cannot be drawn here: the folder is gone." in html
    assert columns(html, "scores")["id_retrieval"].size == 6 * 8 * 4


def test_scores_keep_their_places() -> None:
    stage = stage_scores(summary(), "id_selection")
    assert stage.rank[5, 2] == 1
    assert stage.scores[:, 5, 2][stage.used].mean() == pytest.approx(stage.mean[5, 2])
