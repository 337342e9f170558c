"""Where the engine reads and writes: seven sites in every decoder layer, and the hooks that reach them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor, nn

from finst.engine.readout import output_of
from finst.vlm.open import VLM

Site = Literal["q", "k", "v", "z", "attn_out", "mlp_out", "resid"]
"""In the order in which a layer computes them.

``q``, ``k``, ``v``: projections before the rotary embedding, after ``q_norm`` and ``k_norm`` where a model has them;
``k`` and ``v`` have KV heads. ``z``: a head's output, its slice of ``o_proj``'s input. ``attn_out``: ``o_proj``'s
output. ``mlp_out``: the MLP's output. Some architectures (Gemma 3) norm these two again before they are added to the
residual stream; the sites lie before those norms. ``resid``: the layer's output, as in transformers'
``hidden_states``. Image features that some architectures (Qwen3-VL) add between layers come after it; they are always
those of the row's own context.
"""

SITES: tuple[Site, ...] = get_args(Site)
HEAD_SITES: tuple[Site, ...] = ("q", "k", "v", "z")
"""Sites with a head axis; at the others a position is one vector of d_model entries."""


def heads_and_width(vlm: VLM, site: Site) -> tuple[int, int]:
    """Number of heads and entries per head; one "head" of d_model entries at sites without heads."""
    if site not in HEAD_SITES:
        return 1, vlm.reader.config.get_text_config().hidden_size
    return (vlm.n_kv_heads if site in ("k", "v") else vlm.n_heads), vlm.d_head


def step_of(site: Site, layer: Int[np.ndarray, "touch"]) -> Int[np.ndarray, "touch"]:
    """The first layer that must be recomputed when ``site`` changes in ``layer``.

    A layer's output is the next layer's input, so a layer whose output alone is replaced need not run.
    """
    return layer + (site == "resid")


def with_heads(x: Float[Tensor, "..."], heads: int, width: int) -> Float[Tensor, "token head width"]:
    """A module's input or output as a view with one axis for all tokens of all contexts and one for heads."""
    return x.view(-1, heads, width)


@contextmanager
def tapped(vlm: VLM, layer: int, site: Site, function: Callable[[Tensor], None]) -> Iterator[None]:
    """Passes the values at a site to ``function``, which may change them in place, in this thread's calls.

    The hook is on a module that other threads may use at the same time; it ignores their calls.
    """
    thread = threading.get_ident()

    def entering(_: nn.Module, args: tuple[Any, ...]) -> None:
        if threading.get_ident() == thread:
            function(args[0])

    def leaving(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if threading.get_ident() == thread:
            function(output_of(output))

    def leaving_heads_first(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        if threading.get_ident() != thread:
            return output
        x = output.transpose(1, 2).contiguous()
        function(x)
        return x.transpose(1, 2)

    family = vlm.reader.family
    module: Any = vlm.layers[layer]
    if site == "z":
        hook = module.self_attn.o_proj.register_forward_pre_hook(entering)
    elif site == "resid":
        hook = module.register_forward_hook(leaving)
    else:
        leaves = leaving_heads_first if site in family.heads_first else leaving
        hook = module.get_submodule(family.site_modules[site]).register_forward_hook(leaves)
    try:
        yield
    finally:
        hook.remove()
