"""A simulated second device: CPU tensors that report it as theirs, and raise when mixed with those of the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

HERE = torch.device("cpu")
THERE = torch.device("cpu", 1)
"""A device that torch can name but cannot place tensors on."""

_INDEXING = (Tensor.__getitem__, Tensor.__setitem__, Tensor.index_put_)
_COPYING = (Tensor.copy_,)


class Elsewhere(TorchFunctionMode):
    """Inside, tensors can be moved to ``THERE``; an operation on tensors of both devices fails, as on two GPUs.

    As with GPUs, copies, single numbers of the CPU and indices of the CPU are allowed. Values are computed on the CPU.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == Tensor.device.__get__:  # pyright: ignore[reportAttributeAccessIssue]
            return place(args[0])
        if func is torch.device:
            return func(*args, **kwargs)
        if func is torch.autograd.grad:
            inputs = (args[1],) if isinstance(args[1], Tensor) else args[1]
            gradients = func(*args, **kwargs)
            return tuple(put(gradient, place(x)) for gradient, x in zip(gradients, inputs, strict=True))
        named = [part for part in (*args, *kwargs.values()) if isinstance(part, torch.device)]
        args = tuple(HERE if isinstance(part, torch.device) else part for part in args)
        kwargs = {name: HERE if isinstance(part, torch.device) else part for name, part in kwargs.items()}
        if named:
            return put(func(*args, **kwargs), named[0], self_of=args)
        if func is Tensor.to and len(args) > 1 and isinstance(args[1], Tensor):
            return put(func(*args, **kwargs), place(args[1]), self_of=args)
        device = _common(func, args, kwargs)
        return put(func(*args, **kwargs), device)


def place(tensor: Tensor) -> torch.device:
    """The device that a tensor reports."""
    return getattr(tensor, "elsewhere", HERE)


def put(result: Any, device: torch.device, self_of: tuple = ()) -> Any:
    """Marks all tensors in a result as on ``device``; arguments in it that were on another device are copied first."""
    if isinstance(result, tuple | list):
        parts = [put(part, device, self_of) for part in result]
        return type(result)(parts) if type(result) in (tuple, list) else type(result)(tuple(parts))
    if isinstance(result, Tensor) and place(result) != device:
        if any(result is argument for argument in self_of):
            result = result.detach().clone() if not result.requires_grad else result.clone()
        result.elsewhere = device  # pyright: ignore[reportAttributeAccessIssue]
    return result


def _common(func: Callable, args: tuple, kwargs: dict) -> torch.device:
    tensors = list(_tensors((args, kwargs)))
    if not tensors:
        return HERE
    if func in _INDEXING:
        written = None if func is Tensor.__getitem__ else args[-1]
        tensors = [tensor for tensor in tensors if tensor is args[0] or tensor is written or place(tensor) != HERE]
    plain = func is Tensor.__setitem__ and not any(isinstance(part, Tensor | list) for part in _parts(args[1]))
    if func in _COPYING or plain:
        return place(args[0])
    devices = {place(tensor) for tensor in tensors if tensor.dim() or place(tensor) != HERE}
    if len(devices) > 1:
        raise RuntimeError(f"{getattr(func, '__name__', func)}: tensors on two devices")
    return next(iter(devices), HERE)


def _parts(index: Any) -> tuple:
    return index if isinstance(index, tuple) else (index,)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
