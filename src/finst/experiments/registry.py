"""Every experiment by name. One line here puts it into ``finst run``, help, check, compare, verify and ``finst.run``.

Nothing is imported before it is asked for, so that help and refusals are quick. The settings of ``module:Class`` are
the dataclass ``ClassSpec`` in the module ``spec`` beside it, which imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

from finst.errors import choice


@dataclass(frozen=True)
class Entry:
    """A registered experiment."""

    name: str
    """As on the command line and in the run's record."""
    place: str
    """``module:Class``, within this package."""
    summary: str
    """What it measures, for the list of commands."""

    @property
    def spec_place(self) -> str:
        """``module:Class`` of its settings, as a full path."""
        module, _, kind = self.place.partition(":")
        return f"{__package__}.{module.rpartition('.')[0]}.spec:{kind}Spec"

    def load(self) -> Any:
        """An instance of the experiment, a ``finst.runs.experiment.Experiment``."""
        return located(f"{__package__}.{self.place}")()


ENTRIES = (
    Entry("cma", "cma.experiment:CMA", "causal mediation over every attention head of any model"),
    Entry("pca", "representations.pca:PCA", "principal components by layer, coloured by position and features"),
    Entry("rsa-stages", "representations.stages:RSAStages", "similarity with position and features by layer"),
    Entry("rsa-frame", "representations.frame:RSAFrame", "similarity with relative and absolute position"),
    Entry("rsa-entropy", "representations.entropy:RSAEntropy", "similarity and accuracy when objects share features"),
    Entry("accuracy", "representations.accuracy:Accuracy", "accuracy by number of objects, entropy and placement"),
    Entry("photoreal", "interventions.photoreal.experiment:Photoreal", "steer which of two things is named, by stage"),
    Entry("reuse", "interventions.reuse.experiment:Reuse", "position IDs of descriptions in spatial questions"),
    Entry("key-swap", "interventions.key_swap.experiment:KeySwap", "position IDs of two objects swapped in their keys"),
    Entry(
        "frame-patch", "interventions.frame_patch.experiment:FramePatch", "relative or absolute: IDs between layouts"
    ),
    Entry("transfer", "interventions.transfer.experiment:Transfer", "position IDs of every task in every other"),
    Entry("rescue", "interventions.rescue.experiment:Rescue", "low entropy with prototypes of high entropy"),
    Entry("counting", "interventions.counting.experiment:Counting", "counting with the strongest heads ablated"),
    Entry("coco", "interventions.coco.experiment:Coco", "the first thing's ID where the second thing is named"),
)

REGISTRY: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in ENTRIES})


def located(place: str) -> Any:
    """What ``module:name`` stands for; the module is imported."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def experiment_of(name: str) -> Any:
    """The experiment of this name. Raises FinstError naming all of them."""
    if name not in REGISTRY:
        raise choice("experiment", name, REGISTRY)
    return REGISTRY[name].load()
