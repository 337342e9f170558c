"""Ablated heads while a model lists and counts: pictures, rows on every step, scores, and their statistics."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from finst.analysis.headsets import Head
from finst.engine import hooks
from finst.engine.generate import generate
from finst.engine.greedy import PADDING, cut_short
from finst.engine.record import record
from finst.errors import FinstError
from finst.experiments.interventions.counting.experiment import Counting, ablation_rows, scores_of, sizes
from finst.experiments.interventions.counting.report import RIVALS, SCORES
from finst.experiments.interventions.counting.spec import CountingSpec
from finst.experiments.interventions.heads import HeadSets
from finst.prompts import enumeration, listed, total_of
from finst.scenes.draw import draw
from finst.scenes.object import Scene
from finst.scenes.sets import COUNTED, counting_set
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, open_vlm
from tests import tiny

SPEC = CountingSpec(new_tokens=6, device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    folder: Path = tiny.checkpoint(tmp_path_factory.mktemp("counting") / "tiny")
    return open_vlm(str(folder), dtype="float64", device="cpu")


def listing(vlm: VLM, scene: Scene) -> Encoded:
    return encode(vlm.reader, draw(scene), enumeration(scene, range(len(scene.objects))))


def sets_of(*sets: tuple[Head, ...]) -> list[HeadSets]:
    return [HeadSets("top", sets)]


def every_head(vlm: VLM) -> tuple[Head, ...]:
    return tuple((layer, head) for layer in range(vlm.n_layers) for head in range(vlm.n_heads))


def tokens_of(vlm: VLM, spec: CountingSpec, sets: list[HeadSets], context: Encoded) -> torch.Tensor:
    rows = ablation_rows(spec, sets, context)
    return generate(vlm, record(vlm, [context]), rows, spec.new_tokens, stop=()).tokens


def test_pictures_have_three_to_eight_different_objects_equally_often():
    scenes = counting_set(24, seed=1)
    assert Counter(len(scene.objects) for scene in scenes) == dict.fromkeys(range(3, 9), 4)
    for scene in scenes:
        assert (
            len({obj.name for obj in scene.objects}) == len({obj.cell for obj in scene.objects}) == len(scene.objects)
        )
        assert {(obj.colour, obj.shape) for obj in scene.objects} <= set(COUNTED)
    assert scenes == counting_set(24, seed=1)
    assert len({frozenset(scene.objects) for scene in scenes}) == 24


def test_texts_are_scored_by_their_last_answer_and_what_comes_before():
    scene = counting_set(6, seed=0)[0]
    names = [obj.name for obj in scene.objects]
    count = len(names)
    lines = " ".join(f"{place}. **A {name}**\n" for place, name in enumerate(reversed(names), 1))
    right = f"Answer: first I list.\n{lines}\nanswer: **{count}**."
    assert scores_of(right, False, scene) == (True, True, False, False)
    assert scores_of(f"{lines} Answer: {count + 1}", False, scene) == (False, True, False, False)
    assert scores_of(f"{lines} 1. a {names[0]} Answer: {count}", False, scene) == (True, False, False, False)
    assert scores_of(f"{lines} 9. a pink heart Answer: {count}", False, scene) == (True, False, False, False)
    assert scores_of(lines, True, scene) == (False, True, True, True)
    assert [total_of(text) for text in ("Answer: none", "", "7", "Answer: 3 Answer: 12 of 40")] == [
        None,
        None,
        None,
        12,
    ]
    assert listed("a red circle, the Blue\n cross") == ["red circle", "blue cross"]


def test_no_heads_are_no_edit_and_rows_are_those_of_slow_hooks(vlm: VLM):
    """Against whole passes without a cache; K = 0 gives exactly the unedited row."""
    context = listing(vlm, counting_set(1, 0)[0])
    some = every_head(vlm)[1::2]
    for changes in ({}, {"steps": "prompt"}, {"positions": "text"}):
        spec = replace(SPEC, **changes, new_tokens=2)  # pyright: ignore[reportArgumentType]
        rows = ablation_rows(spec, sets_of((), some), context)
        generated = generate(vlm, record(vlm, [context]), rows, spec.new_tokens)
        slow = hooks.generate(vlm, context, rows.take(np.array([2])), spec.new_tokens)
        assert torch.equal(generated.tokens[2:], slow.tokens)
        torch.testing.assert_close(generated.logits[2:], slow.logits, rtol=0, atol=1e-9, equal_nan=True)
        assert torch.equal(generated.tokens[0], generated.tokens[1])
        assert torch.equal(generated.logits[0].nan_to_num(), generated.logits[1].nan_to_num())
        assert set(rows.blocks["z"].row.tolist()) == {2}


def test_where_heads_are_ablated(vlm: VLM):
    context = listing(vlm, counting_set(1, 0)[0])
    length, last = len(context.tokens), context.tokens.last
    picture = {pos for pos, role in enumerate(context.tokens.roles) if role.kind == "image"}
    generated = set(range(length, length + SPEC.new_tokens - 1))
    wanted = {"all": set(range(length)), "text": set(range(length)) - picture, "last": {last}}
    for positions, where in wanted.items():
        for steps, more in (("every", generated), ("prompt", set())):
            spec = replace(SPEC, positions=positions, steps=steps)  # pyright: ignore[reportArgumentType]
            block = ablation_rows(spec, sets_of(((0, 1), (1, 0))), context).blocks["z"]
            assert set(block.pos.tolist()) == where | more
            assert set(zip(block.layer.tolist(), block.head.tolist(), strict=True)) == {(0, 1), (1, 0)}
            assert not block.value.any()


def test_without_any_head_on_any_step_the_picture_has_no_influence(vlm: VLM):
    """Then every token follows from the one before it alone. An ablation of the prompt alone gives another text."""
    first, second = (listing(vlm, scene) for scene in counting_set(2, 0))
    spec = replace(SPEC, new_tokens=8)
    blind = [tokens_of(vlm, spec, sets_of(every_head(vlm)), context)[1].tolist() for context in (first, second)]
    assert blind[0] == blind[1]
    followers: dict[int, set[int]] = {}
    for token, following in zip(blind[0], blind[0][1:], strict=False):
        followers.setdefault(token, set()).add(following)
    assert all(len(tokens) == 1 for tokens in followers.values())
    prompted = tokens_of(vlm, replace(spec, steps="prompt"), sets_of(every_head(vlm)), first)[1].tolist()
    assert prompted[0] == blind[0][0]
    assert prompted != blind[0]


def test_texts_that_fill_their_budget_are_cut(vlm: VLM):
    context = listing(vlm, counting_set(1, 0)[0])
    generated = generate(vlm, record(vlm, [context]), ablation_rows(SPEC, sets_of(()), context), 2)
    assert cut_short(vlm, generated).tolist() == [True, True]
    (stop,) = [vlm.model.generation_config.eos_token_id]
    ended = stop[0] if isinstance(stop, list) else stop
    short = replace(generated, tokens=torch.tensor([[5, ended], [ended, PADDING]]))
    assert cut_short(vlm, short).tolist() == [False, False]


def answered(top: float, randoms: tuple[float, float]) -> xr.Dataset:
    """Of 20 pictures the first shares are counted correctly with one head ablated, and none with two."""
    sets = {"top": top, "bottom": 1.0, "random 0": randoms[0], "random 1": randoms[1]}
    hit = xr.DataArray(
        np.zeros((20, len(sets), 2, len(SCORES)), dtype=bool),
        dims=("trial", "set", "k", "score"),
        coords={"set": list(sets), "k": [1, 2], "score": list(SCORES)},
    )
    for name, share in sets.items():
        hit.loc[{"set": name, "k": 1}] = (np.arange(20) < share * 20)[:, None]
    rest: dict[str, Any] = {
        "hit_before": (("trial", "score"), np.ones((20, len(SCORES)), dtype=bool)),
        "heads": (("set", "k"), np.full((4, 2), "L0H0")),
        "warning": (("end", "k"), [["", ""], ["", "a tie"]]),
    }
    coords = {"trial": np.arange(20), "objects": ("trial", ["3", "4"] * 10), "end": ["top", "bottom"]}
    return xr.Dataset({"hit": hit, **rest}, coords=coords)


def test_the_strongest_heads_must_differ_from_all_random_sets_in_one_direction():
    found = Counting().summarise(SPEC, [answered(0.2, (0.6, 0.9))])
    p = found["rival_p"].sel(score="count")
    assert p.sel(k=1).values.tolist() == pytest.approx([2 / 2**16, 2 / 2**8])
    assert p.sel(k=2).values.tolist() == [1, 1]
    assert found["rival_q"].sel(score="count", k=1).values.tolist() == pytest.approx([4 / 2**16, 4 / 2**8])
    between = Counting().summarise(SPEC, [answered(0.5, (0.0, 1.0))])
    assert between["rival_p"].sel(score="count", rival="random").values.tolist() == [1, 1]
    assert between["n"].sel(group="3").values.max() == 10
    one, two = Counting.report.effects(found)
    assert (one.before.value, one.after.value, one.control.share.value, one.control.name) == (1, 0.2, 0.6, "random 0")
    assert (two.setting, two.after.value) == ("K = 2", 0)
    findings = Counting.report.findings(found)
    for part in ("(n = 20 trials)", "heads 20.0% [", "100.0%, 0.0%", "75.0%, 0.0%"):
        assert part in findings.headline
    assert any("bottom 2: a tie" in sentence for sentence in findings.sentences)
    against = RIVALS["random"]
    assert any(f"K 1: p = 0.008 against {against}, q = 0.016 against" in sentence for sentence in findings.sentences)
    assert len(findings.rows) == 2 * 4 * 2


def test_numbers_of_heads_are_shares_unless_given():
    assert sizes(SPEC, 80) == (1, 2, 4, 8, 16, 32)
    assert sizes(SPEC, 2560) == (32, 64, 128, 256, 512, 1024)
    assert sizes(SPEC, 8) == (1, 2, 3)
    assert sizes(replace(SPEC, ks=(10, 250)), 80) == (10, 250)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 5}, "trials is 5: expected at least 6"),
        ({"new_tokens": 1}, "new_tokens is 1"),
        ({"shares": (0.1, 0.0)}, "shares holds 0.0: expected shares of all heads"),
        ({"shares": ()}, "expected one or more different numbers of heads"),
        ({"ks": (0,)}, "ks holds 0"),
        ({"ks": (10_000,)}, "ks holds 10000: .* has .* heads"),
    ],
)
def test_bad_input_is_refused_before_weights_load(vlm: VLM, changes: dict[str, Any], message: str):
    with pytest.raises(FinstError, match=message):
        Counting().check(replace(SPEC, **changes), vlm.reader)
