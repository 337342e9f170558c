"""PCA, RSA and accuracy as experiments: what is planned, refused, measured, summarised and written."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from finst.cli.commands import told_page
from finst.engine.edits import unedited
from finst.engine.generate import generate
from finst.engine.record import record
from finst.errors import FinstError
from finst.experiments.representations import entropy as rsa_entropy
from finst.experiments.representations import frame as rsa_frame
from finst.experiments.representations import pca as pca_experiment
from finst.experiments.representations import stages as rsa_stages
from finst.experiments.representations.accuracy import Accuracy, conditions_of, question
from finst.experiments.representations.answers import MAX_NEW_TOKENS
from finst.experiments.representations.entropy import RSAEntropy
from finst.experiments.representations.frame import RSAFrame
from finst.experiments.representations.pca import PCA
from finst.experiments.representations.spec import (
    AccuracySpec,
    PCASpec,
    RSAEntropySpec,
    RSAFrameSpec,
    RSAStagesSpec,
    TrialSpec,
)
from finst.experiments.representations.stages import RSAStages
from finst.experiments.representations.trials import Trial, context_of, labelled, positions_of, roles_of, trial_of
from finst.prompts import correct, scene_description
from finst.runs.archive import pack, unpack
from finst.runs.executor import run
from finst.scenes.draw import draw
from finst.scenes.object import Grid
from finst.scenes.sets import unique_objects
from finst.vlm.encode import encode
from finst.vlm.open import VLM, open_vlm
from tests import tiny
from tests.experiments import synthetic
from tests.experiments.representations import designs

FEW: dict[str, Any] = {"permutations": 19, "bootstraps": 10, "trials_per_unit": 12}
STAGES = RSAStagesSpec(trials=2, grid="2x2", **FEW)
HEADS = replace(STAGES, trials=1, tensor="z")
ENTROPY = RSAEntropySpec(trials=1, grid="2x2", **FEW)
FRAME = RSAFrameSpec(trials=1, **{**FEW, "trials_per_unit": 40})
PLANES = PCASpec(trials=2, components=5, trials_per_unit=20)
FRAMES = PCASpec(trials=2, set="frame", components=5, trials_per_unit=64)
SHARES = AccuracySpec(trials=2, objects=(2, 3), entropies=("low",))

EVERY: Mapping[str, tuple[Any, Any]] = {
    "rsa-stages": (RSAStages(), STAGES),
    "rsa-stages heads": (RSAStages(), HEADS),
    "rsa-entropy": (RSAEntropy(), ENTROPY),
    "rsa-frame": (RSAFrame(), FRAME),
    "pca": (PCA(), PLANES),
    "pca frame": (PCA(), FRAMES),
    "accuracy": (Accuracy(), SHARES),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("representations") / "tiny")


@pytest.fixture(scope="module")
def vlm(folder: Path) -> VLM:
    return open_vlm(str(folder), dtype="float64", device="cpu")


@pytest.mark.parametrize("name", EVERY)
def test_the_plan_covers_every_trial_once(name: str):
    experiment, spec = EVERY[name]
    trials = [trial for unit in experiment.plan(spec) for trial in unit.trials]
    counts = {"rsa-stages": 32, "rsa-stages heads": 16, "rsa-entropy": 32, "rsa-frame": 64, "pca": 72, "pca frame": 128}
    assert trials == list(range({**counts, "accuracy": 8}[name]))
    assert len({unit.name for unit in experiment.plan(spec)}) == len(experiment.plan(spec))


def test_full_designs_have_the_papers_numbers():
    assert RSAStages().plan(RSAStagesSpec(trials=50))[-1].trials[-1] == 4049
    assert RSAEntropy().plan(RSAEntropySpec(trials=100, grid="2x2"))[-1].trials[-1] == 3199
    assert PCA().plan(PCASpec(trials=200))[-1].trials[-1] == 7199


@pytest.mark.parametrize("name", [name for name in EVERY if name != "pca"])  # tests/cli runs that one
def test_a_run_ends_with_a_report_and_would_go_on_with_equal_bytes(name: str, folder: Path, tmp_path: Path):
    """A unit measured again, and the summary made again of the units' files, are the bytes that are there."""
    experiment, spec = EVERY[name]
    asked = replace(spec, model=str(folder), device="cpu")
    quiet = Console(file=io.StringIO())
    first = run(experiment, asked, tmp_path / "run", told_page(experiment), console=quiet)
    html = first.report.read_text()
    assert experiment.account(first.summary).headline[:30] in html
    assert {path.suffix for path in first.folder.glob("figures/*")} == {".png", ".pdf", ".csv"}
    assert all(f'id="figure-{path.stem}"' in html for path in first.folder.glob("figures/*.csv"))
    assert len(experiment.account(first.summary).rows) > 1
    units = sorted(first.folder.glob("units/*"))
    again = experiment.measure(open_vlm(str(folder), device="cpu"), asked, experiment.plan(asked)[-1])
    assert pack(again) == units[-1].read_bytes()
    summary = experiment.summarise(asked, [unpack(unit) for unit in units])
    assert pack(summary) == (first.folder / "summary.zarr.zip").read_bytes()


