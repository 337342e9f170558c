"""The GPU that a run's own model is on: whether a worker's copy of the weights has room beside it."""

from __future__ import annotations

from finst.errors import FinstError
from finst.vlm.memory import GIB, free_bytes
from finst.vlm.open import VLM

LEAST = 1.25
"""Memory that a worker needs at least, in sizes of the weights."""


def devices_with_room(devices: tuple[str, ...], vlm: VLM, workers: int | None) -> tuple[str, ...]:
    """As many of the devices as there are ``workers`` (None: all that can be had).

    The device of ``vlm`` is left out where its memory is too small for a second copy of the weights. Raises FinstError
    where too few are left.
    """
    own = str(vlm.device)
    needed = LEAST * sum(parameter.nbytes for parameter in vlm.model.parameters())
    left = devices if free_bytes(vlm.device) >= needed else tuple(device for device in devices if device != own)
    if len(left) < (workers or 1):
        raise FinstError(
            f"{own} holds the model of this process, and has no room for that of a worker, which takes "
            f"{needed / GIB:.1f} GiB: expected at most {len(left)} workers, a shorter dtype, or executor here"
        )
    return left[:workers]
