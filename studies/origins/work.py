"""One piece of work in a process of its own: ``train`` a model, or ``measure`` one and its checkpoints."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from finst.builtin.organism.card import TRAINING
from finst.builtin.organism.training.spec import TrainSpec
from finst.builtin.organism.training.train import CHECKPOINTS, train
from studies.origins.measure import BRIEF, FULL, TINY, measure
from studies.origins.plan import Training

MODEL = "model"
"""Folder of the weights, in the training's own."""

MEASURED = "measured.json"
"""What is known of a model, beside that folder."""


def trained(training: Training, folder: Path, *, workers: int, device: str = "auto", graphs: bool = True) -> None:
    """Trains a model into ``folder``."""
    train(
        TrainSpec(
            folder / MODEL,
            family=training.family,
            mix=training.mix,
            layers=training.layers,
            legs=training.legs,
            steps=training.steps,
            tokens=training.tokens,
            seed=training.seed,
            workers=workers,
            device=device,
            graphs=graphs,
            checkpoints=training.checkpoints,
            low_entropy=training.low_entropy,
            examined=0,
        )
    )


def measured(training: Training, folder: Path, *, device: str = "auto", tiny: bool = False) -> None:
    """Writes ``MEASURED`` in ``folder``, anew after every model: checkpoints as they come, the final weights first.

    Waits for a training that is still at work, as long as it takes.
    """
    begun, model = time.monotonic(), folder / MODEL
    known: dict[str, Any] = {"trained": None, "final": None, "checkpoints": []}
    seen: set[Path] = set()
    while True:
        if known["final"] is None and (model / TRAINING).is_file():
            (record,) = json.loads((model / TRAINING).read_text())
            names = ("layers", "steps", "legs", "seconds", "images", "device", "torch", "transformers", "curve")
            known["trained"] = {"mix": record["mix"]["name"], **{name: record[name] for name in names}}
            known["final"] = measure(model, training.family, TINY if tiny else FULL, device)
            _written(folder, known, begun)
            continue
        new = set((model / CHECKPOINTS).glob("step-*")) - seen
        if new:
            checkpoint = min(new)
            seen.add(checkpoint)
            step = int(checkpoint.name.removeprefix("step-"))
            numbers = measure(checkpoint, training.family, TINY if tiny else BRIEF, device)
            known["checkpoints"].append({"step": step, **numbers})
            _written(folder, known, begun)
        elif known["final"] is not None:
            return
        else:
            time.sleep(0.5)


def _written(folder: Path, known: dict[str, Any], begun: float) -> None:
    partial = (folder / MEASURED).with_suffix(".partial")
    partial.write_text(json.dumps({**known, "measuring_s": round(time.monotonic() - begun)}))
    partial.replace(folder / MEASURED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Does one piece of work."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("work", choices=["train", "measure"])
    parser.add_argument("training", help="as JSON")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=4, help="processes that make lessons")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-graphs", action="store_true", help="plain steps")
    parser.add_argument("--tiny", action="store_true", help="a few pairs and trials, for a test")
    options = parser.parse_args(arguments)
    training = Training(**json.loads(options.training))
    torch.set_num_threads(1)
    if options.work == "train":
        trained(training, options.folder, workers=options.workers, device=options.device, graphs=not options.no_graphs)
    else:
        measured(training, options.folder, device=options.device, tiny=options.tiny)


if __name__ == "__main__":
    main()