def test_measured_activations_are_those_of_a_whole_recording(vlm: VLM):
    unit = RSAStages().plan(STAGES)[1]
    measured = RSAStages().measure(vlm, STAGES, unit)
    assert measured["activations"].dims == ("trial", "layer", "role", "d_model")
    assert measured["activations"].dtype == np.float64
    assert measured["trial"].values.tolist() == list(unit.trials)
    trials = rsa_stages.trials_of(STAGES, STAGES.trials)
    for index in (unit.trials[0], unit.trials[-1]):
        context = context_of(vlm.reader, trials[index])
        resid = record(vlm, [context.prompt], sites=["resid"]).sites["resid"][0]
        expected = resid[:, positions_of(context, trials[index])].numpy()
        np.testing.assert_allclose(measured["activations"].sel(trial=index).values, expected, atol=1e-9)


def test_a_unit_does_not_depend_on_how_the_run_is_cut(vlm: VLM):
    whole = RSAStages().measure(vlm, STAGES, RSAStages().plan(replace(STAGES, trials_per_unit=32))[0])
    part = RSAStages().measure(vlm, STAGES, RSAStages().plan(STAGES)[2])
    xr.testing.assert_allclose(whole.sel(trial=part["trial"]), part, rtol=0, atol=1e-9)


def test_sixteen_bit_activations_are_kept_without_loss(folder: Path):
    small = open_vlm(str(folder), dtype="bfloat16", device="cpu")
    (unit, *_) = RSAFrame().plan(replace(FRAME, trials_per_unit=2))
    kept = RSAFrame().measure(small, replace(FRAME, dtype="bfloat16"), unit)["activations"].values
    assert kept.dtype == np.float32
    assert (kept.view(np.uint32) & 0xFFFF == 0).all()


@pytest.mark.parametrize("leak", [False, True])
def test_the_prompt_names_the_target_only_when_told_to(leak: bool):
    for staged in unique_objects(Grid(2, 2), "high", 1, 0):
        trial = trial_of(TrialSpec(leak_target_colour=leak), staged)
        said = trial.prompt.sentence.split()
        assert (staged.target.colour in said) == leak
        assert staged.target.shape not in said
        assert trial.prompt.answer == (staged.target.shape if leak else staged.target.name)
        assert said[-1] == (staged.target.colour if leak else "a")
        assert [label.colour for label in trial.labels] == [obj.colour for obj in staged.stages]
        spans = [span.object for span in trial.prompt.spans if span.role == "comma"]
        assert spans == list(staged.order[:-1])


def test_a_leaked_colour_leaves_the_described_objects_as_they_were():
    scene = unique_objects(Grid(2, 2), "high", 1, 0)[0].scene
    plain, leaked = (scene_description(scene, [0, 1], 2, leak_target_colour=leak) for leak in (False, True))
    assert leaked.sentence == f"{plain.sentence} {scene.objects[2].colour}"
    assert leaked.spans == plain.spans


def test_roles_are_commas_and_the_last_token(vlm: VLM):
    trial = rsa_stages.trials_of(STAGES, 1)[3]
    context = context_of(vlm.reader, trial)
    assert roles_of(4) == ("comma 0", "comma 1", "comma 2", "last")
    words = [vlm.reader.tokenizer.decode([int(context.input_ids[pos])]) for pos in positions_of(context, trial)]
    assert words == [",", ",", " and", " a"]


