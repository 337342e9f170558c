"""Finding, checking and loading a model. Errors are raised before weights are read, where possible."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from torch import nn
from transformers import AutoModelForImageTextToText, AutoTokenizer, GenerationConfig

from finst.errors import FinstError
from finst.prompts import Prompt
from finst.scenes.object import Picture, Scene
from finst.vlm.checkpoint import hub
from finst.vlm.checkpoint.configuration import made_config, read_config
from finst.vlm.checkpoint.conversation import template_of
from finst.vlm.checkpoint.fit import check_fit, check_pass, refuse_misfits
from finst.vlm.checkpoint.image_processors import check_type
from finst.vlm.checkpoint.weights import check_presence, headers_of, no_weights, weight_files
from finst.vlm.encode import Encoded, encode
from finst.vlm.families import FAMILIES, family_of
from finst.vlm.families.base import Family
from finst.vlm.memory import check_room
from finst.vlm.names import BUILTIN, check_name, is_folder
from finst.vlm.placement import DTYPES as DTYPES
from finst.vlm.placement import EVERYWHERE, DeviceMap, Quantization, WeightPlacement, placed
from finst.vlm.placement import PARTS as PARTS
from finst.vlm.placement import placement as placement
from finst.vlm.quiet import cause
from finst.vlm.quiet import quiet as quiet
from finst.vlm.reader import Reader as Reader
from finst.vlm.spec import ModelSpec

_METADATA = ("*.json", "*.jinja", "*.txt", "*.model")
_WEIGHTS = ("model*.safetensors", "model*.safetensors.index.json")

_LEAST_PX = 56
"""Side of the blank picture on which a checkpoint's parts are tried."""


