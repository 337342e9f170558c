"""finst: find, measure and edit the visual indexes by which vision-language models bind features to objects.

The names that most work needs are here (``dir(finst)``); they are defined in ``__init__.pyi``, once, and loaded when
they are first used, so that ``import finst`` costs nothing.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'finst' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return _load(name)


try:
    __version__ = version("finst")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "not installed"
