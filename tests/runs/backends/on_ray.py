"""A run on a Ray cluster of this machine: ``python -m tests.runs.backends.on_ray MODEL OUT [kill]``.

A process of its own, since Ray opens sockets, which tests may not.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
import torch

from finst.runs.backends.open_backend import backend
from finst.runs.executor import run
from tests.runs.backends.toys import Slow
from tests.runs.toy import Toy, ToySpec


def start_cluster(attempts: int = 5) -> None:
    """Two cores of this machine; Ray gives itself 30 s to start, which a busy machine may exceed."""
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    for left in reversed(range(attempts)):
        try:
            ray.init("local", num_cpus=2, _node_ip_address="127.0.0.1", **options)
            return
        except Exception:
            ray.shutdown()
            if not left:
                raise


def kill_one(pids: Path) -> None:
    """Kills the first worker that has begun a unit."""
    while not [*pids.iterdir()]:
        time.sleep(0.02)
    os.kill(int(next(pids.iterdir()).name), signal.SIGKILL)


if __name__ == "__main__":
    model, out, *kill = sys.argv[1:]
    torch.set_num_threads(1)
    start_cluster()
    if kill:
        threading.Thread(target=kill_one, args=(Path(os.environ["TOY_PIDS"]),), daemon=True).start()
    with backend("ray", 2) as cluster:
        run(Slow(), ToySpec(model, units=6), Path(out), backend=cluster)
        run(Toy(), ToySpec(model, units=3), Path(f"{out}-second"), backend=cluster)
    ray.shutdown()
