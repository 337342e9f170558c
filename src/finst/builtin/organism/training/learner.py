"""One step of training, with nothing in it that waits for the device: painting, loss, gradients, update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn

from finst.builtin.organism.architecture import Architecture
from finst.builtin.organism.training.batches import IGNORED, Batch
from finst.builtin.organism.training.forward import Forward
from finst.builtin.organism.training.painter import Painter

LONGEST_STEP = 1.0
"""The norm that gradients are clipped to."""


def lesson_loss(
    head: nn.Module,
    hidden: Float[Tensor, "lesson pos d_model"],
    labels: Int[Tensor, "lesson pos"],
    evenness: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the learned tokens, each weighted by its lesson's number of them ** -evenness.

    ``head`` reads every position, and those that nothing is learned at weigh 0: with 200 words that is cheap, while
    picking the others would wait for the device, and would give every batch another shape.
    """
    wanted = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
    learned = wanted != IGNORED
    logits = head(hidden).float()
    losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none")
    weights = learned.sum(1, keepdim=True).clamp(min=1) ** -evenness * learned
    return (weights * losses.view_as(wanted)).sum() / weights.sum()


@dataclass(frozen=True, eq=False)
class Learner:
    """A model in training."""

    model: Any
    forward: Forward
    painter: Painter
    optimiser: torch.optim.AdamW
    rate: Float[Tensor, ""]
    """The learning rate, on the device, so that a recorded step can be replayed with another one."""
    evenness: float
    loss: Any
    """``lesson_loss``, or that compiled."""

    @classmethod
    def of(
        cls,
        architecture: Architecture,
        model: Any,
        *,
        weight_decay: float,
        colour_noise: float = 0.0,
        evenness: float = 0.0,
        compiled: bool = False,
    ) -> Learner:
        """With AdamW, weight decay on matrices alone; ``compiled`` or plain."""
        device = model.device
        on_gpu = device.type == "cuda"
        rate = torch.zeros((), device=device)
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        vectors = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=on_gpu, capturable=on_gpu)
        return cls(
            model,
            Forward(architecture, model, compiled=compiled),
            Painter(architecture, device, colour_noise, compiled=compiled),
            optimiser,
            rate,
            evenness,
            torch.compile(lesson_loss, dynamic=False) if compiled else lesson_loss,
        )

    def loss_of(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss of a batch on the model's device."""
        on_gpu = self.model.device.type == "cuda"
        with torch.autocast("cuda" if on_gpu else "cpu", torch.bfloat16, enabled=on_gpu):
            hidden = self.forward(batch, self.painter.patches(batch))
            return self.loss(self.model.lm_head, hidden, batch.labels, self.evenness)

    def step(self, batch: Batch) -> Float[Tensor, ""]:
        """One update; the loss before it."""
        loss = self.loss_of(batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), LONGEST_STEP)
        self.optimiser.step()
        return loss.detach()

    def restart(self) -> None:
        """Forgets what the optimiser remembers of earlier gradients, in place."""
        for state in self.optimiser.state.values():
            for value in state.values():
                value.zero_()
