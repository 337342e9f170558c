"""What runs in a process that was started to measure. It prepares its surroundings before it imports anything heavy."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.process import parent_process


def serve(connection: Connection, environment: Mapping[str, str]) -> None:
    """Says that it is ready, then answers every job and every index of a unit, until the process at the other end ends.

    Answers are those of ``finst.runs.backends.messages``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; ours decides
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    messages = import_module("finst.runs.backends.messages")
    measurer = import_module("finst.runs.backends.measurer").Measurer()
    connection.send(messages.Ready(0))
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        does = measurer.begin if isinstance(asked, messages.Job) else measurer.measure
        connection.send(messages.answered(partial(does, asked)))


def _end_with_parent() -> None:
    """Ends this process, in the middle of a unit too, when the one that started it has ended."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
