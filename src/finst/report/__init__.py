"""What all reports share. Figures are drawn without a display, so no backend of matplotlib is needed.

Importing matplotlib fails where the environment variable MPLBACKEND names a backend that is not installed, as in the
commands that a notebook starts. Then it is imported without the variable.
"""

from __future__ import annotations

import os

try:
    import matplotlib as matplotlib
except ValueError:
    named = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as matplotlib
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
