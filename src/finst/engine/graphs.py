"""Repeated calls as CUDA graphs, which run without Python.

A walk through a large model launches thousands of small kernels, and launching them from Python takes longer than
running them. The second call of a function with a state of the same structure (everything but the contents of its
tensors) is captured as a CUDA graph; from the third call on the graph is replayed on the new contents.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from finst.engine.memory import free

StateT = TypeVar("StateT")
ResultT = TypeVar("ResultT")

_DEVICE = "cuda"
_COLLECTING = "transformers.utils.output_capturing"
_SPARE = 8
"""A graph is captured only if this many graphs of its size would fit into free memory."""
_KEPT = 4
"""Graphs kept per model, each with the memory of its walk; the least recently used one is dropped first."""


@dataclass(frozen=True, eq=False)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    result: Any
    outputs: dict[int, Tensor]
    """The tensors in ``result``."""


@dataclass(eq=False)
class _Graphs:
    """The graphs of one model. Replays share their inputs and memory, so one thread at a time may use them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    known: OrderedDict[Hashable, _Captured | Literal["ran", "unfit"]] = field(default_factory=OrderedDict)
    """By structure: the graph, ``ran`` after one call, or ``unfit`` for calls that no graph can replace."""
    pool: Any = None


_graphs: WeakKeyDictionary[nn.Module, _Graphs] = WeakKeyDictionary()
_lock = threading.Lock()


def replayed(
    model: nn.Module,
    function: Callable[[StateT], ResultT],
    state: StateT,
    memory: int,
    fits: Callable[[ResultT], bool] = lambda _: True,
) -> ResultT:
    """``function(state)``, replayed as a graph if it ran before on a state of the same structure.

    State and result nest dataclasses, tuples, lists and mappings of tensors, numpy arrays and plain values;
    ``function`` must take every tensor but the model's weights from its state, and only read them. ``memory`` is the
    number of bytes that the call needs and that a graph keeps; ``fits`` decides by the first result whether a graph can
    give such results. Without CUDA, on several devices, while hooks of other code are on the model's modules (a graph
    would skip them), when memory is short, and when the capture fails, the function is called as usual.
    """
    device = next(model.parameters()).device
    if device.type != _DEVICE or _hooked(model):
        return function(state)
    tensors: dict[int, Tensor] = {}
    try:
        key = (_name(function), _weights(model), _structure(state, tensors))
        hash(key)
    except TypeError:  # the state holds something that cannot be hashed
        return function(state)
    with _lock:
        graphs = _graphs.setdefault(model, _Graphs())
    with graphs.lock:
        known = graphs.known.get(key)
        if known == "ran" and _SPARE * memory <= free(device):
            known = graphs.known[key] = _capture(graphs, function, state, tensors)
            _forget_oldest(graphs)
        if not isinstance(known, _Captured):
            result = function(state)
            graphs.known.setdefault(key, "ran" if fits(result) else "unfit")
            return result
        graphs.known.move_to_end(key)
        torch._foreach_copy_(known.inputs, list(tensors.values()))  # pyright: ignore[reportPrivateImportUsage]
        known.graph.replay()
        return _with_tensors(known.result, {name: tensor.clone() for name, tensor in known.outputs.items()})


def forget(model: nn.Module) -> None:
    """Drops a model's graphs and frees their memory."""
    with _lock:
        _graphs.pop(model, None)


def _forget_oldest(graphs: _Graphs) -> None:
    captured = [key for key, value in graphs.known.items() if isinstance(value, _Captured)]
    for key in captured[:-_KEPT]:
        del graphs.known[key]
    while len(graphs.known) > 16 * _KEPT:
        graphs.known.popitem(last=False)


def _capture(
    graphs: _Graphs, function: Callable[[StateT], object], state: StateT, tensors: Mapping[int, Tensor]
) -> _Captured | Literal["unfit"]:
    copies, stream = {name: tensor.clone() for name, tensor in tensors.items()}, torch.cuda.current_stream()
    graphs.pool = graphs.pool or torch.cuda.graph_pool_handle()
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    try:
        with torch.cuda.graph(graph, pool=graphs.pool, capture_error_mode="thread_local"):
            result = function(_with_tensors(state, copies))
    except RuntimeError:  # the function waits for the GPU, or memory ran out
        _give_up(graphs, stream)
        return "unfit"
    outputs: dict[int, Tensor] = {}
    _structure(result, outputs)
    return _Captured(graph, list(copies.values()), result, outputs)


def _give_up(graphs: _Graphs, stream: torch.cuda.Stream) -> None:
    """Restores torch's state after a failed capture, which torch does not do itself.

    torch would stay on the capture's stream, and its allocator would free no cached memory before the capture ends. Its
    random number generator would wait for that too; the end of another capture releases it.
    """
    torch.cuda.set_stream(stream)
    torch.cuda.synchronize()
    with suppress(AttributeError, RuntimeError):  # versions without this call, and versions that make it themselves
        torch._C._cuda_endAllocateToPool(stream.device.index, graphs.pool)
    graphs.pool = None
    with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
        torch.zeros(1, device=stream.device)


def _name(function: Callable[..., object]) -> str:
    while isinstance(function, partial):
        function = function.func
    return f"{function.__module__}.{function.__qualname__}"


def _hooked(model: nn.Module) -> bool:
    """Whether other code has hooks on the model, such as accelerate's where layers are on several devices.

    transformers' own hooks, which stay once they are registered, do not count: they only collect outputs.
    """
    return any(
        hasattr(module, "_hf_hook")
        or any(
            getattr(hook, "__module__", None) != _COLLECTING
            for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        )
        for module in model.modules()
    )


def _weights(model: nn.Module) -> int:
    """A hash of the weights' addresses, which a graph holds: it changes when weights move."""
    return hash(tuple(parameter.data_ptr() for parameter in model.parameters()))


def _structure(state: Any, tensors: dict[int, Tensor]) -> Hashable:
    """Everything about ``state`` except its tensors' contents; adds each tensor to ``tensors`` once."""
    if isinstance(state, Tensor):
        if state.device.type != _DEVICE:
            raise TypeError("tensors off the device cannot be inputs of a graph")
        place = list(tensors).index(id(state)) if id(state) in tensors else len(tensors)
        tensors[id(state)] = state
        return ("tensor", place, tuple(state.shape), state.stride(), state.dtype, state.device)
    if isinstance(state, np.ndarray):
        return ("array", state.shape, state.dtype.str, state.tobytes())
    if isinstance(state, slice):
        return ("slice", state.start, state.stop, state.step)
    if isinstance(state, tuple | list):
        return (type(state), *(_structure(part, tensors) for part in state))
    if isinstance(state, Mapping):
        return ("mapping", *((key, _structure(value, tensors)) for key, value in state.items()))
    if is_dataclass(state):
        return (type(state), *(_structure(getattr(state, part.name), tensors) for part in fields(state)))
    return state


def _with_tensors(state: Any, copies: Mapping[int, Tensor]) -> Any:
    """``state`` with each tensor replaced by its copy."""
    if isinstance(state, Tensor):
        return copies[id(state)]
    if isinstance(state, tuple | list):
        return type(state)(_with_tensors(part, copies) for part in state)
    if isinstance(state, Mapping):
        return {key: _with_tensors(value, copies) for key, value in state.items()}
    if is_dataclass(state) and not isinstance(state, type):
        return replace(state, **{part.name: _with_tensors(getattr(state, part.name), copies) for part in fields(state)})
    return state
