"""Who makes the steps: one call after the other, or whole steps as CUDA graphs, one for each canvas."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from finst.builtin.organism.training.batches import TENSORS, Batch
from finst.builtin.organism.training.learner import Learner

WARM = 3
"""Plain steps on a canvas before its step is recorded: whatever is made on first use is made then."""

AHEAD = 2
"""Steps that may be waiting for the GPU, so that the clock of a training means something."""


@runtime_checkable
class Steps(Protocol):
    """Makes steps of a learner."""

    def step(self, batch: Batch, rate: float) -> None:
        """One update from a batch that is not on the device yet, at a learning rate."""
        ...

    def loss(self) -> float:
        """The last step's loss; waits for it."""
        ...

    def restart(self) -> None:
        """Forgets what the optimiser remembers of earlier steps."""
        ...


class PlainSteps:
    """One call after the other: the slow twin."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._loss = torch.zeros((), device=learner.model.device)

    def step(self, batch: Batch, rate: float) -> None:
        """One update from a batch that is not on the device yet, at a learning rate."""
        self.learner.rate.fill_(rate)
        self._loss = self.learner.step(batch.to(self.learner.model.device))

    def loss(self) -> float:
        """The last step's loss; waits for it."""
        return self._loss.item()

    def restart(self) -> None:
        """Forgets what the optimiser remembers of earlier steps."""
        self.learner.restart()


@dataclass(eq=False)
class _Canvas:
    batch: Batch
    """On the device, at a fixed place, which the recorded step reads."""
    steps: int = 0
    graph: torch.cuda.CUDAGraph | None = None


class ReplayedSteps:
    """Whole steps, from painting to update, as CUDA graphs: one launch a step instead of thousands.

    All graphs share one pool of memory, as only one is replayed at a time. Random numbers are those that plain steps
    would draw, as torch's generator counts replays.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._canvases: dict[tuple[int, ...], _Canvas] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(learner.model.device)
        self._stream.wait_stream(torch.cuda.current_stream(learner.model.device))
        self._loss = torch.zeros((), device=learner.model.device)
        self._waiting: deque[torch.cuda.Event] = deque()

    def step(self, batch: Batch, rate: float) -> None:
        """One update from a batch that is not on the device yet, at a learning rate."""
        pinned = batch.pinned()
        with torch.cuda.stream(self._stream):
            self.learner.rate.fill_(rate)
            canvas = self._filled(pinned)
            if canvas.steps < WARM:
                self._loss.copy_(self.learner.step(canvas.batch))
            else:
                canvas.graph = canvas.graph or self._recorded(canvas.batch)
                canvas.graph.replay()
            canvas.steps += 1
        self._pace()

    def _filled(self, batch: Batch) -> _Canvas:
        key = (batch.width, batch.height, *batch.input_ids.shape)
        if key not in self._canvases:
            self._canvases[key] = _Canvas(batch.to(self.learner.model.device))
            return self._canvases[key]
        canvas = self._canvases[key]
        for name in TENSORS:
            getattr(canvas.batch, name).copy_(getattr(batch, name), non_blocking=True)
        return canvas

    def _recorded(self, batch: Batch) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # other threads may use the GPU meanwhile, such as the one that computes gradients
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            self._loss.copy_(self.learner.step(batch))
        return graph

    def _pace(self) -> None:
        done = torch.cuda.Event(blocking=True)
        done.record(self._stream)
        self._waiting.append(done)
        if len(self._waiting) > AHEAD:
            self._waiting.popleft().synchronize()

    def loss(self) -> float:
        """The last step's loss; waits for it."""
        self._stream.synchronize()
        return self._loss.item()

    def restart(self) -> None:
        """Forgets what the optimiser remembers of earlier steps."""
        with torch.cuda.stream(self._stream):
            self.learner.restart()