def test_planted_stages_are_found_where_they_are():
    spec = replace(STAGES, trials=6, permutations=99, bootstraps=200)
    trials = rsa_stages.trials_of(spec, spec.trials)
    planted = {("comma 0", "absolute"): 0, ("comma 1", "absolute"): 0, ("comma 2", "absolute"): 0}
    planted |= {("last", "absolute"): 2, ("last", "colour"): 3}
    found = RSAStages().summarise(spec, [designs.unit(trials, planted)])
    for role, comparison, layer in (
        ("comma 1", "position", 0),
        ("commas", "position", 0),
        ("last", "position", 2),
        ("last", "features", 3),
        ("last", "position | features", 2),
    ):
        part = found.sel(role=role, comparison=comparison)
        assert int(part["r"].argmax("layer")) == layer
        assert np.flatnonzero(part["p_fwer"].values < 0.05).tolist() == [layer]
        at = part.isel(layer=layer)
        assert float(at["ci_low"]) < float(at["r"]) < float(at["ci_high"]) < float(at["ci_low"]) + 0.3
        assert float(at["r"]) <= float(at["ceiling_high"]) + 1e-9
    said = RSAStages().account(found)
    assert said.headline.startswith(
        "Position peaks in layer 0 at the commas and in layer 2 at the last token; features peak in layer 3"
    )
    assert any("75.0% of 96 trials" in finding for finding in said.findings)


def test_correlations_are_those_of_matrices_written_out():
    spec = replace(STAGES, trials=1)
    trials = rsa_stages.trials_of(spec, 1)
    part = designs.unit(trials, {("last", "absolute"): 1})
    found = RSAStages().summarise(spec, [part])
    x = part["activations"].sel(role="last", layer=1).values.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    targets = [trial.staged.target for trial in trials]
    cells = np.array([obj.cell for obj in targets], dtype=float)
    apart = np.linalg.norm(cells[:, None] - cells[None], axis=-1)
    colour, shape = (np.array([getattr(obj, name) for obj in targets]) for name in ("colour", "shape"))
    features = ((colour[:, None] == colour) + 1.0 * (shape[:, None] == shape)) / 2
    pairs = np.triu_indices(len(trials), 1)
    for name, target in (("position", 1 - apart / np.sqrt(2)), ("features", features)):
        expected = np.corrcoef((x @ x.T)[pairs], target[pairs])[0, 1]
        assert float(found["r"].sel(role="last", layer=1, comparison=name)) == pytest.approx(expected, abs=1e-6)


def test_the_mean_over_commas_is_that_of_every_comma():
    spec = replace(STAGES, permutations=99)
    trials = rsa_stages.trials_of(spec, spec.trials)
    found = RSAStages().summarise(spec, [designs.unit(trials, {("comma 1", "absolute"): 2})])
    assert found["role"].values.tolist() == ["comma 0", "comma 1", "comma 2", "commas", "last"]
    every, mean = found.sel(role=["comma 0", "comma 1", "comma 2"]), found.sel(role="commas")
    for name in ("r", "ceiling_high", "spearman"):
        np.testing.assert_allclose(mean[name], every[name].mean("role", skipna=False), atol=1e-12)
    at = found.sel(layer=2, comparison="position")
    narrow = (at["ci_high"] - at["ci_low"]).values
    assert narrow[3] < narrow[:3].mean()
    assert float(at["p_fwer"].sel(role="commas")) == 0.01


def heads_unit(trials: Sequence[Trial], planted: Mapping[str, tuple[int, int]], silent: tuple[int, int]) -> xr.Dataset:
    """Noise of three layers with four heads; position at each role's planted head, and one head that is rounding."""
    roles = roles_of(len(trials[0].labels))
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(trials), 3, len(roles), 4, 6)).astype(np.float32)
    cells = labelled(trials, roles)["absolute"].transpose("role", "trial", "cell").values
    for place, role in enumerate(roles):
        layer, head = planted[role if role == "last" else "commas"]
        values[:, layer, place, head] += (cells[place] - cells[place].mean(axis=0)) @ rng.normal(size=(2, 6)) * 4
    values[:, silent[0], :, silent[1]] *= 1e-7
    return xr.Dataset(
        {
            "activations": (("trial", "layer", "role", "head", "d_head"), values),
            "exact": ("trial", np.ones(len(trials), dtype=bool)),
        },
        coords={"trial": np.arange(len(trials)), "layer": np.arange(3), "role": list(roles)},
    )


