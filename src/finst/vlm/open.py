"""Finding, checking and loading a model. Errors are raised before weights are read, where possible."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, PreTrainedConfig
from transformers.utils import logging as hf_logging

from finst.errors import FinstError
from finst.vlm.families import FAMILIES, family_of
from finst.vlm.families.base import Family
from finst.vlm.names import BUILTIN, check_name, is_folder, unknown_model
from finst.vlm.placement import DTYPES as DTYPES
from finst.vlm.placement import EVERYWHERE, DeviceMap, Quantization, WeightPlacement, placed
from finst.vlm.placement import PARTS as PARTS
from finst.vlm.placement import placement as placement
from finst.vlm.spec import ModelSpec

_METADATA = ("*.json", "*.jinja", "*.txt", "*.model")
_WEIGHTS = ("model*.safetensors", "model*.safetensors.index.json")


@dataclass(frozen=True, eq=False)
class Reader:
    """Everything about a checkpoint except its weights."""

    id: str
    """The name by which it was opened."""
    path: Path
    """The checkpoint's folder."""
    revision: str | None
    """The hub's commit; None for folders and built-in models."""
    config: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    image_processor: Any = field(repr=False)
    family: Family = field(repr=False)

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the contents of the weight files, in the order of their names; read once."""
        digest = hashlib.sha256()
        for file in weight_files(self.path):
            with file.open("rb") as stream:
                while block := stream.read(1 << 22):
                    digest.update(block)
        return digest.hexdigest()


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
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return self.model.dtype

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the contents of the weight files, in the order of their names."""
        return self.reader.weights_hash


def model_spec(vlm: VLM) -> ModelSpec:
    """The spec that opens this model again: its name, revision, number format and device."""
    formats = {name: (dtype, PARTS.get(name, 0)) for name, dtype in DTYPES.items()}
    plain_format = next(name for name, entry in formats.items() if entry == (vlm.dtype, vlm.parts))
    dtype: Any = vlm.quantization or plain_format
    device = str(vlm.device) if len(vlm.devices) == 1 else EVERYWHERE
    return ModelSpec(vlm.reader.id, vlm.reader.revision, dtype, device)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, sorted by name."""
    return sorted(folder.glob("model*.safetensors"))


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers prints no progress bars, log lines or warnings; finst raises its own errors."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def open_reader(model: str, *, revision: str | None = None, families: Sequence[Family] = FAMILIES) -> Reader:
    """Reads everything except the weights of a built-in model, a folder, or a Hugging Face hub id.

    The small files of a hub id are downloaded, or taken from the cache without a network. ``families`` are the known
    architectures; give your own to add one. Raises FinstError when the model or revision does not exist, files are
    missing, or no family reads the architecture or this variant of it.
    """
    folder, commit = _locate(model, revision)
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise FinstError(f"{model}: the folder {folder} has no config.json; expected a Hugging Face checkpoint")
    family = family_of(_model_type(config_file), families)
    if commit is None and not weight_files(folder):
        pickled = next(iter(sorted(folder.glob("*.bin"))), None)
        other = "" if pickled is None else f" but {pickled.name}, a pickle, which can run code when it is read"
        raise FinstError(
            f"{model}: the folder {folder} has no weights{other}; expected model*.safetensors beside config.json"
        )
    with quiet():
        try:
            config = cast(PreTrainedConfig, AutoConfig.from_pretrained(folder, trust_remote_code=False))
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            template = _processors_template(folder)
            image_processor = family.load_image_processor(folder)
        except (OSError, ValueError) as error:
            raise FinstError(
                f"{model}: the folder {folder} does not hold a whole checkpoint; expected a configuration, a tokenizer "
                f"and an image processor in Hugging Face's format ({error})"
            ) from error
    if not tokenizer.is_fast:
        raise FinstError(f"{model}: its tokenizer gives no character offsets; expected one with a tokenizer.json")
    if template is not None:
        tokenizer.chat_template = template
    family.check(config, image_processor)
    return Reader(model, folder, commit, config, tokenizer, image_processor, family)


def _processors_template(folder: Path) -> str | None:
    """The chat template that older checkpoints keep in a file of their processor, which tokenizers do not read.

    transformers' processors prefer it too: the tokenizer's own may be that of a text-only model. Raises ValueError when
    the file is damaged.
    """
    file = folder / "chat_template.json"
    if not file.is_file():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    template = content.get("chat_template") if isinstance(content, dict) else None
    if not isinstance(template, str):
        raise ValueError(f"{file.name} holds no chat_template that is a text")
    return template


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

    Raises FinstError for an unknown dtype or device, for packages that are not installed, for GPUs without enough
    memory, and when the files cannot be read or lack weights of the architecture.
    """
    if isinstance(model, Reader) and revision not in (None, model.revision):
        raise FinstError(f"{model.id} was read at revision {model.revision}, not at {revision}: give one of the two")
    reader = model if isinstance(model, Reader) else open_reader(model, revision=revision)
    place = placed(reader.config, dtype, device, device_map, quantization)
    if reader.revision is not None:
        _download(reader.id, reader.revision, _WEIGHTS)
    if not weight_files(reader.path):
        raise FinstError(
            f"{reader.id} has no weights that finst reads; expected model*.safetensors, not pickles such as "
            "pytorch_model.bin, which can run code"
        )
    loaded, report = _load(reader, place)
    wrong = [*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])]
    if wrong:
        raise FinstError(f"{reader.id}: its weight files do not fit its config.json, beginning with {sorted(wrong)[0]}")
    if "device_map" not in place.arguments:
        loaded = loaded.to(place.device)
    return VLM(reader, loaded.eval().requires_grad_(False), place.parts, place.quantization)


