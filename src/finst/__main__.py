"""``python -m finst`` is ``finst``."""

from __future__ import annotations

import sys

from finst.cli.main import main

sys.exit(main())
