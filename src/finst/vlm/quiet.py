"""Silence of transformers while it reads, and of its errors: finst says in one message what was wrong."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as hf_logging

_LONGEST = 300
"""Characters of another library's message that are repeated."""


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers and its hub client print no progress bars, log lines or warnings; finst raises its own
    errors."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hub_verbosity, hub_bars = hub_logging.get_verbosity(), not are_progress_bars_disabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if bars:
            hf_logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()


def cause(error: BaseException) -> str:
    """The kind and message of another library's error, on one line and not longer than a few."""
    text = " ".join(str(error).split())
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f"{type(error).__name__}: {short}" if short else type(error).__name__
