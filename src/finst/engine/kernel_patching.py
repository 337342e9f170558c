"""Norms, gates and rotary embeddings of transformers' layers as fused kernels, on GPUs, while the engine runs a model.

In transformers each is a chain of operations, and each operation is a pass over memory; together they take as long as
the matrix products. ``_prepare`` looks for parts that a kernel may replace: the ``forward`` of a class, or a function
of the class's Python module. It runs both on random numbers and wraps the original if the results agree, once a
process. A part that computes something else (Gemma's norms multiply by 1 + weight) stays as it is. A wrapped function
calls the original unless its thread is inside ``fused``, so models that other code runs do not change.
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
"""Number formats that the kernels take."""

Kernel = Callable[..., Any]
"""Same arguments and result as the original; None for arguments that the kernel does not take."""

_thread = threading.local()
_lock = threading.Lock()
_prepared: WeakSet[nn.Module] = WeakSet()
"""Models whose parts have been searched."""
_compared: set[tuple[Any, str]] = set()
"""Compared originals: the class or Python module, and the name in it."""


@cache
def kernels() -> Any:
    """The module ``finst.engine.kernels``; None without a GPU or triton."""
    available = torch.cuda.is_available() and find_spec("triton") is not None
    return import_module("finst.engine.kernels") if available else None


def fusing(*tensors: Tensor) -> bool:
    """Whether kernels may take these tensors now: inside ``fused``, on the current GPU, and with no gradient needed."""
    inside = getattr(_thread, "depth", 0) > 0 and not torch.is_grad_enabled()
    return inside and all(x.is_cuda and x.dtype in FORMATS and current(x.device) for x in tensors)


def current(device: torch.device) -> bool:
    """Whether kernels are launched on this GPU: when several share a model, only one is current at a time."""
    return device.index == torch.cuda.current_device()


@contextmanager
def fused(vlm: VLM) -> Iterator[None]:
    """Inside, this thread's calls use the fused kernels for those parts of the model that have one (GPUs only)."""
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
        modules = {type(module): module for module in vlm.model.modules()}
        for kind, module in modules.items():
            kernel, width = _kernel_of(module)
            if kernel is not None:
                x = _numbers(vlm, 3, width)
                _offer(kind, "forward", kernel, (module, x))
        for source in {sys.modules[kind.__module__] for kind in modules}:
            for name, kernel, heads, turns in _FUNCTIONS:
                if hasattr(source, name):
                    _offer(source, name, kernel, tuple(_numbers(vlm, *size) for size in (heads, heads, turns, turns)))
        _prepared.add(vlm.model)


def _numbers(vlm: VLM, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(vlm.device, vlm.dtype)


def _offer(owner: Any, name: str, kernel: Kernel, arguments: tuple[Any, ...]) -> None:
    """Wraps ``owner.name`` if the kernel returns the same for the arguments."""
    if (owner, name) in _compared:
        return
    _compared.add((owner, name))
    original = getattr(owner, name)
    try:
        expected, computed = original(*arguments), kernel(*arguments)
    except (TypeError, RuntimeError):  # the original has the name but other arguments
        return
    if computed is not None and _alike(expected, computed):
        setattr(owner, name, _either(original, kernel, len(arguments)))


def _alike(expected: Any, computed: Any) -> bool:
    """Whether the results are equal up to the rounding of a few operations."""
    if isinstance(expected, tuple):
        return all(_alike(*pair) for pair in zip(expected, computed, strict=True))
    most = 8 * torch.finfo(expected.dtype).eps * expected.abs().max()
    return expected.dtype == computed.dtype and bool(((expected - computed).abs() <= most).all())


def _either(original: Callable[..., Any], kernel: Kernel, count: int) -> Callable[..., Any]:
    """Takes the kernel for calls like the compared one: ``count`` positional arguments, no keyword arguments."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        alike = getattr(_thread, "depth", 0) and len(args) == count and not kwargs
        result = kernel(*args) if alike else None
        return original(*args, **kwargs) if result is None else result

    return call


def _kernel_of(module: Any) -> tuple[Kernel | None, int]:
    """The kernel that may replace the ``forward`` of the module's class, and the width of its input."""
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
    """Rotary embedding of [context, head, pos, d_head], transformers' default order."""
    suits = cos.dim() == 3 and q.dim() == 4 and cos.dtype == q.dtype and cos.shape[-1] == q.shape[-1]
    if not suits or not fusing(q, k, cos):
        return None
    return kernels().rotary(q, cos, sin), kernels().rotary(k, cos, sin)


def _vision_rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor] | None:
    """Rotary embedding of [pos, head, d_head], computed in float32 whatever the dtype."""
    if q.dim() != 3 or cos.dim() != 2 or cos.shape[-1] != q.shape[-1] or not fusing(q, k, cos):
        return None
    turned = [kernels().rotary(x.transpose(0, 1)[None], cos.float()[None], sin.float()[None]) for x in (q, k)]
    return turned[0][0].transpose(0, 1), turned[1][0].transpose(0, 1)


_FUNCTIONS: tuple[tuple[str, Kernel, tuple[int, ...], tuple[int, ...]], ...] = (
    ("apply_rotary_pos_emb", _rotary, (1, 4, 3, 16), (1, 3, 16)),
    ("apply_rotary_pos_emb_vision", _vision_rotary, (3, 4, 20), (3, 20)),
)
"""transformers' function names, their kernels, and the shapes to compare with: of q and k, and of cos and sin."""
