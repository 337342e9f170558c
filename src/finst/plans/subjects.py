"""What the words after ``finst score`` name: one model, or folders of reproductions. Imports nothing heavy."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from finst.errors import FinstError
from finst.vlm.names import BUILTIN, check_name, is_folder

RECORD = "reproduction.json"
"""Name of the record in the folder of a reproduction."""

EXPECTED = (
    "expected one model, or folders of reproductions (with reproduction.json, such as finst reproduce and finst score "
    "write)"
)


def holds_reproduction(folder: Path) -> bool:
    """Whether the folder holds a reproduction, finished or not."""
    return os.path.isfile(folder / RECORD)  # Path.is_file raises for a name that is too long


def reproductions(words: Sequence[str]) -> tuple[Path, ...]:
    """The folders of reproductions that ``words`` name; none where the only word names a model.

    The name of a built-in model is that model, also where a folder has the same name. Raises FinstError for no word,
    several words of which one is no folder of a reproduction, a folder that is given twice, and one word that is
    neither a model's name, a folder with a checkpoint, nor a folder of a reproduction.
    """
    if not words:
        raise FinstError(f"nothing to score: {EXPECTED}")
    folders = [Path(word).expanduser() for word in words]
    others = [
        word for word, folder in zip(words, folders, strict=True) if word in BUILTIN or not holds_reproduction(folder)
    ]
    if not others:
        refuse_twice(folders)
        return tuple(folders)
    if len(words) > 1:
        what = "is a model" if others[0] in BUILTIN else "holds no reproduction"
        raise FinstError(f"{others[0]} {what}, and {len(words)} names were given: {EXPECTED}")
    check_name(others[0])
    if is_folder(others[0]) and others[0] not in BUILTIN and not os.path.isfile(folders[0] / "config.json"):
        raise FinstError(f"{others[0]} holds neither a reproduction nor a checkpoint (config.json): {EXPECTED}")
    return ()


def labels(models: Sequence[str], folders: Sequence[Path]) -> tuple[str, ...]:
    """Short names of the models, with their folders where several have one name."""
    names = [Path(model).name for model in models]
    return tuple(
        f"{name} ({folder})" if names.count(name) > 1 else name for name, folder in zip(names, folders, strict=True)
    )


def refuse_twice(folders: Sequence[Path]) -> None:
    """Raises FinstError for a folder that is given twice."""
    twice = [path for path, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise FinstError(f"{twice[0]} is given twice: expected different folders")
