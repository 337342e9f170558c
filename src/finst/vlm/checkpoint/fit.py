"""Whether weights fit a configuration, and whether the model that it describes computes: tried without memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from finst.errors import FinstError
from finst.vlm.checkpoint.weights import FLOATS, Headers
from finst.vlm.encode import Encoded
from finst.vlm.families.base import decoder_inputs
from finst.vlm.quiet import cause, quiet
from finst.vlm.reader import Reader

_AS_THEY_ARE = ("_initialize_missing_keys", "_move_missing_keys_from_meta_to_device")
"""What transformers does with weights that are missing, and would need memory for."""


def check_fit(reader: Reader, headers: Headers) -> Any:
    """The model of the reader's configuration on the meta device, after the check that these weights are its own.

    Raises FinstError when transformers cannot build it, for weights that are missing, that it does not have, that are
    of another shape, and for quantised ones.
    """
    stored = {name: part for tensors in headers.values() for name, part in tensors.items()}
    _refuse_quantized(reader.id, {name: part.dtype for name, part in stored.items()})
    model, report = _loaded(reader, {name: part.shape for name, part in stored.items()})
    refuse_misfits(reader, report)
    return model.to("meta")


def refuse_misfits(reader: Reader, report: Mapping[str, Any]) -> None:
    """Raises FinstError when transformers' report of a loaded model names weights that do not fit."""
    shapes = {name: (tuple(found), tuple(expected)) for name, found, expected in report["mismatched_keys"]}
    missing, extra = set(report["missing_keys"]), set(report["unexpected_keys"])
    wrong = sorted({*missing, *shapes}) or sorted(extra)
    if not wrong:
        return
    first = wrong[0]
    if first in missing:
        what = "is missing"
    elif first in shapes:
        what = f"has the shape {shapes[first][0]} and not {shapes[first][1]}"
    else:
        what = "is no part of this architecture with these numbers of layers"
    raise FinstError(
        f"{reader.id}: its weight files do not fit its config.json, beginning with {first}, which {what} (missing: "
        f"{len(missing)}, of another shape: {len(shapes)}, besides: {len(extra)}); expected the files of one checkpoint"
    )


def _refuse_quantized(model: str, formats: Mapping[str, str]) -> None:
    """Numbers that are no plain floats are quantised weights, except the positions that old files keep."""
    plain = {name for name, dtype in formats.items() if dtype in FLOATS or name.endswith("position_ids")}
    packed = sorted(set(formats) - plain)
    if packed:
        raise FinstError(
            f"{model}: its weights are quantised ({packed[0]} holds {formats[packed[0]]}), and finst does not run "
            "quantised checkpoints: expected weights in float32, bfloat16 or float16"
        )


def _loaded(reader: Reader, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Any, dict[str, Any]]:
    """transformers' own loading, of one number that stands for all of a tensor's."""
    stand_ins = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    try:
        with quiet():
            kind: Any = AutoModelForImageTextToText._model_mapping[type(reader.config)]
            # A class of the same name and module: transformers finds by these how older files name weights.
            changed = {"__module__": kind.__module__, **dict.fromkeys(_AS_THEY_ARE, _nothing)}
            trial: Any = type(kind.__name__, (kind,), changed)
            return trial.from_pretrained(
                None,
                config=reader.config,
                state_dict=stand_ins,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they end up in the report instead of a traceback
            )
    except Exception as error:  # whatever a field of the wrong type or size leads to in transformers
        raise _not_built(reader, error) from error


def _nothing(*_: Any, **__: Any) -> None:
    """Does nothing."""


def _not_built(reader: Reader, error: Exception) -> FinstError:
    return FinstError(
        f"{reader.id}: its config.json describes no {reader.config.model_type} that transformers can build "
        f"({cause(error)}): expected the fields of a published checkpoint"
    )


@torch.no_grad()
def check_pass(reader: Reader, model: Any, context: Encoded) -> None:
    """One pass of ``context`` through a model on the meta device. Raises FinstError when parts do not fit each other.

    Settings such as the sections of rotary positions are in no tensor's shape.
    """
    family, meta = reader.family, torch.device("meta")
    try:
        with quiet():
            prepared = family.prepare(model, context.input_ids[None], [context.image_inputs], meta)
            inputs = decoder_inputs(family, model, prepared)
            tokens = inputs.embeds.shape[1]
            # A mask that is given is not looked at; without one, layers ask which numbers the positions are.
            mask = {"attention_mask": torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=meta)}
            more = {**mask, **family.decoder_arguments(model, inputs)}
            decoder: Any = family.decoder(model)
            decoder(inputs_embeds=inputs.embeds, position_ids=inputs.position_ids, use_cache=False, **more)
    except NotImplementedError:
        return  # a number had to be looked at, and there are none
    except Exception as error:  # whatever transformers' layers raise
        if "meta" in str(error):
            return
        raise FinstError(
            f"{reader.id}: the {reader.config.model_type} of its config.json does not compute ({cause(error)}): "
            "expected the fields of a published checkpoint"
        ) from error
