"""Weight files: which of a folder make up a model, and what their headers say. No weight is read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError
from safetensors import SafetensorError, safe_open

from finst.errors import FinstError
from finst.vlm.checkpoint import hub
from finst.vlm.checkpoint.configuration import read_object
from finst.vlm.quiet import cause, quiet
from finst.vlm.reader import Reader

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""Number formats of weights that are not quantised, as headers name them."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_OTHERS = (".safetensors", ".gguf", ".ggml", ".h5", ".msgpack", ".onnx", ".npz")


@dataclass(frozen=True)
class Stored:
    """A tensor as its file's header describes it."""

    dtype: str
    shape: tuple[int, ...]


Headers = Mapping[str, Mapping[str, Stored]]
"""Tensors by the name of their file and their own."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, sorted by name; empty for a folder without any that finst reads."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    return [folder / name for name in _shards(folder)] if (folder / INDEX).is_file() else []


def check_presence(model: str, folder: Path) -> None:
    """Raises FinstError for a folder whose names show that its weights are missing, elsewhere, or there twice."""
    whole, index = (folder / SINGLE).is_file(), (folder / INDEX).is_file()
    if whole and index:
        raise FinstError(
            f"{model}: the folder {folder} has both {SINGLE} and {INDEX}, and so two sets of weights: expected one; "
            "move the other away"
        )
    if not whole and not index:
        raise FinstError(
            f"{model}: the folder {folder} has no weights{_instead(folder)}; expected model*.safetensors beside "
            f"config.json: {SINGLE}, or shards and {INDEX}"
        )
    missing = [name for name in _shards(folder) if not (folder / name).is_file()] if index else []
    if missing:
        raise FinstError(
            f"{model}: {INDEX} names {len(missing)} files that are not in the folder {folder}, beginning with "
            f"{missing[0]}: expected all of them; download them again"
        )


def headers_of(reader: Reader) -> Headers:
    """The headers of all weight files: the folder's, or from the hub those of files that are not in its cache.

    Raises FinstError when files are missing or damaged, and when the hub cannot be reached.
    """
    here = weight_files(reader.path)
    if reader.revision is not None and not (here and all(file.is_file() for file in here)):
        return _on_hub(reader)
    if reader.revision is None:
        check_presence(reader.id, reader.path)
    headers = {file.name: _header(reader.id, file) for file in here}
    if not (reader.path / SINGLE).is_file():
        _check_index(reader.id, _weight_map(reader.path), headers)
    return headers


def _shards(folder: Path) -> list[str]:
    return sorted(set(_weight_map(folder).values()))


def _weight_map(folder: Path) -> dict[str, str]:
    """The file of each tensor, by the index."""
    listed = read_object(folder / INDEX).get("weight_map")
    names = listed.values() if isinstance(listed, dict) else ()
    if not names or not all(isinstance(name, str) and name == Path(name).name and name for name in names):
        raise FinstError(
            f"{folder / INDEX} has no weight_map: expected the name of a file in this folder for each tensor"
        )
    return {str(tensor): str(name) for tensor, name in zip(listed or (), names, strict=True)}


def _instead(folder: Path) -> str:
    """What a folder without weights holds that looks like some."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    shards = [name for name in names if re.fullmatch(r"model-\d+-of-\d+\.safetensors", name)]
    if shards:
        return f" but {len(shards)} shards, beginning with {shards[0]}, without {INDEX}, which says what they hold"
    variant = next((name for name in names if re.fullmatch(r"model[.-].+\.safetensors(\.index\.json)?", name)), None)
    variant = variant or next((n for n in names if re.fullmatch(r"model\.safetensors\.index\..+\.json", n)), None)
    if variant:
        return f" but those of a variant, {variant}, which are read under the name {SINGLE} only"
    pickled = next((name for name in names if name.endswith(_PICKLES)), None)
    if pickled:
        return f" but {pickled}, a pickle, which can run code when it is read"
    other = next((name for name in names if name.endswith(_OTHERS)), None)
    return "" if other is None else f" but {other}, which is no file of such weights"


def _header(model: str, file: Path) -> dict[str, Stored]:
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (no dictionary)
            return {name: Stored(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except (OSError, SafetensorError) as error:
        raise FinstError(
            f"{model}: its weight files cannot be read ({file.name}, {cause(error)}); expected whole safetensors "
            "files, not placeholders of Git LFS or interrupted downloads"
        ) from error


def _check_index(model: str, listed: Mapping[str, str], headers: Headers) -> None:
    """Raises FinstError unless each tensor is in the file that the index names, and only there."""
    counts = Counter(name for tensors in headers.values() for name in tensors)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        files = [file for file, tensors in headers.items() if twice[0] in tensors]
        raise FinstError(f"{model}: {twice[0]} is in several weight files, {' and '.join(files)}: expected it in one")
    found = {name: file for file, tensors in headers.items() for name in tensors}
    for name in sorted({*listed, *found}):
        if listed.get(name) != found.get(name):
            raise FinstError(
                f"{model}: its weight files are not those of {INDEX}: {name} is in {found.get(name, 'none of them')}, "
                f"and the index names {listed.get(name, 'none')} for it; expected the files of one checkpoint, under "
                "their own names"
            )


def _on_hub(reader: Reader) -> Headers:
    """The headers of the hub's weight files, without the files."""
    wanted = "its weights (model*.safetensors)"
    try:
        hub.reach()
        with quiet():
            found = HfApi().get_safetensors_metadata(reader.id, revision=reader.revision)
    except NotASafetensorsRepoError as error:
        raise no_weights(reader) from error
    except SafetensorsParsingError as error:
        raise FinstError(f"{reader.id}: its weight files cannot be read ({cause(error)})") from error
    except Exception as error:  # whatever the client's version raises when there is no network or permission
        raise hub.refusal(reader.id, None, wanted, error) from error
    headers = {
        file: {name: Stored(str(part.dtype), tuple(part.shape)) for name, part in described.tensors.items()}
        for file, described in found.files_metadata.items()
    }
    if found.sharded:
        _check_index(reader.id, found.weight_map, headers)
    return headers


def no_weights(reader: Reader) -> FinstError:
    """The error for a model of the hub without safetensors."""
    return FinstError(
        f"{reader.id} has no weights that finst reads; expected model*.safetensors, not pickles such as "
        "pytorch_model.bin, which can run code"
    )