@dataclass(frozen=True, eq=False)
class VLM:
    """A loaded model and its sizes."""

    reader: Reader
    model: Any = field(repr=False)
    parts: int = 0
    """Number of bfloat16 parts of float32 linear layers (dtypes ``bf16x3``, ``bf16x6``); 0 for plain products."""
    quantization: Quantization | None = None
    """How bitsandbytes quantised the weights; None for the checkpoint's own."""

    @property
    def decoder(self) -> Any:
        """The text model."""
        return self.reader.family.decoder(self.model)

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder's layers."""
        return self.decoder.layers

    @property
    def n_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    @property
    def n_heads(self) -> int:
        """Number of query heads per layer."""
        return self.reader.config.get_text_config().num_attention_heads

    @property
    def n_kv_heads(self) -> int:
        """Number of KV heads per layer; each serves ``n_heads / n_kv_heads`` query heads."""
        return self.reader.config.get_text_config().num_key_value_heads

    @property
    def d_head(self) -> int:
        """Number of entries of a head's output."""
        return cast(Any, self.layers[0]).self_attn.head_dim

    @property
    def device(self) -> torch.device:
        """The model's device; for a model on several devices, the one of its inputs and results."""
        return self.model.get_input_embeddings().weight.device

    @cached_property
    def devices(self) -> tuple[torch.device, ...]:
        """All devices of the decoder's layers, in the order of the layers."""
        return tuple(dict.fromkeys(next(layer.parameters()).device for layer in self.layers))

    @property
    def place(self) -> str:
        """The names of all devices that hold weights, the one of inputs and results first: ``cuda:0, cuda:1``."""
        return ", ".join(dict.fromkeys(map(str, (self.device, *(part.device for part in self.model.parameters())))))

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return self.model.dtype

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the contents of the weight files, in the order of their names; read once."""
        digest = hashlib.sha256()
        for file in weight_files(self.reader.path):
            with file.open("rb") as stream:
                while block := stream.read(1 << 22):
                    digest.update(block)
        return digest.hexdigest()


def model_spec(vlm: VLM) -> ModelSpec:
    """The spec that opens this model again: its name, revision, number format and device."""
    formats = {name: (dtype, PARTS.get(name, 0)) for name, dtype in DTYPES.items()}
    plain_format = next(name for name, entry in formats.items() if entry == (vlm.dtype, vlm.parts))
    dtype: Any = vlm.quantization or plain_format
    device = str(vlm.device) if len(vlm.devices) == 1 else EVERYWHERE
    return ModelSpec(vlm.reader.id, vlm.reader.revision, dtype, device)


def open_reader(model: str, *, revision: str | None = None, families: Sequence[Family] = FAMILIES) -> Reader:
    """Reads everything except the weights of a built-in model, a folder, or a Hugging Face hub id.

    The small files of a hub id are downloaded, or taken from the cache without a network. ``families`` are the known
    architectures; give your own to add one. A name of a built-in model is that model, also where a folder has the same
    name. Raises FinstError when the model or revision does not exist, files are missing or damaged, the checkpoint is
    an adapter or quantised, no family reads the architecture or this variant of it, and when a blank picture and a word
    cannot be encoded.
    """
    folder, commit = _locate(model, revision)
    raw = read_config(model, folder)
    family = family_of(str(raw.get("model_type")), families)
    if commit is None:
        check_presence(model, folder)
    with quiet():
        with _reading(model, folder, "the configuration"):
            config = made_config(raw)
        with _reading(model, folder, "the tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if not tokenizer.is_fast:
            raise FinstError(f"{model}: its tokenizer gives no character offsets; expected one with a tokenizer.json")
        with _reading(model, folder, "the chat template"):
            tokenizer.chat_template = template_of(folder, tokenizer)
        with _reading(model, folder, "the image processor"):
            check_type(folder, family)
            image_processor = family.load_image_processor(folder)
        with _reading(model, folder, "the configuration or the image processor"):
            family.check(config, image_processor)
        with _reading(model, folder, "the settings of generation"):
            if (folder / "generation_config.json").is_file():
                GenerationConfig.from_pretrained(folder)
        reader = Reader(model, folder, commit, config, tokenizer, image_processor, family)
        with _reading(model, folder, "the image processor or the tokenizer"):
            _least_context(reader)
    return reader


@contextmanager
def _reading(model: str, folder: Path, part: str) -> Iterator[None]:
    """Inside, whatever transformers raises for a damaged part of a checkpoint becomes a FinstError."""
    try:
        yield
    except FinstError:
        raise
    except Exception as error:  # a field of the wrong type may lead to anything
        lone = (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file()
        hint = "; it has tokenizer.model alone: save it as tokenizer.json first" if lone and "token" in part else ""
        raise FinstError(
            f"{model}: the folder {folder} does not hold a whole checkpoint; expected a configuration, a tokenizer "
            f"and an image processor in Hugging Face's format ({part}: {cause(error)}){hint}"
        ) from error


def _least_context(reader: Reader) -> Encoded:
    """A blank picture and one word, encoded: all that experiments encode is longer.

    Raises FinstError when the picture's numbers are not finite.
    """
    image = np.full((_LEAST_PX, _LEAST_PX, 3), 255, dtype=np.uint8)
    blank = Picture(Scene(_LEAST_PX, _LEAST_PX, ()), image, np.zeros((0, _LEAST_PX, _LEAST_PX), dtype=bool))
    context = encode(reader, blank, Prompt("Describe", (), "user_turn", ""))
    for name, values in context.image_inputs.items():
        if values.is_floating_point() and not values.isfinite().all():
            raise FinstError(
                f"{reader.id}: its image processor makes {name} of a white picture that are not finite: expected an "
                "image_mean and an image_std, not 0, of three numbers each"
            )
    return context


def open_vlm(
    model: str | Reader,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "auto",
    device_map: DeviceMap | None = None,
    quantization: str | None = None,
) -> VLM:
    """Loads a model in evaluation mode, from safetensors only; no code of a checkpoint is run.

    ``revision`` is a branch, tag or commit of a hub id. ``device`` "auto" is the first CUDA GPU, or the CPU without
    one. ``device_map`` "auto" spreads the layers over all GPUs (as ``device`` "cuda:all" does); a mapping gives the
    device of each module. Both need accelerate. ``quantization`` "8bit" or "4bit" (also as ``dtype``) needs
    bitsandbytes and a GPU, and gives a PrecisionWarning: quantised weights change scores.

    Raises FinstError for an unknown dtype or device, for packages that are not installed, for devices without enough
    memory, and when the files cannot be read or do not fit the configuration.
    """
    if isinstance(model, Reader) and revision not in (None, model.revision):
        raise FinstError(f"{model.id} was read at revision {model.revision}, not at {revision}: give one of the two")
    reader = model if isinstance(model, Reader) else open_reader(model, revision=revision)
    place = placed(reader.config, dtype, device, device_map, quantization)
    rehearsed = rehearse(reader)
    if place.device_map is None and place.quantization is None:
        check_room(reader.id, rehearsed, place.dtype, place.device)
    if reader.revision is not None:
        _download(reader.id, reader.revision, _WEIGHTS, "its weights (model*.safetensors)")
    if not weight_files(reader.path):
        raise no_weights(reader)
    loaded, report = _load(reader, place)
    refuse_misfits(reader, report)
    if "device_map" not in place.arguments:
        loaded = loaded.to(place.device)
    return VLM(reader, loaded.eval().requires_grad_(False), place.parts, place.quantization)


def rehearse(reader: Reader) -> Any:
    """The model without numbers (on the meta device), after all checks that need no weight; nothing is downloaded but
    headers.

    ``open_vlm`` makes the same checks before weights load. Raises FinstError when weight files are missing, damaged, of
    another model or quantised, and when the configuration's model cannot be built or does not compute.
    """
    model = check_fit(reader, headers_of(reader))
    check_pass(reader, model, _least_context(reader))
    return model.eval().requires_grad_(False)


def _load(reader: Reader, place: WeightPlacement) -> tuple[Any, dict[str, Any]]:
    """The model, and transformers' report of weights that do not fit."""
    with quiet():
        try:
            loaded = AutoModelForImageTextToText.from_pretrained(
                reader.path,
                config=reader.config,
                **place.arguments,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they end up in the report instead of a traceback
            )
        except torch.OutOfMemoryError as error:
            raise FinstError(
                f"{reader.id}: its weights do not fit into the memory of {place.device} ({cause(error)}): expected a "
                "shorter dtype or another device"
            ) from error
        except Exception as error:  # whatever transformers raises for files that changed since they were checked
            raise FinstError(
                f"{reader.id}: its weight files cannot be read ({cause(error)}); expected whole safetensors files, not "
                "placeholders of Git LFS or interrupted downloads"
            ) from error
    return cast(tuple[Any, dict[str, Any]], loaded)