def _load(reader: Reader, place: WeightPlacement) -> tuple[Any, dict[str, Any]]:
    """The model, and transformers' report of weights that do not fit."""
    with quiet():
        try:
            loaded = AutoModelForImageTextToText.from_pretrained(
                reader.path,
                **place.arguments,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they end up in the report instead of a traceback
            )
        except (OSError, SafetensorError) as error:
            raise FinstError(
                f"{reader.id}: its weight files cannot be read ({error}); expected whole safetensors files, not "
                "placeholders of Git LFS or interrupted downloads"
            ) from error
    return cast(tuple[Any, dict[str, Any]], loaded)


def _model_type(config_file: Path) -> str:
    try:
        return str(json.loads(config_file.read_text(encoding="utf-8")).get("model_type"))
    except (ValueError, AttributeError) as error:
        raise FinstError(
            f"{config_file} is not a JSON object ({error}); expected a Hugging Face configuration"
        ) from error


def _locate(model: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of a model, and its commit if it comes from the hub."""
    check_name(model)
    if model in BUILTIN or is_folder(model):
        if revision is not None:
            raise FinstError(
                f"{model} has no revision {revision!r}: only models of the Hugging Face hub have revisions"
            )
        return (_builtin(model) if model in BUILTIN else Path(model).expanduser()), None
    snapshot = _download(model, revision, _METADATA)
    return snapshot, snapshot.name


def _builtin(name: str) -> Path:
    """The folder of a built-in model."""
    folder = Path(__file__).parents[1] / "builtin" / BUILTIN[name]
    if (folder / "config.json").is_file():
        return folder
    # Imported by name: packages that build models belong to a higher layer, and are loaded only when needed.
    with quiet():
        return import_module(f"finst.builtin.{BUILTIN[name]}.checkpoint").folder(name)


def _download(repo: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """The snapshot folder with the files of these patterns, from the hub or, if that is unavailable, from its cache."""
    wanted = partial(snapshot_download, repo, revision=revision, allow_patterns=list(patterns))
    with quiet():
        try:
            return Path(wanted())
        except Exception as online:  # whatever the client's version raises when there is no network, repo or permission
            try:
                return Path(wanted(local_files_only=True))
            except (HFValidationError, LocalEntryNotFoundError):
                name = repo if revision is None else f"{repo} at {revision}"
                reason = f"neither the hub nor its cache has these files: {', '.join(patterns)}"
                raise unknown_model(name, f"{reason}; {type(online).__name__}") from online
