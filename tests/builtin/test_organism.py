"""The organisms' fast training path against the models' own, and the shipped weights."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer

from finst.analysis.proportions import wilson
from finst.builtin.organism import card
from finst.builtin.organism.architecture import patch_grid
from finst.builtin.organism.card import write_card
from finst.builtin.organism.examine import ReportCard, Result, exact_match
from finst.builtin.organism.families import ARCHITECTURES
from finst.builtin.organism.lessons.descriptions import describe
from finst.builtin.organism.lessons.lesson import from_prompt
from finst.builtin.organism.lessons.mixes import MIXES, training_lesson
from finst.builtin.organism.lessons.training_scenes import training_scene
from finst.builtin.organism.llava import Llava
from finst.builtin.organism.qwen2_vl import Qwen2VL
from finst.builtin.organism.training.batches import IGNORED, Writer, collate, longest
from finst.builtin.organism.training.forward import Forward
from finst.builtin.organism.training.painter import Painter, unnamed_colours
from finst.engine.record import record
from finst.prompts import scene_description
from finst.scenes.draw import draw
from finst.scenes.object import Grid
from finst.scenes.shapes import COLOURS
from finst.vlm.encode import encode
from finst.vlm.families.llava import Llava as LlavaFamily
from finst.vlm.open import BUILTIN, open_vlm

QWEN = Qwen2VL()
PACKAGE = Path(card.__file__).parents[1]
SHIPPED = {name: PACKAGE / folder for name, folder in BUILTIN.items() if folder.startswith("organism/")}

of_each_family = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
on_each_canvas = pytest.mark.parametrize(
    ("architecture", "grid"),
    [
        pytest.param(architecture, grid, id=f"{architecture.name}-{grid.rows}x{grid.cols}")
        for architecture in ARCHITECTURES
        for grid in architecture.grids
    ],
)


def weights_of(architecture):
    return SHIPPED[architecture.organism]


def trained(folder):
    return json.loads((folder / "training.json").read_text())


@cache
def shipped(architecture):
    folder = weights_of(architecture)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def lessons_on(grid, count, seed=0):
    rng = np.random.default_rng(seed)
    return [training_lesson(rng, grid, MIXES["finishing"]) for _ in range(count)]


def pixels(architecture, lessons):
    images = [Image.fromarray(draw(lesson.scene).image) for lesson in lessons]
    return architecture.build_image_processor()(images=images, return_tensors="pt")


def cut(pixel_values, patch):
    """Whole pictures [image channel row col] as a convolution over patches sees them, [image patch values]."""
    columns = torch.nn.functional.unfold(pixel_values, patch, stride=patch)
    return columns.transpose(1, 2)


@on_each_canvas
def test_painted_patches_are_those_of_the_slow_drawing_and_the_image_processor(architecture, grid):
    lessons = lessons_on(grid, 6)
    patches = Painter(architecture, "cpu").patches(collate(lessons, Writer(architecture)))
    expected = pixels(architecture, lessons).pixel_values
    if expected.ndim == 4:
        expected = cut(expected, 28)
    rows, cols = patch_grid(architecture, grid.width, grid.height)
    assert patches.shape == (6, rows * cols, 3 * 28 * 28)
    torch.testing.assert_close(patches.flatten(0, 1), expected.reshape(-1, 3 * 28 * 28), rtol=0, atol=1e-6)


def painted(lessons, **options):
    torch.manual_seed(0)
    return Painter(QWEN, "cpu", **options).draw(collate(lessons, Writer(QWEN)))


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
        (painted([replace(lesson, unnamed=which) for lesson in named]) for which in ("colour", "shape")),
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


@torch.inference_mode()
@on_each_canvas
def test_the_batched_forward_is_the_models_own(architecture, grid):
    torch.manual_seed(0)
    model, writer = architecture.build_model(architecture.build_tokenizer()).eval(), Writer(architecture)
    lessons = lessons_on(grid, 3)
    batch = collate(lessons, writer, longest(architecture, grid))
    fast = model.lm_head(Forward(architecture, model)(batch, Painter(architecture, "cpu").patches(batch)))
    for row, lesson in enumerate(lessons):
        ids = torch.tensor([writer.tokens(lesson)[0]])
        is_image = (ids == model.config.image_token_id).int()
        types = {"mm_token_type_ids": is_image} if architecture.name == "qwen2_vl" else {}
        slow = model(input_ids=ids, **types, **pixels(architecture, [lesson])).logits[0]
        torch.testing.assert_close(fast[row, : len(slow)], slow, rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("placement", ["prefill", "user_turn"])
@on_each_canvas
def test_what_is_measured_is_what_was_trained(architecture, grid, placement, tmp_path):
    torch.manual_seed(0)
    tokenizer = architecture.build_tokenizer()
    model, writer = architecture.build_model(tokenizer).eval(), Writer(architecture)
    for part in (model, tokenizer, architecture.build_image_processor()):
        part.save_pretrained(tmp_path)
    vlm = open_vlm(str(tmp_path), device="cpu")
    scene = training_scene(np.random.default_rng(0), grid)
    prompt = scene_description(scene, [0], 1, placement)
    lesson = from_prompt(scene, prompt)
    encoded = encode(vlm.reader, draw(scene), prompt, prompt.answer)
    ids, _ = writer.tokens(lesson)
    assert [*encoded.input_ids.tolist(), tokenizer.eos_token_id] == ids
    batch = collate([lesson], writer)
    trained = model.lm_head(Forward(architecture, model)(batch, Painter(architecture, "cpu").patches(batch)))
    measured = record(vlm, [encoded]).logits
    torch.testing.assert_close(measured[0], trained[0, -2], rtol=0, atol=1e-4)


def test_llavas_template_is_the_familys():
    architecture = Llava()
    content = [{"type": "image"}, {"type": "text", "text": "Describe the image."}]
    turns = [{"role": "user", "content": content}]
    rendered = architecture.build_tokenizer().apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert rendered == LlavaFamily().render("Describe the image.")


def test_canvases_of_equally_many_patches_share_a_length():
    assert len({longest(Llava(), grid) for grid in Llava().grids}) == 1
    assert len({longest(QWEN, grid) for grid in QWEN.grids}) == 3


@torch.inference_mode()
def test_exact_match_agrees_with_greedy_generation():
    model: Any = shipped(QWEN)[0]
    writer, rng = Writer(QWEN), np.random.default_rng(5)
    lessons = [training_lesson(rng, Grid(3, 3), {"relation": 0.7, "describe": 0.3}) for _ in range(12)]
    batch = collate(lessons, writer)
    matched = exact_match(model, Forward(QWEN, model), Painter(QWEN, "cpu"), batch)
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
            **pixels(QWEN, [lesson]),
        )
        assert (said[0].tolist() == ids) == bool(matched[row])


@torch.inference_mode()
@on_each_canvas
def test_the_shipped_organisms_describe_scenes(architecture, grid):
    model, _ = shipped(architecture)
    rng = np.random.default_rng(11)
    lessons = [describe(rng, training_scene(rng, grid)) for _ in range(40)]
    batch = collate(lessons, Writer(architecture))
    said = exact_match(model, Forward(architecture, model), Painter(architecture, "cpu"), batch)
    low, high = wilson(int(said.sum()), len(lessons), confidence=0.999)
    expected = np.mean([described_on_the_card(architecture, len(lesson.scene.objects)) for lesson in lessons])
    assert low <= expected <= high
    assert said.float().mean() >= 0.8


def described_on_the_card(architecture, count):
    """Share of descriptions of so many objects that are right on new scenes."""
    lines = json.loads((weights_of(architecture) / "report_card.json").read_text())
    shares = [line["accuracy"] for line in lines if line["task"].startswith(f"description, {count} objects")]
    assert len(shares) == 2  # of low and of high entropy
    return np.mean(shares)


@of_each_family
def test_the_shipped_cards_are_written_from_the_records_beside_them(architecture, tmp_path):
    folder, copy = weights_of(architecture), tmp_path / "copy"
    shutil.copytree(folder, copy)
    lines = [Result(**line) for line in json.loads((folder / "report_card.json").read_text())]
    write_card(architecture, copy, lines, sum(weight.numel() for weight in shipped(architecture)[0].parameters()))
    for name in ("README.md", "report_card.json"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes()


def test_the_shipped_weights_stay_small_together():
    assert sum((folder / "model.safetensors").stat().st_size for folder in SHIPPED.values()) <= 60e6


@pytest.mark.parametrize("name", SHIPPED)
def test_organisms_that_bind_were_never_taught_by_leaving_one_object_out(name):
    legs = trained(SHIPPED[name])
    assert {key: value for key, value in legs[-1]["mix"].items() if key != "name"} == MIXES["binding"]
    assert {leg["mix"]["name"] for leg in legs} <= {"binding", "never-mixed"}  # two names of one mix


@pytest.mark.parametrize("name", SHIPPED)
def test_every_taught_task_is_answered(name):
    """Colours, relations and lists at 97 % or more on scenes of the kind that training showed."""
    lines = [Result(**line) for line in json.loads((SHIPPED[name] / "report_card.json").read_text())]
    taught = [line for line in lines if line.scenes == "new scenes" and not line.task.startswith("description")]
    assert taught
    assert min(line.accuracy for line in taught) >= 0.97


@of_each_family
def test_the_shipped_tokenizers_are_those_that_the_code_builds(architecture):
    _, tokenizer = shipped(architecture)
    built = architecture.build_tokenizer()
    assert tokenizer.get_vocab() == built.get_vocab()
    assert tokenizer.chat_template == built.chat_template


@of_each_family
def test_report_card_lines_hold_the_scenes_that_they_name(architecture):
    lines = ReportCard(architecture, n=2, seed=0)
    assert {scenes for _, scenes in lines.lines} == {"new scenes", "held-out layouts", "withheld pairs"}
    assert {task.grid for task, _ in lines.lines} == set(architecture.grids)
    name, scenes, batch = lines[0]
    again = lines[0][2]
    assert (name, scenes) == ("description, 2 objects, low entropy, prefill", "new scenes")
    assert torch.equal(batch.input_ids, again.input_ids)


@of_each_family
def test_next_in_reading_order_leaves_two_objects_undescribed(architecture):
    lines = ReportCard(architecture, n=6, seed=0)
    picked = [index for index, (task, _) in enumerate(lines.lines) if task.name.startswith("next in reading order")]
    assert len(picked) >= 4
    for index in picked:
        task, _ = lines.lines[index]
        assert min(task.counts) == 3
        batch = lines[index][2]
        learned = (batch.labels != IGNORED).sum(1)
        assert (learned == 3).all()  # colour, shape, end
        assert ((batch.objects[..., 0] >= 0).sum(1) >= 3).all()


@of_each_family
def test_card_pools_the_lines_of_a_task(architecture, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "training.json").write_text("[]")
    lines = [
        Result(f"description, {n} objects, low entropy, prefill", "new scenes", 100, right, 0, 1)
        for n, right in ((2, 1.0), (3, 0.9))
    ]
    write_card(architecture, tmp_path, lines, 11_000_000)
    text = (tmp_path / "README.md").read_text()
    assert "| description, 2-9 objects, prefill | 95.0 [91.0, 97.3], n = 200 | none | none |" in text
    assert f"# {architecture.organism}\n" in text
    assert f"{architecture.title}'s architecture" in text
