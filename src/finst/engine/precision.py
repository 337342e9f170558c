"""Double precision all the way, for runs that must tell rounding from error."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _StayDouble(TorchFunctionMode):
    """Leaves float64 tensors as they are where code asks for float32."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.float or (func is Tensor.to and torch.float32 in (*args[1:], kwargs.get("dtype"))):
            tensor = args[0]
            if tensor.dtype == torch.float64:
                return tensor
        return func(*args, **kwargs)


def full_precision(dtype: torch.dtype) -> AbstractContextManager[Any]:
    """A context in which a float64 model computes in float64 throughout.

    Normalisation layers of transformers work in float32 whatever the model's dtype, which would leave fp64 runs with
    fp32 noise. The context holds for the current thread only and changes nothing for other dtypes.
    """
    return _StayDouble() if dtype == torch.float64 else nullcontext()


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which scores and logits are computed for a model of ``dtype``."""
    return torch.promote_types(dtype, torch.float32)
