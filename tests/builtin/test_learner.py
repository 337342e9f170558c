"""A step of training: against the formulas that it was first written in, and whether it waits for a device."""

import inspect
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from finst.builtin.organism.families import ARCHITECTURES
from finst.builtin.organism.lessons.mixes import MIXES, training_lesson
from finst.builtin.organism.qwen2_vl import Qwen2VL
from finst.builtin.organism.training.batches import IGNORED, TENSORS, Writer, collate, longest
from finst.builtin.organism.training.forward import Forward
from finst.builtin.organism.training.learner import Learner, lesson_loss
from finst.builtin.organism.training.painter import Painter
from finst.builtin.organism.training.stepping import PlainSteps
from finst.scenes.object import OBJECT_PX, Grid
from finst.scenes.shapes import COLOURS, SHAPES

QWEN = Qwen2VL()
OPTIONS: Any = {"weight_decay": 0.1, "colour_noise": 10.0, "evenness": 0.5}

on_each_canvas = pytest.mark.parametrize(
    ("architecture", "grid"),
    [
        pytest.param(architecture, grid, id=f"{architecture.name}-{grid.rows}x{grid.cols}")
        for architecture in ARCHITECTURES
        for grid in architecture.grids
    ],
)


def batch_on(architecture, grid, count, mix="binding", seed=0):
    rng = np.random.default_rng(seed)
    lessons = [training_lesson(rng, grid, MIXES[mix]) for _ in range(count)]
    return collate(lessons, Writer(architecture), longest(architecture, grid))


def old_loss(head, hidden, labels, evenness):
    """As it was first written: the learned positions are picked out."""
    wanted = labels[:, 1:]
    learned = wanted != IGNORED
    losses = torch.nn.functional.cross_entropy(head(hidden[:, :-1][learned]), wanted[learned], reduction="none")
    weights = (learned.sum(1, keepdim=True).clamp(min=1) ** -evenness).expand_as(wanted)[learned]
    return (weights * losses).sum() / weights.sum()


@pytest.mark.parametrize("evenness", [0.0, 0.5, 1.0])
def test_the_loss_is_that_of_the_learned_tokens_alone(evenness):
    torch.manual_seed(0)
    batch = batch_on(QWEN, Grid(3, 3), 7)
    head = torch.nn.Linear(16, 210, bias=False).double()
    hidden = torch.randn(*batch.input_ids.shape, 16, dtype=torch.float64, requires_grad=True)
    losses = [loss(head, hidden, batch.labels, evenness) for loss in (lesson_loss, old_loss)]
    gradients = [torch.autograd.grad(loss, hidden)[0] for loss in losses]
    torch.testing.assert_close(losses[0].double(), losses[1], rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-9)


def test_evenness_weighs_lessons_against_tokens():
    torch.manual_seed(0)
    batch = batch_on(QWEN, Grid(2, 2), 5, "finishing")
    head, hidden = torch.nn.Linear(16, 210), torch.randn(*batch.input_ids.shape, 16)
    losses = []
    for row in range(5):
        wanted = batch.labels[row, 1:]
        logits = head(hidden[row, :-1][wanted != IGNORED])
        losses.append(torch.nn.functional.cross_entropy(logits, wanted[wanted != IGNORED], reduction="none"))
    assert len({len(loss) for loss in losses}) > 1
    torch.testing.assert_close(lesson_loss(head, hidden, batch.labels), torch.cat(losses).mean())
    by_lesson = torch.stack([loss.mean() for loss in losses]).mean()
    torch.testing.assert_close(lesson_loss(head, hidden, batch.labels, evenness=1.0), by_lesson)


def old_draw(painter, batch):
    """As it was first written: the rows that have an object in a slot are looked up, and drawn alone."""
    image = torch.full((len(batch.objects), batch.height, batch.width, 3), 255.0)
    for slot in range(batch.objects.shape[1]):
        rows = torch.nonzero(batch.objects[:, slot, 0] >= 0)[:, 0]
        colour, shape, left, top = batch.objects[rows, slot].unbind(1)
        ys = (top[:, None] + painter.offsets)[:, :, None]
        xs = (left[:, None] + painter.offsets)[:, None, :]
        under = image[rows[:, None, None], ys, xs]
        share, paint = painter.masks[shape][..., None], painter.colours[colour]
        image[rows[:, None, None], ys, xs] = under + share * (paint[:, None, None] - under)
    return image.round()


@on_each_canvas
def test_slots_without_an_object_change_nothing(architecture, grid):
    painter, batch = Painter(architecture, "cpu"), batch_on(architecture, grid, 8)
    assert torch.equal(painter.draw(batch), old_draw(painter, batch))


def test_objects_that_overlap_are_drawn_one_over_the_other():
    painter, batch = Painter(QWEN, "cpu"), batch_on(QWEN, Grid(2, 2), 40)
    rng = np.random.default_rng(0)
    names = rng.integers(0, [len(COLOURS), len(SHAPES)], (*batch.objects.shape[:2], 2))
    corners = rng.integers(0, 280 - OBJECT_PX + 1, (*batch.objects.shape[:2], 2))
    objects = torch.from_numpy(np.concatenate([names, corners], -1))
    overlapping = replace(batch, objects=torch.where(batch.objects >= 0, objects, -1))
    assert torch.equal(painter.draw(overlapping), old_draw(painter, overlapping))


