"""Norms, gates and rotary positions of transformers' layers as single kernels, on GPUs, while the engine runs a model.

In transformers each is a chain of operations, every one a pass over memory; together they take as long as the matrix
products between them. What a kernel can do is found by how it is built: a class's ``forward`` or a function of its
module of Python. Both are run on random numbers, and if they agree the original is wrapped, once a process. One that
computes anything else (Gemma's norms multiply by 1 + weight) stays as it is. A wrapped call goes on to the original
unless its thread is inside ``fused``: models that others run are what they were.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from finst.vlm.open import VLM

FORMATS = (torch.bfloat16, torch.float16, torch.float32)
"""Of numbers that kernels take."""

Kernel = Callable[..., Any]
"""Takes what the original takes, and returns what it returns, or None for what no kernel is for."""

_thread = threading.local()
_lock = threading.Lock()
_prepared: WeakSet[nn.Module] = WeakSet()
"""Models whose parts have been looked at."""
_compared: set[tuple[Any, str]] = set()
"""Classes and modules of Python, with the name in them that has been compared."""


@cache
def kernels() -> Any:
    """The module of that name; None where there is no GPU or no triton."""
    there = torch.cuda.is_available() and find_spec("triton") is not None
    return import_module("finst.engine.kernels") if there else None


def fusing(*tensors: Tensor) -> bool:
    """Whether kernels, which have no gradient and run on the current GPU, may take these tensors here and now."""
    inside = getattr(_thread, "depth", 0) > 0 and not torch.is_grad_enabled()
    return inside and all(x.is_cuda and x.dtype in FORMATS and current(x.device) for x in tensors)


def current(device: torch.device) -> bool:
    """Whether a GPU is the one that kernels are launched on: of several that share a model, one at a time is."""
    return device.index == torch.cuda.current_device()


@contextmanager
def fused(vlm: VLM) -> Iterator[None]:
    """Inside, calls of this thread use kernels for those parts of models on GPUs that have any."""
    if vlm.device.type != "cuda" or vlm.dtype not in FORMATS or kernels() is None:
        yield
        return
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        _prepare(vlm)
        yield
    finally:
        _thread.depth -= 1


def _prepare(vlm: VLM) -> None:
    with _lock:
        if vlm.model in _prepared:
            return
        of_kind = {type(module): module for module in vlm.model.modules()}
        for kind, module in of_kind.items():
            kernel, width = _kernel_of(module)
            if kernel is not None:
                x = _numbers(vlm, 3, width)
                _offer(kind, "forward", kernel, (module, x))
        for written in {sys.modules[kind.__module__] for kind in of_kind}:
            for name, kernel, heads, turns in _FUNCTIONS:
                if hasattr(written, name):
                    _offer(written, name, kernel, tuple(_numbers(vlm, *size) for size in (heads, heads, turns, turns)))
        _prepared.add(vlm.model)


def _numbers(vlm: VLM, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(vlm.device, vlm.dtype)


def _offer(owner: Any, name: str, kernel: Kernel, arguments: tuple[Any, ...]) -> None:
    """Wraps ``owner.name`` if the kernel does the same with the arguments."""
    if (owner, name) in _compared:
        return
    _compared.add((owner, name))
    original = getattr(owner, name)
    try:
        expected, given = original(*arguments), kernel(*arguments)
    except (TypeError, RuntimeError):  # built otherwise than its name tells
        return
    if given is not None and _alike(expected, given):
        setattr(owner, name, _either(original, kernel, len(arguments)))


def _alike(expected: Any, given: Any) -> bool:
    """Up to the rounding of some operations."""
    if isinstance(expected, tuple):
        return all(_alike(*pair) for pair in zip(expected, given, strict=True))
    most = 8 * torch.finfo(expected.dtype).eps * expected.abs().max()
    return expected.dtype == given.dtype and bool(((expected - given).abs() <= most).all())


def _either(original: Callable[..., Any], kernel: Kernel, count: int) -> Callable[..., Any]:
    """The kernel for calls like the one that was compared, with ``count`` arguments and none by name."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        alike = getattr(_thread, "depth", 0) and len(args) == count and not kwargs
        done = kernel(*args) if alike else None
        return original(*args, **kwargs) if done is None else done

    return call


def _kernel_of(module: Any) -> tuple[Kernel | None, int]:
    """What may take the place of the ``forward`` of its class, and the width of what it takes."""
    name = type(module).__name__
    if name.endswith("RMSNorm") and isinstance(getattr(module, "weight", None), Tensor):
        return _rms_norm, module.weight.shape[-1]
    if name == "QuickGELUActivation":
        return _quick_gelu, 64
    gated = all(hasattr(module, part) for part in ("gate_proj", "up_proj", "down_proj", "act_fn"))
    if gated and type(module.act_fn).__name__.startswith("SiLU"):
        return _gated, module.gate_proj.in_features
    return None, 0


def _rms_norm(module: Any, x: Tensor) -> Tensor | None:
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if eps is None or module.weight.dtype != x.dtype or not fusing(x):
        return None
    return kernels().rms_norm(x, module.weight, eps)


def _gated(module: Any, x: Tensor) -> Tensor | None:
    if not fusing(x):
        return None
    return module.down_proj(kernels().silu_times(module.gate_proj(x), module.up_proj(x)))


def _quick_gelu(_: nn.Module, x: Tensor) -> Tensor | None:
    return kernels().quick_gelu(x) if fusing(x) and x.is_contiguous() else None


def _rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor] | None:
    """Heads in the second axis, as transformers has them unless told otherwise."""
    suits = cos.dim() == 3 and q.dim() == 4 and cos.dtype == q.dtype and cos.shape[-1] == q.shape[-1]
    if not suits or not fusing(q, k, cos):
        return None
    return kernels().rotary(q, cos, sin), kernels().rotary(k, cos, sin)


def _vision_rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor] | None:
    """Positions first, then heads; in float32 whatever the format."""
    if q.dim() != 3 or cos.dim() != 2 or cos.shape[-1] != q.shape[-1] or not fusing(q, k, cos):
        return None
    turned = [kernels().rotary(x.transpose(0, 1)[None], cos.float()[None], sin.float()[None]) for x in (q, k)]
    return turned[0][0].transpose(0, 1), turned[1][0].transpose(0, 1)


_FUNCTIONS: tuple[tuple[str, Kernel, tuple[int, ...], tuple[int, ...]], ...] = (
    ("apply_rotary_pos_emb", _rotary, (1, 4, 3, 16), (1, 3, 16)),
    ("apply_rotary_pos_emb_vision", _vision_rotary, (3, 4, 20), (3, 20)),
)
"""transformers' names, the kernels, and sizes to compare with: of what is turned, and of the cosines."""
