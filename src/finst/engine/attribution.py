"""Attribution patching: a map of heads to first order, from gradients instead of one run a head.

With m = logit(a1*) - logit(a1) at the last token and d = x_source - x_clean at the patched positions, head h of layer
l has the exact score m(x_h + d_h) - m(x), all else computed anew. Attribution patching (Nanda 2023, "Attribution
patching: activation patching at industrial scale"; Syed et al. 2023, arXiv 2310.10348) takes <d_h, dm/dx_h> at the
clean run: one gradient for all heads of all layers. It misses effects that saturate, such as those of a softmax whose
weight is almost all on one token.

``steps`` > 1 averages the gradient along a path (integrated gradients, Sundararajan et al. 2017, arXiv 1703.01365):

    score_h  ~  < d_h, sum_k w_k dm/dx_h (x_l + t_k d_l) >

A path that moves head h alone would give the exact score, and would cost more than the exact map. This path moves all
heads of layer l together, at the patched positions, and leaves earlier layers unchanged. So the sum of the estimate is
known: in the limit of many steps, its sum over the heads of a layer is the exact effect of patching them together, and
a head whose neighbours do not move gets its exact score. All error comes from interactions between heads of a layer. A
path along the decoder's input embeddings (EAP-IG, Hanna et al. 2024, arXiv 2403.17806) needs intermediate contexts
instead. That is right for a whole circuit, but it takes a head's gradient where everything else moves to the source
too, which no patch of a single head does. (On organism its ranks are farther from the exact map's than those of the
plain estimate: docs/log.md, 2026-11-24.)

The nodes are those of Gauss-Radau quadrature with one end at t = 0: a single node is the plain estimate, n nodes
integrate polynomials up to degree 2n - 2 exactly, and the error falls faster than any power of n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.polynomial.legendre import Legendre
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from finst.engine.attention import PROBE, probing
from finst.engine.edits import unedited
from finst.engine.finite import all_finite, in_layer, not_finite, total
from finst.engine.precision import arithmetic, at_least_float32
from finst.engine.readout import answer_logits, output_of
from finst.engine.record import Recording, check_recording, record
from finst.engine.sites import HEAD_SITES, heads_and_width, tapped
from finst.engine.validation import check
from finst.errors import FinstError, choice
from finst.vlm.encode import Encoded
from finst.vlm.families.base import Blocks
from finst.vlm.open import VLM
from finst.vlm.visibility import reached, visible

HeadSite = Literal["q", "k", "v", "z"]


def attribution(
    vlm: VLM,
    clean: Encoded,
    source: Encoded,
    positions: Sequence[int],
    answers: Sequence[int],
    *,
    site: HeadSite = "z",
    steps: int = 1,
) -> Float[Tensor, "layer head"]:
    """Estimated score of each head, in logits, when its ``site`` at ``positions`` becomes the source's.

    ``answers`` are (a1, a1*). With ``steps`` 1 all layers share one gradient, at the clean run; more ``steps`` use as
    many nodes on a path for each layer. The heads of ``k`` and ``v`` are KV heads. Weights get no gradients. See the
    module's docstring for formula and sources. Raises FinstError for positions outside the context, answers outside
    the vocabulary, an unknown site, fewer than one step, contexts of different lengths, decoders that ``record`` or
    ``counterfactuals`` refuse, and for gradients that are not finite.
    """
    if site not in HEAD_SITES:
        raise choice("site with heads", site, HEAD_SITES)
    if steps < 1 or len(answers) != 2:
        raise FinstError(
            f"expected at least 1 step and the answers (a1, a1*); got {steps} steps and {len(answers)} answers"
        )
    if not positions or len(set(positions)) < len(positions):
        raise FinstError(f"expected at least one position, without repeats; got {list(positions)}")
    both = record(vlm, [clean, source], sites=[site], positions=positions)
    check(vlm, both[0], unedited(), ())
    # Gradients are needed, whatever the caller's grad mode.
    with torch.inference_mode(False), torch.enable_grad(), arithmetic(vlm), probing(vlm.model):
        x, changed = both.sites[site].to(at_least_float32(vlm.dtype)).clone()
        tail = _Tail(vlm, both[0], tuple(positions), tuple(answers), site)
        (_, *times), (at_clean, *weights) = _radau(steps)
        gradient = at_clean * tail.gradient_at_clean().to(x.dtype)
        for layer in range(vlm.n_layers if times else 0):
            path = torch.stack([x[layer].lerp(changed[layer], time) for time in times]).to(vlm.dtype)
            along = tail.gradient_along(layer, path)
            gradient[layer] += sum(weight * node.to(x.dtype) for weight, node in zip(weights, along, strict=True))
        scores = ((changed - x) * gradient).sum(dim=(1, 3))
    if not all_finite(both.total, total(scores)):
        check_recording(vlm, both)
        bad = torch.nonzero(~scores.isfinite().all(dim=1))
        if len(bad):  # gradients come from the last layer
            raise not_finite(vlm, "the gradient of the answers", in_layer(int(bad[-1])))
    return scores


def _radau(count: int) -> tuple[list[float], list[float]]:
    """Nodes in [0, 1), the first at 0, and weights of the Gauss-Radau quadrature."""
    roots = (Legendre.basis(count - 1) + Legendre.basis(count)).roots().real
    nodes = np.sort(roots)
    nodes[0] = -1.0
    weights = (1 - nodes) / (count * Legendre.basis(count - 1)(nodes)) ** 2
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()


@dataclass(frozen=True, eq=False)
class _AfterPrefix:
    """A probe: tokens attend to the recorded tokens before them and to each other, where the model lets them."""

    keys: Float[Tensor, "1 kv_head prefix d_head"]
    values: Float[Tensor, "1 kv_head prefix d_head"]
    blocks: Blocks

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Attention by transformers' own function, which is differentiable; see ``finst.engine.attention.Probe``."""
        keys, values = (
            torch.cat([prefix.expand(len(own), -1, -1, -1), own], dim=2)
            for prefix, own in ((self.keys, key), (self.values, value))
        )
        everything = range(keys.shape[2])
        window = kwargs.get("sliding_window")
        seen = visible(everything[-key.shape[2] :], everything, self.blocks, window, key.device)
        return sdpa_attention_forward(module, query, keys, values, seen[None, None], **kwargs)[0]


