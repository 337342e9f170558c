"""The type checker of the test run: beartype; it accepts an int for a float, as PEP 484 and pyright do."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
