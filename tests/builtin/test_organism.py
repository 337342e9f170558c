"""The organism's fast training path against the model's own, and the shipped weights."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer

from finst.builtin.organism import card
from finst.builtin.organism.architecture import build_image_processor, build_model
from finst.builtin.organism.batches import IGNORED, Painter, Writer, collate, longest, unnamed_colours
from finst.builtin.organism.card import write_card
from finst.builtin.organism.examine import ReportCard, Result, exact_match, wilson
from finst.builtin.organism.forward import Forward
from finst.builtin.organism.lessons import CANVASES, MIXES, describe, training_lesson, training_scene
from finst.builtin.organism.tokenizer import build_tokenizer
from finst.builtin.organism.train import TrainSpec, lesson_loss, train
from finst.errors import FinstError
from finst.scenes.draw import draw
from finst.scenes.object import Grid
from finst.scenes.shapes import COLOURS

WEIGHTS = Path(card.__file__).with_name("weights")


@pytest.fixture(scope="module")
def shipped():
    model = AutoModelForImageTextToText.from_pretrained(WEIGHTS, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(WEIGHTS)


def lessons_on(grid, count, seed=0):
    rng = np.random.default_rng(seed)
    return [training_lesson(rng, grid, MIXES["finishing"]) for _ in range(count)]


def pixels(lessons):
    images = [Image.fromarray(draw(lesson.scene).image) for lesson in lessons]
    return build_image_processor()(images=images, return_tensors="pt")


@pytest.mark.parametrize("grid", CANVASES)
def test_painted_patches_are_those_of_the_slow_drawing_and_the_image_processor(grid):
    lessons = lessons_on(grid, 6)
    patches = Painter("cpu").patches(collate(lessons, Writer(build_tokenizer())))
    expected = pixels(lessons)
    assert expected.image_grid_thw.tolist() == [[1, grid.height // 28, grid.width // 28]] * 6
    torch.testing.assert_close(patches.flatten(0, 1), expected.pixel_values, rtol=0, atol=1e-6)


def painted(lessons, **options):
    torch.manual_seed(0)
    return Painter("cpu", **options).draw(collate(lessons, Writer(build_tokenizer())))


def outside(lesson, image):
    image = image.clone()
    for obj in lesson.scene.objects:
        left, top, right, bottom = obj.box
        image[top:bottom, left:right] = 255
    return image


def test_unnamed_objects_differ_from_the_named_in_that_one_feature():
    named = lessons_on(Grid(3, 3), 8)
    exact, (recoloured, reshaped) = (
        painted(named),
        (painted([dataclasses.replace(lesson, unnamed=which) for lesson in named]) for which in ("colour", "shape")),
    )
    known = torch.tensor(list(COLOURS.values()), dtype=torch.float32)
    white = torch.tensor([255.0, 255, 255])
    for row, lesson in enumerate(named):
        assert (outside(lesson, recoloured[row]) == 255).all()
        assert (outside(lesson, reshaped[row]) == 255).all()
        for obj in lesson.scene.objects:
            left, top, right, bottom = obj.box
            was, other, blob = (image[row, top:bottom, left:right] for image in (exact, recoloured, reshaped))
            colour = torch.tensor(COLOURS[obj.colour], dtype=torch.float32)
            solid = (was == colour).all(-1)
            assert solid.any()
            assert len(other[solid].unique(dim=0)) == 1
            assert torch.cdist(other[solid][:1], known).min() >= 79
            assert ((was == white).all(-1) == (other == white).all(-1)).all()
            assert (blob == colour).all(-1).any()
            assert not torch.equal(blob, was)


def test_unnamed_colours_are_far_from_named_ones_and_from_white():
    known = np.array([*COLOURS.values(), (255, 255, 255)])
    assert np.linalg.norm(unnamed_colours()[:, None] - known, axis=-1).min() >= 80
    assert len(unnamed_colours()) == 512


def test_colour_noise_shifts_whole_objects_by_about_its_size():
    lessons = lessons_on(Grid(3, 3), 40)
    exact, noisy = painted(lessons), painted(lessons, colour_noise=5.0)
    shifts = []
    for row, lesson in enumerate(lessons):
        for obj in lesson.scene.objects:
            y, x = (obj.box[1] + obj.box[3]) // 2, (obj.box[0] + obj.box[2]) // 2
            shifts.append(noisy[row, y, x] - exact[row, y, x])
    inner = torch.stack(shifts)
    assert 3 < inner.std() < 6
    assert (noisy[exact == 255] >= 200).all()


def test_evenness_weighs_lessons_against_tokens():
    torch.manual_seed(0)
    model, writer = build_model(build_tokenizer()).eval(), Writer(build_tokenizer())
    batch = collate(lessons_on(Grid(2, 2), 5), writer)
    hidden = torch.randn(*batch.input_ids.shape, 256)
    losses = []
    for row in range(5):
        wanted = batch.labels[row, 1:]
        logits = model.lm_head(hidden[row, :-1][wanted != IGNORED])
        losses.append(torch.nn.functional.cross_entropy(logits, wanted[wanted != IGNORED], reduction="none"))
    assert len({len(loss) for loss in losses}) > 1
    torch.testing.assert_close(lesson_loss(model, hidden, batch), torch.cat(losses).mean())
    by_lesson = torch.stack([loss.mean() for loss in losses]).mean()
    torch.testing.assert_close(lesson_loss(model, hidden, batch, evenness=1.0), by_lesson)


@torch.inference_mode()
@pytest.mark.parametrize("grid", CANVASES)
def test_the_batched_forward_is_the_models_own(grid):
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model, writer = build_model(tokenizer).eval(), Writer(tokenizer)
    lessons = lessons_on(grid, 3)
    batch = collate(lessons, writer, longest(grid))
    fast = model.lm_head(Forward(model)(batch, Painter("cpu").patches(batch)))
    for row, lesson in enumerate(lessons):
        ids = torch.tensor([writer.tokens(lesson)[0]])
        is_image = (ids == model.config.image_token_id).int()
        slow = model(input_ids=ids, mm_token_type_ids=is_image, **pixels([lesson])).logits[0]
        torch.testing.assert_close(fast[row, : len(slow)], slow, rtol=0, atol=1e-5)


def test_training_on_a_cpu_writes_a_checkpoint_that_plain_transformers_loads(tmp_path):
    spec = TrainSpec(tmp_path / "a", steps=8, tokens=1000, workers=0, device="cpu", examined=1)
    train(spec)
    model = AutoModelForImageTextToText.from_pretrained(spec.out)
    assert 10.5e6 < sum(p.numel() for p in model.parameters()) < 11.5e6
    (leg,) = json.loads((spec.out / "training.json").read_text())
    assert leg["steps"] == 8
    assert leg["curve"][-1]["loss"] < math.log(len(AutoTokenizer.from_pretrained(spec.out)))
    assert leg["mix"]["name"] in (spec.out / "README.md").read_text()

    again = TrainSpec(tmp_path / "b", start=spec.out, mix="finishing", steps=1, tokens=300, workers=0, examined=0)
    train(again)
    assert [leg["mix"]["name"] for leg in json.loads((again.out / "training.json").read_text())] == [
        "grounded",
        "finishing",
    ]


def test_the_clock_ends_training_before_the_steps_do(tmp_path):
    train(TrainSpec(tmp_path / "a", steps=10**6, minutes=0.01, tokens=300, workers=0, device="cpu", examined=0))
    (leg,) = json.loads((tmp_path / "a" / "training.json").read_text())
    assert 1 <= leg["steps"] < 1000


def test_training_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(FinstError, match=r"unknown mix 'porridge'.*grounded"):
        train(TrainSpec(tmp_path / "new", mix="porridge"))
    with pytest.raises(FinstError, match=r"holds no training\.json"):
        train(TrainSpec(tmp_path / "new", start=tmp_path))
    (tmp_path / "mine").write_text("keep me")
    with pytest.raises(FinstError, match="not empty"):
        train(TrainSpec(tmp_path))
    assert (tmp_path / "mine").read_text() == "keep me"


@torch.inference_mode()
def test_exact_match_agrees_with_greedy_generation(shipped):
    model, tokenizer = shipped
    writer, rng = Writer(tokenizer), np.random.default_rng(5)
    lessons = [training_lesson(rng, Grid(3, 3), {"relation": 0.7, "describe": 0.3}) for _ in range(12)]
    batch = collate(lessons, writer)
    matched = exact_match(model, Forward(model), Painter("cpu"), batch)
    for row, lesson in enumerate(lessons):
        ids, labels = writer.tokens(lesson)
        start = next(i for i, label in enumerate(labels) if label != IGNORED)
        prompt = torch.tensor([ids[:start]])
        said = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            mm_token_type_ids=(prompt == model.config.image_token_id).int(),
            max_new_tokens=len(ids) - start,
            do_sample=False,
            **pixels([lesson]),
        )
        assert (said[0].tolist() == ids) == bool(matched[row])


@torch.inference_mode()
@pytest.mark.parametrize("grid", CANVASES)
def test_the_shipped_organism_describes_scenes(shipped, grid):
    model, tokenizer = shipped
    rng = np.random.default_rng(11)
    lessons = [describe(rng, training_scene(rng, grid)) for _ in range(40)]
    batch = collate(lessons, Writer(tokenizer))
    assert exact_match(model, Forward(model), Painter("cpu"), batch).float().mean() >= 0.95


def test_the_shipped_card_speaks_of_the_shipped_weights():
    text = (WEIGHTS / "README.md").read_text()
    assert hashlib.sha256((WEIGHTS / "model.safetensors").read_bytes()).hexdigest() in text
    assert (WEIGHTS / "model.safetensors").stat().st_size <= 25e6
    for leg in json.loads((WEIGHTS / "training.json").read_text()):
        assert f"| {leg['mix']['name']}: " in text


def test_the_shipped_tokenizer_is_the_one_that_the_code_builds(shipped):
    _, tokenizer = shipped
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
    assert tokenizer.chat_template == build_tokenizer().chat_template


def test_report_card_lines_hold_the_scenes_that_they_name():
    lines = ReportCard(build_tokenizer(), n=2, seed=0)
    assert {scenes for _, scenes in lines.lines} == {"new scenes", "held-out layouts", "withheld pairs"}
    name, scenes, batch = lines[0]
    again = lines[0][2]
    assert (name, scenes) == ("description, 2 objects, low entropy, prefill", "new scenes")
    assert torch.equal(batch.input_ids, again.input_ids)


def test_card_pools_the_lines_of_a_task(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "training.json").write_text("[]")
    lines = [
        Result(f"description, {n} objects, low entropy, prefill", "new scenes", 100, right, 0, 1)
        for n, right in ((2, 1.0), (3, 0.9))
    ]
    write_card(tmp_path, lines, 11_000_000)
    assert (
        "| description, 2-9 objects, prefill | 95.0 [91.0, 97.3], n = 200 | none | none |"
        in (tmp_path / "README.md").read_text()
    )


def test_wilson_interval_is_the_textbook_one():
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(10, 10)[1] == pytest.approx(1)