def test_heads_that_hold_position_are_found_in_the_whole_map():
    spec = replace(HEADS, trials=3, permutations=199, bootstraps=50)
    trials = rsa_stages.trials_of(spec, spec.trials)
    part = heads_unit(trials, {"commas": (0, 3), "last": (2, 1)}, silent=(1, 2))
    found = RSAStages().summarise(spec, [part])
    assert found["r"].dims == ("role", "layer", "head", "comparison")
    for role, place in (("commas", (0, 3)), ("last", (2, 1))):
        at = found.sel(role=role, comparison="position")
        assert np.argwhere(at["p_fwer"].values < 0.05).tolist() == [list(place)]
        assert np.argwhere(np.isnan(at["r"].values)).tolist() == [[1, 2]]
    x = part["activations"].sel(role="last").values[:, 2, 3].astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cells = np.array([trial.staged.target.cell for trial in trials], dtype=float)
    apart = np.linalg.norm(cells[:, None] - cells[None], axis=-1)
    pairs = np.triu_indices(len(trials), 1)
    expected = np.corrcoef((x @ x.T)[pairs], apart[pairs])[0, 1]
    assert float(found["r"].sel(role="last", layer=2, head=3, comparison="position")) == pytest.approx(
        -expected, abs=1e-6
    )
    account = RSAStages().account(found)
    assert account.headline.startswith("Position is held most plainly by L0H3 at the commas and by L2H1 at the last")
    assert "silent at the last token: 1 heads" in account.findings
    figure = RSAStages().draw(found)[0]
    rows = list(csv.DictReader(io.StringIO(figure.csv)))
    assert len(rows) == 5 * 3 * 4 * 2
    strong = [row for row in rows if row["role"] == "last" and row["comparison"] == "position" and row["r"]]
    assert max(strong, key=lambda row: float(row["r"]))["layer"] == "2"


def test_relative_and_absolute_position_are_told_apart():
    spec = replace(FRAME, trials=3, permutations=99)
    trials = rsa_frame.trials_of(spec, spec.trials)
    planted = {("last", "relative"): 1, ("last", "absolute"): 3}
    found = RSAFrame().summarise(spec, [designs.unit(trials, planted, ["last"])]).sel(role="last")
    for layer, holds, other in ((1, "relative", "absolute"), (3, "absolute", "relative")):
        r = found["r"].sel(layer=layer)
        assert float(r.sel(comparison=holds)) > float(r.sel(comparison=other)) > 0
        assert float(r.sel(comparison=f"{holds} | {other}")) > 0.5
        assert float(r.sel(comparison=f"{other} | {holds}")) < 0.5 * float(r.sel(comparison=f"{holds} | {other}"))
    assert "with relative and" in RSAFrame().account(found.expand_dims(role=["last"])).headline


def test_entropies_are_summarised_apart():
    spec = replace(ENTROPY, trials=4)
    parts = []
    for place, condition in enumerate(rsa_entropy.CONDITIONS):
        trials = rsa_entropy.trials_of(spec, condition, spec.trials)
        planted = {("last", "absolute"): 2} if condition == "high" else {}
        part = designs.unit(trials, planted, seed=place)
        right = np.arange(len(trials)) % (2 if condition == "low" else 8) > 0
        part = part.assign(correct=("trial", right), colour_correct=("trial", right | True))
        parts.append(part.assign_coords(trial=part["trial"] + place * len(trials)))
    found = RSAEntropy().summarise(spec, parts[::-1])
    r = found["r"].sel(role="last", comparison="position", layer=2)
    assert float(r.sel(condition="high")) > 0.5 > 0.1 > abs(float(r.sel(condition="low")))
    assert found["accuracy"].values.tolist() == [0.5, 0.875]
    assert found["colour_accuracy"].values.tolist() == [1.0, 1.0]
    assert "50.0% rightly at low and 87.5% at high entropy" in RSAEntropy().account(found).headline
    low = rsa_entropy.trials_of(spec, "low", 1)[0].staged.scene.objects
    assert len({obj.colour for obj in low}) == len({obj.shape for obj in low}) == 2


def test_planes_separate_what_is_planted():
    spec = replace(FRAMES, trials=3, components=10)
    trials = pca_experiment.trials_of(spec, spec.trials)
    planted = {("last", "relative"): 1, ("last", "colour"): 3}
    found = PCA().summarise(spec, [designs.unit(trials, planted, ["last"])])
    assert found["label"].values.tolist() == ["relative position", "absolute position", "colour and shape"]
    for view in ("all objects", "centre object"):
        part = found.sel(view=view)
        for label, layer in (("relative position", 1), ("colour and shape", 3)):
            at = part.sel(label=label)
            assert int(at["silhouette"].argmax("layer")) == layer
            assert float(at["probe"].sel(layer=layer)) > 0.9
            assert float(at["probe"].sel(layer=0)) < 0.6
    centre = found.sel(view="centre object")
    assert centre["probe"].sel(label="absolute position").isnull().all()
    inside = centre["score"].sel(layer=0, component=1).notnull().values
    assert inside.sum() == 3 * 16
    assert (found["absolute"].values[inside] == 1).all()


