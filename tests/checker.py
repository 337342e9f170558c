"""The type checker of the test run: beartype; it accepts an int for a float, as PEP 484 and pyright do.

jaxtyping wraps every function so that axes of one name have one size in a call, which takes 60 µs a call and two
compilations a definition: half of the suite's time. Only functions that name an array's shape need that; all others
are checked by beartype alone, and those defined within functions, again at every call, by pyright alone.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))

_jaxtyped: Callable[..., Any] = jaxtyping.jaxtyped

_NAME = re.compile(r"[A-Za-z_]\w*")


def shaped(annotations: dict[str, Any], names: dict[str, Any]) -> bool:
    """Whether one of the annotations, texts or types, has a shape of jaxtyping; ``names`` are those of its module."""
    return any(
        "jaxtyping" in repr(value) or "jaxtyping" in getattr(value, "__module__", "")
        for annotation in annotations.values()
        for value in (
            [names.get(name) for name in _NAME.findall(annotation)] if isinstance(annotation, str) else [annotation]
        )
    )


def jaxtyped(fn: Any = None, *, typechecker: Any) -> Any:
    """As ``jaxtyping.jaxtyped``, and faster where no shape is named."""
    if fn is None:
        return lambda found: jaxtyped(found, typechecker=typechecker)
    if inspect.isclass(fn):
        inherited = any(is_dataclass(base) for base in fn.__mro__[1:])
        if not is_dataclass(fn) or inherited or shaped(fn.__init__.__annotations__, vars(sys.modules[fn.__module__])):
            return _jaxtyped(fn, typechecker=typechecker)
        if "__init__" in vars(fn):
            fn.__init__ = checked(fn.__init__)
        return fn
    plain: Any = (
        fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn.fget if isinstance(fn, property) else fn
    )
    if shaped(plain.__annotations__, plain.__globals__):
        return _jaxtyped(fn, typechecker=typechecker)
    return fn if "<locals>" in plain.__qualname__ else checked(fn)


jaxtyping.jaxtyped = jaxtyped