@dataclass(frozen=True, eq=False)
class _Tail:
    """The clean run from the first patched token on. Only these tokens depend on a patch; earlier ones are recorded."""

    vlm: VLM
    clean: Recording
    positions: tuple[int, ...]
    answers: tuple[int, ...]
    """a1 and a1*."""
    site: HeadSite

    def gradient_at_clean(self) -> Float[Tensor, "layer pos head d_head"]:
        """Gradient of the preference for a1* with respect to the site, in all layers, from one run."""
        kept: list[Tensor] = []
        with ExitStack() as taps:
            for layer in range(self.vlm.n_layers):
                taps.enter_context(tapped(self.vlm, layer, self.site, kept.append))
            preference = self._preference(0, self._inputs(0, 1).requires_grad_())
        gradients = torch.autograd.grad(preference.sum(), kept)
        device = gradients[0].device
        return torch.cat([self._heads(gradient)[:, self._places].to(device) for gradient in gradients])

    def gradient_along(
        self, layer: int, path: Float[Tensor, "node pos head d_head"]
    ) -> Float[Tensor, "node pos head d_head"]:
        """The same in one layer, with the site at the patched positions set to each node of the ``path``."""
        path.requires_grad_()

        def write(x: Tensor) -> None:
            self._heads(x)[:, self._places] = path.to(x.device)

        with tapped(self.vlm, layer, self.site, write):
            preference = self._preference(layer, self._inputs(layer, len(path)))
        return torch.autograd.grad(preference.sum(), path)[0]

    @property
    def _first(self) -> int:
        return int(reached(self.clean.blocks, np.array(self.positions)).min())

    @property
    def _places(self) -> list[int]:
        return [pos - self._first for pos in self.positions]

    def _heads(self, x: Float[Tensor, "row width *head_width"]) -> Float[Tensor, "row width head d_head"]:
        return x.view(*x.shape[:2], *heads_and_width(self.vlm, self.site))

    def _inputs(self, layer: int, count: int) -> Float[Tensor, "row width d_model"]:
        return self.clean.inputs[layer][:, self._first :].repeat(count, 1, 1)

    def _preference(self, start: int, x: Float[Tensor, "row width d_model"]) -> Float[Tensor, "row"]:
        """logit(a1*) - logit(a1) of rows that enter at layer ``start``."""
        for index in range(start, self.vlm.n_layers):
            keys, values = (part[index][:, :, : self._first].clone() for part in (self.clean.keys, self.clean.values))
            kwargs = _from(self._first, self.clean.layer_kwargs[index])
            for added in self.clean.additions[index - 1 : index] if index else ():
                x = x + added[:, self._first :].to(x.device)
            probe = _AfterPrefix(keys, values, self.clean.blocks)
            x = output_of(self.vlm.layers[index](x, **kwargs, **{PROBE: probe}))
        return answer_logits(self.vlm, x[:, -1], self.answers).diff(dim=1)[:, 0]


def _from(first: int, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded layer arguments for tokens from ``first`` on, without a mask: the probe applies its own."""
    moved = {name: _tail_of(kwargs.get(name), first) for name in ("position_embeddings", "position_ids")}
    return {**kwargs, **moved, "attention_mask": None}


def _tail_of(argument: Any, first: int) -> Any:
    if isinstance(argument, tuple):
        return tuple(_tail_of(part, first) for part in argument)
    return None if argument is None else argument[:, first:].clone()
