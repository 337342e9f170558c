"""Random models of a shape are what transformers itself would build."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForImageTextToText

from finst.bench.random_vlm import random_vlm
from finst.errors import FinstError
from finst.vlm.open import quiet
from tests.bench.tiny import TINY

CPU = torch.device("cpu")


def test_an_architecture_without_a_family_is_refused_before_anything_is_built() -> None:
    with pytest.raises(FinstError, match="unknown architecture 'mamba'"):
        random_vlm(replace(TINY, model_type="mamba"), torch.float32, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_buffers_are_those_of_a_model_built_the_usual_way(dtype: torch.dtype) -> None:
    vlm = random_vlm(TINY, dtype, CPU)
    with quiet():
        usual = AutoModelForImageTextToText.from_config(TINY.config(), dtype=dtype)
    ours, theirs = dict(vlm.model.named_buffers()), dict(usual.named_buffers())
    assert any("inv_freq" in name for name in ours)
    assert ours.keys() == theirs.keys()
    for name, buffer in ours.items():
        assert buffer.dtype == theirs[name].dtype
        assert torch.equal(buffer, theirs[name])
    positions = torch.arange(40).expand(3, 1, 40)
    tables = [
        model.model.language_model.rotary_emb(torch.zeros(1, dtype=dtype), positions) for model in (vlm.model, usual)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*tables, strict=True))


def test_weights_keep_the_size_of_what_they_get() -> None:
    vlm = random_vlm(TINY, torch.float32, CPU, seed=1)
    named = dict(vlm.model.named_parameters())
    assert {parameter.dtype for parameter in named.values()} == {torch.float32}
    for name, parameter in named.items():
        if parameter.dim() > 1:
            assert parameter.std() * parameter[0].numel() ** 0.5 == pytest.approx(1, abs=0.15), name
        else:
            assert parameter.unique().tolist() == [0.0 if name.endswith("bias") else 1.0], name
    assert not vlm.model.training
    assert not any(parameter.requires_grad for parameter in named.values())


def test_the_seed_decides() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (random_vlm(TINY, torch.float32, CPU, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected), "the caller's random numbers were touched"
    weights = [vlm.model.get_output_embeddings().weight for vlm in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_sizes_and_reader() -> None:
    vlm = random_vlm(TINY, torch.bfloat16, CPU)
    assert (vlm.n_layers, vlm.n_heads, vlm.n_kv_heads, vlm.d_head) == (3, 4, 2, 8)
    assert (vlm.device, vlm.dtype) == (CPU, torch.bfloat16)
    assert (vlm.reader.id, vlm.reader.tokenizer, vlm.reader.image_processor) == ("tiny", None, None)


def test_a_shape_that_does_not_fit_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = sum(parameter.nbytes for parameter in random_vlm(TINY, torch.float32, CPU).model.parameters())
    monkeypatch.setattr("finst.bench.random_vlm._memory", lambda device: weights)
    random_vlm(TINY, torch.float32, CPU)
    monkeypatch.setattr("finst.bench.random_vlm._memory", lambda device: weights - 1)
    random_vlm(TINY, torch.bfloat16, CPU)
    monkeypatch.setattr("finst.bench.random_vlm._randomise", None)
    with pytest.raises(
        FinstError, match=r"tiny has [\d,]+ weights, 0\.0 GiB in float32, and cpu has 0\.0 GiB: expected"
    ):
        random_vlm(TINY, torch.float32, CPU)
