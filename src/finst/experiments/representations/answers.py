"""What the model answers after each context, and how often that is correct.

Answers are those of greedy decoding. Where one pass shows that decoding gives the right answer, nothing is generated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from finst.analysis.proportions import wilson
from finst.engine.activations import Sampled
from finst.engine.edits import unedited
from finst.engine.generate import generate
from finst.engine.record import record
from finst.experiments.units import MAX_NEW_TOKENS, documented
from finst.prompts import Prompt, correct, words
from finst.vlm.encode import Encoded
from finst.vlm.open import VLM

DOCUMENTATION = {
    "said": ("1", "what the model begins with"),
    "correct": ("1", "the model begins with the whole answer"),
    "colour_correct": ("1", "the model begins with the answer's first word"),
}

ACCURACY = {
    "accuracy": ("1", "share of trials in which the model begins with the whole answer"),
    "accuracy_low": ("1", "lower end of its Wilson interval"),
    "accuracy_high": ("1", "upper end of its Wilson interval"),
    "colour_accuracy": ("1", "share of trials in which the model begins with the answer's first word, the colour"),
    "colour_accuracy_low": ("1", "lower end of its Wilson interval"),
    "colour_accuracy_high": ("1", "upper end of its Wilson interval"),
}


def decoded_answers(vlm: VLM, contexts: Sequence[Encoded], prompts: Sequence[Prompt], passes: Sampled) -> list[str]:
    """The words with which greedy decoding continues each prompt; contexts are encoded with their answers.

    ``passes`` are those of the contexts. Where they show that decoding gives the answer's tokens, and then another word
    or none, these tokens are taken; everywhere else up to ``MAX_NEW_TOKENS`` tokens are generated.
    """
    texts = []
    for context, prompt, exact, following in zip(
        contexts, prompts, passes.exact.tolist(), passes.following.tolist(), strict=True
    ):
        text = vlm.reader.tokenizer.decode([*context.answer, following], skip_special_tokens=True)
        texts.append(text if exact and correct(text, prompt.answer) else _generated(vlm, context))
    return texts


def _generated(vlm: VLM, context: Encoded) -> str:
    return generate(vlm, record(vlm, [context.prompt]), unedited(), MAX_NEW_TOKENS).texts(vlm.reader)[0]


def scored_answers(texts: Sequence[str], prompts: Sequence[Prompt]) -> xr.Dataset:
    """Dims trial: each text, whether it begins with the whole answer, and whether with its first word (the colour)."""
    pairs = [(text, prompt.answer) for text, prompt in zip(texts, prompts, strict=True)]
    data = {
        "said": np.array(texts, dtype=np.str_),
        "correct": np.array([correct(text, answer) for text, answer in pairs]),
        "colour_correct": np.array([correct(text, words(answer)[0]) for text, answer in pairs]),
    }
    return documented(xr.Dataset({name: ("trial", values) for name, values in data.items()}), DOCUMENTATION)


def accuracies(answers: xr.Dataset, confidence: float) -> xr.Dataset:
    """Accuracies of whole answers and of colours, each with its Wilson interval; no dims.

    ``answers`` has ``correct`` and ``colour_correct`` with dims trial, as ``scored_answers`` gives them.
    """
    statistics = {}
    for name, variable in (("accuracy", "correct"), ("colour_accuracy", "colour_correct")):
        right = np.asarray(answers[variable].values, dtype=bool)
        low, high = wilson(int(right.sum()), len(right), confidence)
        statistics |= {name: float(right.mean()), f"{name}_low": low, f"{name}_high": high}
    return documented(xr.Dataset(statistics), ACCURACY)
