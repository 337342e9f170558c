"""Units are measured one after another in this process, by the model that it has open."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from finst.engine.memory import gauge
from finst.runs.backends.backend import Begun, Progress, Work
from finst.vlm.open import VLM
from finst.vlm.spec import ModelSpec


class Here:
    """See ``Backend``."""

    name = "here"

    def devices(self, spec: ModelSpec, vlm: VLM) -> tuple[str, ...]:
        """Where the model is."""
        return (vlm.place,)

    def measure(self, work: Work, vlm: VLM, indices: Sequence[int]) -> Generator[Progress, None, None]:
        """The units in this order."""
        peak_memory = gauge(vlm.device)
        for index in indices:
            yield Begun(index)
            yield work.measure(vlm, index, peak_memory)

    def close(self) -> None:
        """Nothing was started."""

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