def test_labels_that_divide_alike_are_one():
    trials = pca_experiment.trials_of(PLANES, PLANES.trials)
    found = PCA().summarise(PLANES, [designs.unit(trials, {}, ["last"])])
    assert found["label"].values.tolist() == ["position", "colour and shape"]
    assert set(found["value"].sel(label="position").values) == {"0", "1", "3", "4", "6", "7"}


def test_what_the_model_says_is_what_it_generates(vlm: VLM):
    """One pass for answers that are exact, a generation for others: the same as a generation for all."""
    spec = replace(SHARES, dtype="float64", device="cpu")
    unit = Accuracy().plan(spec)[1]
    measured = Accuracy().measure(vlm, spec, unit)
    condition = conditions_of(spec)[1]
    for index, said in zip(unit.trials, measured["said"].values.tolist(), strict=True):
        scene, prompt = question(spec, condition, index % spec.trials)
        recording = record(vlm, [encode(vlm.reader, draw(scene), prompt)])
        text = generate(vlm, recording, unedited(), MAX_NEW_TOKENS).texts(vlm.reader)[0]
        assert said == text
        assert bool(measured["correct"].sel(trial=index)) == correct(text, prompt.answer)


def test_both_placements_are_asked_about_the_same_scenes():
    spec = AccuracySpec(trials=1, objects=(4,), entropies=("high",))
    (first, second) = (question(spec, condition, 0) for condition in conditions_of(spec))
    assert first[0] == second[0]
    assert (first[1].placement, second[1].placement) == ("prefill", "user_turn")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("rsa-stages", {"trials": 0}, "trials is 0"),
        ("rsa-stages", {"grid": "2x3"}, "grid is 2x3: expected 2x2 or 3x3"),
        ("rsa-stages", {"alpha": 0.0}, "between 0 and 1"),
        ("rsa-stages", {"batch": 0}, "batch is 0"),
        ("rsa-entropy", {"permutations": 0}, "permutations is 0"),
        ("rsa-entropy", {"grid": "no"}, "unknown grid"),
        ("rsa-frame", {"bootstraps": 0}, "bootstraps is 0"),
        ("rsa-frame", {"trials_per_unit": 0}, "trials_per_unit is 0"),
        ("rsa-frame", {"tensor": "z"}, "only rsa-stages takes heads one by one; expected resid, post_attention_norm"),
        ("pca", {"role": "comma 9"}, "unknown role 'comma 9'"),
        ("pca", {"tensor": "z"}, "tensor is z"),
        ("pca", {"components": 1}, "components is 1"),
        ("pca frame", {"trials": 1}, "trials is 1: expected at least 2"),
        ("accuracy", {"objects": (2, 10)}, "objects holds 10"),
        ("accuracy", {"entropies": ()}, "entropies is"),
        ("accuracy", {"seed": -1}, "seed is -1"),
    ],
)
def test_bad_specs_are_refused_before_weights_load(name: str, changes: dict[str, Any], message: str):
    experiment, spec = EVERY[name]
    with pytest.raises(FinstError, match=message):
        experiment.check(replace(spec, **changes), synthetic.reader())


@pytest.mark.parametrize("name", EVERY)
def test_good_specs_pass(name: str):
    experiment, spec = EVERY[name]
    experiment.check(spec, synthetic.reader())


def test_fresh_objects_go_through_to_the_labels():
    spec = replace(STAGES, objects="fresh", entropy="any")
    trials = rsa_stages.trials_of(spec, spec.trials)
    assert len({label.colour for trial in trials for label in trial.labels}) == 10
    found = RSAStages().summarise(spec, [designs.unit(trials, {("last", "colour"): 1})])
    assert int(found["r"].sel(role="last", comparison="colour").argmax("layer")) == 1
    assert RSAStages().account(found).method[0].startswith("Every trial shows objects of its own")


def test_units_of_equal_data_have_equal_bytes():
    trials = rsa_stages.trials_of(STAGES, 1)
    assert pack(designs.unit(trials, {})) == pack(designs.unit(trials, {}))
