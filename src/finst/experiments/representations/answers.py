"""What a model says after each context, exactly, at the price of one pass where it says what was expected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool

from finst.analysis.proportions import wilson
from finst.engine.activations import Sampled
from finst.engine.edits import unedited
from finst.engine.generate import generate
from finst.engine.record import record
from finst.prompts import Prompt, correct, words
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM

MAX_NEW_TOKENS = 10
"""Of a generation: an object's name in any published tokenizer, and some."""


def spoken(vlm: VLM, contexts: Sequence[Encoded], prompts: Sequence[Prompt], passes: Sampled) -> list[str]:
    """The words that greedy decoding begins with after every prompt (contexts are encoded with their answers).

    Where the pass showed that it gives the answer's tokens and goes on with another word or none, these are the answer;
    everywhere else the model really speaks, up to ``MAX_NEW_TOKENS`` tokens.
    """
    said = []
    for context, prompt, exact, following in zip(
        contexts, prompts, passes.exact.tolist(), passes.following.tolist(), strict=True
    ):
        text = vlm.reader.tokenizer.decode([*context.answer, following], skip_special_tokens=True)
        said.append(text if exact and correct(text, prompt.answer) else _generated(vlm, context))
    return said


def _generated(vlm: VLM, context: Encoded) -> str:
    return generate(vlm, record(vlm, [context.prompt]), unedited(), MAX_NEW_TOKENS).texts(vlm.reader)[0]


def scored(said: Sequence[str], prompts: Sequence[Prompt]) -> xr.Dataset:
    """Dims trial: whether the whole answer, and whether its first word (the colour), is what the model begins with."""
    return xr.Dataset(
        {
            "said": ("trial", np.array(said, dtype=np.str_), {"units": "1", "long_name": "what the model begins with"}),
            "correct": (
                "trial",
                np.array([correct(text, prompt.answer) for text, prompt in zip(said, prompts, strict=True)]),
                {"units": "1", "long_name": "the model begins with the whole answer"},
            ),
            "colour_correct": (
                "trial",
                np.array([correct(text, words(prompt.answer)[0]) for text, prompt in zip(said, prompts, strict=True)]),
                {"units": "1", "long_name": "the model begins with the answer's first word"},
            ),
        }
    )


def share(right: Bool[np.ndarray, "trial"], confidence: float) -> tuple[float, float, float]:
    """An accuracy with its Wilson interval."""
    return float(right.mean()), *wilson(int(right.sum()), len(right), confidence)