@on_each_canvas
def test_nothing_in_a_step_waits_for_its_device(architecture, grid):
    """Tensors without values: whatever looks at one, or makes a shape of one, raises."""
    batch = batch_on(architecture, grid, 2)
    known = Learner.of(architecture, architecture.build_model(architecture.build_tokenizer(), 2), **OPTIONS)
    canvas = known.forward._canvas(batch)
    known.painter.patches(batch)
    model = architecture.build_model(architecture.build_tokenizer(), 2).train().to("meta")
    learner = replace(
        known, model=model, forward=Forward(architecture, model), painter=Painter(architecture, "meta", 10.0)
    )
    tower, text = (tuple(tensor.to("meta") for tensor in part) for part in (canvas.tower, canvas.text))
    learner.forward._canvases = {key: replace(canvas, tower=tower, text=text) for key in known.forward._canvases}
    loss = learner.loss_of(batch.to("meta"))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert loss.is_meta
    with pytest.raises(RuntimeError, match="meta"):
        loss.item()


def trained(steps, mix="binding"):
    torch.manual_seed(0)
    learner = Learner.of(QWEN, QWEN.build_model(QWEN.build_tokenizer(), 2).train(), **OPTIONS)
    maker = PlainSteps(learner)
    losses = []
    for step in range(steps):
        maker.step(batch_on(QWEN, Grid(2, 2), 3, mix, seed=step % 2), 1e-3)
        losses.append(maker.loss())
    return maker, losses


def test_a_step_takes_the_rate_that_it_is_given():
    maker, _ = trained(1)
    weight = maker.learner.model.lm_head.weight
    before = weight.detach().clone()
    maker.step(batch_on(QWEN, Grid(2, 2), 3), 0.0)
    assert torch.equal(weight, before)
    maker.step(batch_on(QWEN, Grid(2, 2), 3), 1e-3)
    assert 0 < (weight - before).abs().max() < 2e-3


def test_lessons_are_learned_and_a_restart_forgets_gradients_but_no_weights():
    maker, losses = trained(16)
    assert losses[0] > 4 > losses[-1]
    weight = maker.learner.model.lm_head.weight
    kept = weight.detach().clone()
    maker.restart()
    assert torch.equal(weight, kept)
    state = maker.learner.optimiser.state
    assert all(value.abs().max() == 0 for of_one in state.values() for value in of_one.values())


@pytest.mark.filterwarnings("default")
def test_all_layers_share_one_compiled_function(monkeypatch):
    counter, compile_ = CompileCounter(), torch.compile
    torch._dynamo.reset()

    def counted(function, **options):
        """Without the type checks of the test run, which no compiler follows."""
        return compile_(inspect.unwrap(function), backend=counter, fullgraph=True, **options)

    monkeypatch.setattr(torch, "compile", counted)
    model = QWEN.build_model(QWEN.build_tokenizer(), 3).train()
    compiled, painter = Forward(QWEN, model, compiled=True), Painter(QWEN, "cpu")
    for canvases, grid in enumerate(QWEN.grids[:2], 1):
        batch = batch_on(QWEN, grid, 2)
        patches = painter.patches(batch)
        for _ in range(2):
            torch.testing.assert_close(compiled(batch, patches), Forward(QWEN, model)(batch, patches))
        assert counter.frame_count == 3 * canvases  # the tower, a layer, the final norm


gpu = pytest.mark.gpu
without_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@gpu
@without_gpu
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_replayed_steps_are_the_plain_ones(architecture, compiled):
    from finst.builtin.organism.training.stepping import WARM, ReplayedSteps

    def losses(kind, compiled):
        torch.manual_seed(0)
        model = architecture.build_model(architecture.build_tokenizer(), 2).train().to("cuda")
        maker = kind(Learner.of(architecture, model, compiled=compiled, **OPTIONS))
        values = []
        for step in range(2 * (WARM + 5)):
            batch = batch_on(architecture, architecture.grids[step % 2], 8, seed=step)
            maker.step(batch, 1e-3 * min(1, (step + 1) / 10))
            values.append(maker.loss())
        return np.array(values)

    plain, replayed = losses(PlainSteps, False), losses(ReplayedSteps, compiled)
    assert math.log(len(QWEN.build_tokenizer())) > plain[-1]
    # the same random colours: without them the first losses would differ by far more
    np.testing.assert_allclose(replayed[:4], plain[:4], rtol=2e-3)
    np.testing.assert_allclose(replayed, plain, rtol=3e-2)


@gpu
@without_gpu
@pytest.mark.filterwarnings("default")
@on_each_canvas
def test_a_compiled_painter_paints_the_same(architecture, grid):
    batch = batch_on(architecture, grid, 16).to("cuda")
    plain, compiled = (Painter(architecture, "cuda", compiled=compiled).patches(batch) for compiled in (False, True))
    torch.testing.assert_close(compiled, plain, rtol=0, atol=1e-5)
    assert set(TENSORS) == {"input_ids", "labels", "objects"}
