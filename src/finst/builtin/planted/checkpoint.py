"""The planted models as checkpoint folders, which are built when they are first opened."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from filelock import FileLock
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from finst.builtin.organism import qwen2_vl as organism
from finst.builtin.organism import tokenizer as words
from finst.builtin.planted import circuit, mechanism, tower
from finst.builtin.planted.decoder import decoder_weights
from finst.builtin.planted.mechanism import PLANTED, Planted
from finst.builtin.planted.space import STREAM
from finst.errors import FinstError, choice
from finst.scenes import shapes
from finst.scenes.object import OBJECT_PX


def folder(name: str) -> Path:
    """The checkpoint of a planted model, in the user's cache (``XDG_CACHE_HOME``, or ``~/.cache``).

    It is built there in about a second unless the same code has built it before. Raises FinstError when the name is
    unknown or the cache cannot be written.
    """
    if name not in PLANTED:
        raise choice("planted model", name, PLANTED)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finst"
    made = cache / f"{name}-{_digest()}"
    if made.is_dir():
        return made
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{made.name}.lock"):
            if not made.is_dir():
                _write_whole(PLANTED[name], made)
    except OSError as error:
        raise FinstError(
            f"{name} is built when it is first used, and cannot be written to {made} ({error}); expected a writable "
            "cache folder, such as one named by the environment variable XDG_CACHE_HOME"
        ) from error
    return made


def _digest() -> str:
    """A hash of everything that determines a checkpoint's bytes."""
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    sources += [inspect.getsource(part).encode() for part in (organism, words, shapes)]
    digest = hashlib.sha256(f"transformers {transformers.__version__}".encode())
    for source in sources:
        digest.update(source)
    return digest.hexdigest()[:16]


def _write_whole(planted: Planted, made: Path) -> None:
    """Writes the folder atomically: a killed process leaves no partial checkpoint."""
    with tempfile.TemporaryDirectory(dir=made.parent) as unfinished:
        write(planted, Path(unfinished) / "made")
        shutil.move(Path(unfinished) / "made", made)


def write(planted: Planted, target: Path) -> None:
    """A checkpoint in Hugging Face's format: weights, configuration, tokenizer and image processor."""
    tokenizer = organism.Qwen2VL().build_tokenizer()
    build_model(planted, tokenizer).save_pretrained(target)
    tokenizer.save_pretrained(target)
    build_image_processor().save_pretrained(target)


def build_model(planted: Planted, tokenizer: PreTrainedTokenizerFast) -> Qwen2VLForConditionalGeneration:
    """The model with the planted weights in place; every other weight is zero."""
    model = Qwen2VLForConditionalGeneration(build_config(tokenizer))
    weights = {f"model.visual.{name}": value for name, value in tower.tower_weights(planted.coding).items()}
    weights |= decoder_weights(planted, tokenizer.get_vocab())
    state = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for name, value in weights.items():
        state[name] = torch.from_numpy(np.ascontiguousarray(value)).to(state[name].dtype)
    model.load_state_dict(state)
    return model


def build_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2VLConfig:
    """Qwen2-VL with one image token per 56-px patch."""
    vocabulary = tokenizer.get_vocab()
    return Qwen2VLConfig(
        text_config=dict(
            vocab_size=len(tokenizer),
            hidden_size=STREAM.width,
            intermediate_size=8,
            num_hidden_layers=mechanism.LAYERS,
            num_attention_heads=mechanism.HEADS,
            num_key_value_heads=mechanism.HEADS,
            max_position_embeddings=2048,
            rms_norm_eps=1e-9,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": circuit.RATIO ** -(mechanism.D_HEAD / 2),
                "mrope_section": list(circuit.MROPE_SECTION),
            },
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=dict(
            depth=tower.DEPTH,
            embed_dim=tower.WIDTH,
            hidden_size=STREAM.width,
            num_heads=tower.HEADS,
            mlp_ratio=tower.MLP_RATIO,
            patch_size=OBJECT_PX,
            spatial_merge_size=1,
            temporal_patch_size=1,
        ),
        image_token_id=vocabulary["<|image_pad|>"],
        video_token_id=vocabulary["<|video_pad|>"],
        vision_start_token_id=vocabulary["<|vision_start|>"],
        vision_end_token_id=vocabulary["<|vision_end|>"],
        tie_word_embeddings=False,
    )


def build_image_processor() -> Qwen2VLImageProcessorPil:
    """An image processor that cuts a picture into 56-px patches, with white as 0."""
    return Qwen2VLImageProcessorPil(
        patch_size=OBJECT_PX,
        merge_size=1,
        temporal_patch_size=1,
        size={"shortest_edge": OBJECT_PX**2, "longest_edge": (14 * OBJECT_PX) ** 2},
        image_mean=[1.0, 1.0, 1.0],
        image_std=[1.0, 1.0, 1.0],
    )
