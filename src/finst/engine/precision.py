"""In which arithmetic a model runs: what its number format says, whatever the process's settings are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from finst.vlm.open import VLM

_TF32_MASK = -(1 << 13)
"""TF32 keeps 10 of float32's 23 mantissa bits."""


@contextmanager
def arithmetic(vlm: VLM) -> Iterator[None]:
    """Everything inside is computed in the model's own number format.

    float64: throughout; normalisation layers of transformers work in float32 whatever the model's dtype, which would
    leave float64 runs with float32 noise. float32: no TF32, which torch allows in convolutions unless told otherwise,
    and in matrix products when told so. ``tf32x3``: float32, with the products of linear layers by ``split_linear``. The
    first and the last hold for the current thread only.
    """
    with ExitStack() as stack:
        if vlm.dtype == torch.float64:
            stack.enter_context(_StayDouble())
        if vlm.dtype == torch.float32:
            stack.enter_context(_without_tf32())
        if vlm.split_products:
            stack.enter_context(_SplitProducts())
        yield


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which scores and logits are computed for a model of ``dtype``."""
    return torch.promote_types(dtype, torch.float32)


class _StayDouble(TorchFunctionMode):
    """Leaves float64 tensors as they are where code asks for float32."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.float or (func is Tensor.to and torch.float32 in (*args[1:], kwargs.get("dtype"))):
            tensor = args[0]
            if tensor.dtype == torch.float64:
                return tensor
        return func(*args, **kwargs)


class _SplitProducts(TorchFunctionMode):
    """Sends the float32 products of linear layers to ``split_linear``, which has no gradient, unless one is wanted."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is functional.linear and args[0].dtype == torch.float32 and not torch.is_grad_enabled():
            return split_linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def split_linear(
    input: Float[Tensor, "*batch inner"],  # noqa: A002  (as torch.nn.functional.linear names it)
    weight: Float[Tensor, "outer inner"],
    bias: Float[Tensor, "outer"] | None = None,
) -> Float[Tensor, "*batch outer"]:
    """A linear layer by three TF32 products of float32's precision, several times faster on tensor cores.

    With x = x_hi + x_lo and w = w_hi + w_lo, the high parts exact in TF32, x w = x_hi w_hi + x_hi w_lo + x_lo w_hi, up to
    x_lo w_lo (2^-22 of the product) and the rounding of the low parts (as small). On the CPU the products are float32's.
    """
    x_hi, x_lo = _halves(input.reshape(-1, input.shape[-1]))
    w_hi, w_lo = _halves(weight)
    with _tf32_products():
        out = torch.mm(x_lo, w_hi.mT)
        out.addmm_(x_hi, w_lo.mT).addmm_(x_hi, w_hi.mT)
    if bias is not None:
        out += bias
    return out.view(*input.shape[:-1], len(weight))


def _halves(x: Float[Tensor, "row col"]) -> tuple[Float[Tensor, "row col"], Float[Tensor, "row col"]]:
    """The part of float32 numbers that TF32 holds exactly, and the rest."""
    high = (x.contiguous().view(torch.int32) & _TF32_MASK).view(torch.float32)
    return high, x - high


@contextmanager
def _tf32_products() -> Iterator[None]:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        matmul.fp32_precision = before


class _SharedSetting:
    """Float32 products without TF32, for as long as anybody wants them: the setting is the process's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: tuple[str, str] = ("", "")

    def enter(self) -> None:
        """The first to come notes what to restore."""
        with self._lock:
            if not self._users:
                self._before = (torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision)
                _set_fp32_precision("ieee", "ieee")
            self._users += 1

    def leave(self) -> None:
        """The last to leave restores it."""
        with self._lock:
            self._users -= 1
            if not self._users:
                _set_fp32_precision(*self._before)


def _set_fp32_precision(matmul: str, convolution: str) -> None:
    torch.backends.cuda.matmul.fp32_precision = matmul
    torch.backends.cudnn.conv.fp32_precision = convolution


_ieee = _SharedSetting()


@contextmanager
def _without_tf32() -> Iterator[None]:
    _ieee.enter()
    try:
        yield
    finally:
        _ieee.leave()
