"""The arithmetic that a model runs in: that of its number format, whatever the process's settings."""

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

    float64: throughout. (transformers' normalisation layers use float32 whatever the model's dtype, which would leave
    float64 runs with float32 noise.) float32: without TF32, which torch allows in convolutions by default and in matrix
    products by a setting. ``bf16x3`` and ``bf16x6``: float32, with ``split_linear`` for linear layers. The settings
    for float64, ``bf16x3`` and ``bf16x6`` are those of the current thread only.
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
    """Leaves float64 tensors unchanged where code converts to float32."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.float or (func is Tensor.to and torch.float32 in (*args[1:], kwargs.get("dtype"))):
            tensor = args[0]
            if tensor.dtype == torch.float64:
                return tensor
        return func(*args, **kwargs)


class _SplitProducts(TorchFunctionMode):
    """Replaces float32 linear layers by ``split_linear``, which has no gradient, while gradients are off."""

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
    """A float32 linear layer by products of bfloat16 parts, which tensor cores multiply exactly and add in float32.

    Every number is split into ``parts`` bfloat16 numbers whose sum it is (up to a relative error of 2^-17 for 2 parts,
    exactly for 3). All products of parts i and j with i + j < ``parts`` are taken, 3 or 6 of them, side by side in one
    matrix product.
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
    """A linear layer with bfloat16 weights and float32 input: exact products, added in float32, weights read once.

    Each input is the sum of three bfloat16 numbers, which are stacked as rows.
    """
    parts = split_side_by_side(x, [0, 1, 2]).view(3 * len(x), -1)  # [row, part] as rows
    product = torch.mm(parts, weight.mT, out_dtype=torch.float32) if x.is_cuda else parts.float() @ weight.float().mT
    whole = product.view(len(x), 3, -1).sum(1)
    return whole if bias is None else whole + bias


def split_side_by_side(x: Float[Tensor, "row col"], order: list[int]) -> Float[Tensor, "row cols"]:
    """Bfloat16 parts of float32 numbers (part 0 is the largest), one block of columns for each entry of ``order``."""
    parts, rest = [], x
    for _ in range(max(order) + 1):
        # The upper half of the bits of a float32, rounded, is a bfloat16.
        part = ((rest.contiguous().view(torch.int32) + _HALF_A_STEP) & _UPPER_HALF).view(torch.float32)
        parts.append(part.bfloat16())
        rest = rest - part
    return torch.cat([parts[index] for index in order], dim=1)


def _splitter(device: torch.device) -> Callable[[Tensor, list[int]], Tensor]:
    """One fused kernel on GPUs: weights are split in every call, and memory traffic is what takes the time there."""
    if device.type == "cuda" and find_spec("triton") is not None:
        return import_module("finst.engine.split_kernel").split_side_by_side
    return split_side_by_side


class _SharedSetting:
    """Float32 products without TF32 while any user is inside; the setting belongs to the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: tuple[str, str] = ("", "")

    def enter(self) -> None:
        """The first user stores the setting and changes it."""
        with self._lock:
            if not self._users:
                self._before = (str(torch.backends.cuda.matmul.fp32_precision), _convolutions().fp32_precision)
                _set_fp32_precision("ieee", "ieee")
            self._users += 1

    def leave(self) -> None:
        """The last user restores the setting."""
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