def _locate(model: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of a model, and its commit if it comes from the hub."""
    check_name(model)
    if model in BUILTIN or is_folder(model):
        if revision is not None:
            raise FinstError(
                f"{model} has no revision {revision!r}: only models of the Hugging Face hub have revisions"
            )
        return (_builtin(model) if model in BUILTIN else Path(model).expanduser()), None
    snapshot = _download(model, revision, _METADATA, "its small files (*.json)")
    if not (snapshot / "config.json").is_file() and not (snapshot / "adapter_config.json").is_file():
        raise FinstError(
            f"{model} has no config.json: expected a repository in Hugging Face's format, or a whole cache of it"
        )
    return snapshot, snapshot.name


def _builtin(name: str) -> Path:
    """The folder of a built-in model."""
    folder = Path(__file__).parents[1] / "builtin" / BUILTIN[name]
    if (folder / "config.json").is_file():
        return folder
    # Imported by name: packages that build models belong to a higher layer, and are loaded only when needed.
    with quiet():
        return import_module(f"finst.builtin.{BUILTIN[name]}.checkpoint").folder(name)


def _download(repo: str, revision: str | None, patterns: tuple[str, ...], what: str) -> Path:
    """The snapshot folder with the files of these patterns, from the hub or, if that is unavailable, from its cache."""
    wanted = partial(snapshot_download, repo, revision=revision, allow_patterns=list(patterns))
    with quiet():
        try:
            hub.reach()
            return Path(wanted())
        except Exception as online:  # whatever the client's version raises when there is no network, repo or permission
            try:
                return Path(wanted(local_files_only=True))
            except (HFValidationError, LocalEntryNotFoundError):
                raise hub.refusal(repo, revision, what, online) from online
