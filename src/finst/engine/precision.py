"""In which arithmetic a model runs: what its number format says, whatever the process's settings are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from finst.vlm.open import VLM

_UPPER_HALF = -(1 << 16)
_HALF_A_STEP = 1 << 15


@contextmanager
def arithmetic(vlm: VLM) -> Iterator[None]:
    """Everything inside is computed in the model's own number format.

    float64: throughout; normalisation layers of transformers work in float32 whatever the model's dtype, which would
    leave float64 runs with float32 noise. float32: no TF32, which torch allows in convolutions unless told otherwise,
    and in matrix products when told so. ``bf16x3`` and ``bf16x6``: float32, with the products of linear layers by
    ``split_linear``. The first and the last hold for the current thread only.
    """
    with ExitStack() as stack:
        if vlm.dtype == torch.float64:
            stack.enter_context(_StayDouble())
        if vlm.dtype == torch.float32:
            stack.enter_context(_without_tf32())
        if vlm.parts:
            stack.enter_context(_SplitProducts(vlm.parts))
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

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is functional.linear and args[0].dtype == torch.float32 and not torch.is_grad_enabled():
            return split_linear(*args, **(kwargs or {}), parts=self.parts)
        return func(*args, **(kwargs or {}))


def split_linear(
    input: Float[Tensor, "*batch inner"],
    weight: Float[Tensor, "outer inner"],
    bias: Float[Tensor, "outer"] | None = None,
    *,
    parts: int,
) -> Float[Tensor, "*batch outer"]:
    """A linear layer in float32 by products of bfloat16 parts, which tensor cores multiply exactly and add in float32.

    Every number is the sum of ``parts`` bfloat16 numbers (up to 2^-17 of it for 2 parts, exact for 3). All products of
    parts i and j with i + j < ``parts`` are taken, 3 or 6 of them, side by side in one matrix product.
    """
    rows = input.reshape(-1, input.shape[-1])
    pairs = [(i, total - i) for total in reversed(range(parts)) for i in range(total + 1)]
    split = _splitter(input.device)
    left = split(rows, [i for i, _ in pairs])
    right = split(weight, [j for _, j in pairs]).mT
    product = torch.mm(left, right, out_dtype=torch.float32) if input.is_cuda else left.float() @ right.float()
    if bias is not None:
        product += bias
    return product.view(*input.shape[:-1], len(weight))


def linear_by_parts(
    x: Float[Tensor, "row inner"], weight: Float[Tensor, "outer inner"], bias: Float[Tensor, "outer"] | None
) -> Float[Tensor, "row outer"]:
    """A linear layer with bfloat16 weights on float32 numbers, exact products added in float32, weights read once.

    Each number is the sum of three bfloat16 numbers, which stand one below the other.
    """
    parts = split_side_by_side(x, [0, 1, 2]).view(3 * len(x), -1)  # [row, part] as rows
    product = torch.mm(parts, weight.mT, out_dtype=torch.float32) if x.is_cuda else parts.float() @ weight.float().mT
    whole = product.view(len(x), 3, -1).sum(1)
    return whole if bias is None else whole + bias


def split_side_by_side(x: Float[Tensor, "row col"], order: list[int]) -> Float[Tensor, "row cols"]:
    """Bfloat16 parts of float32 numbers, the largest being part 0, one block of columns for each entry of ``order``."""
    parts, rest = [], x
    for _ in range(max(order) + 1):
        # The upper half of a float32's bits, rounded, is a bfloat16.
        part = ((rest.contiguous().view(torch.int32) + _HALF_A_STEP) & _UPPER_HALF).view(torch.float32)
        parts.append(part.bfloat16())
        rest = rest - part
    return torch.cat([parts[index] for index in order], dim=1)


def _splitter(device: torch.device) -> Callable[[Tensor, list[int]], Tensor]:
    """One kernel for GPUs: weights are split anew in every call, and there memory is what takes the time."""
    if device.type == "cuda" and find_spec("triton") is not None:
        return import_module("finst.engine.split_kernel").split_side_by_side
    return split_side_by_side


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
                self._before = (str(torch.backends.cuda.matmul.fp32_precision), _convolutions().fp32_precision)
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
    _convolutions().fp32_precision = convolution


def _convolutions() -> Any:
    backend: Any = torch.backends.cudnn
    return backend.conv


_ieee = _SharedSetting()


@contextmanager
def _without_tf32() -> Iterator[None]:
    _ieee.enter()
    try:
        yield
    finally:
        _ieee.leave()
