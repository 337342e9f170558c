"""Activations at each context's own positions, and exact answers, against plain forwards, one context at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from finst.engine.activations import Sampleable, check_tensor, sampled
from finst.engine.precision import arithmetic
from finst.engine.readout import decoder_inputs
from finst.engine.record import record
from finst.errors import FinstError
from finst.experiments.representations.spec import TrialSpec
from finst.experiments.representations.trials import Trial, context_of, positions_of, trial_of
from finst.scenes.draw import draw
from finst.scenes.object import Grid
from finst.scenes.sets import unique_objects
from finst.vlm.encode import Encoded, encode
from finst.vlm.open import VLM, open_vlm
from tests import tiny

TENSORS: tuple[Sampleable, ...] = ("resid", "attn_out", "z", "q", "post_attention_norm")

TWO = Grid(2, 2)


@pytest.fixture(scope="module", params=["qwen2_vl", "llava"])
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VLM:
    folder = tiny.checkpoint(tmp_path_factory.mktemp("activations") / "tiny", tiny.FAMILIES[request.param])
    return open_vlm(str(folder), dtype="float64", device="cpu")


def trials_of() -> list[Trial]:
    """Trials of three specs; one of them puts the sentence into the user's turn, where it takes other tokens."""
    specs = (TrialSpec(), TrialSpec(placement="user_turn"), TrialSpec(leak_target_colour=True))
    return [trial_of(spec, staged) for spec in specs for staged in unique_objects(TWO, "high", 1, 0)[:8:4]]


def encoded_trials(vlm: VLM) -> tuple[list[Encoded], np.ndarray]:
    """Six trials of several lengths, with the positions of their commas and last tokens."""
    trials = trials_of()
    contexts = [context_of(vlm.reader, trial) for trial in trials]
    return contexts, np.array([positions_of(c, t) for c, t in zip(contexts, trials, strict=True)])


def plainly(vlm: VLM, context: Encoded) -> dict[str, torch.Tensor]:
    """The reference: one context, plain forward hooks, everything kept; [layer, pos, ...]."""
    kept: dict[str, list[torch.Tensor]] = {name: [] for name in TENSORS}
    hooks = []
    layer: Any
    for layer in vlm.layers:
        o_proj, norm = layer.self_attn.o_proj, layer.post_attention_layernorm
        hooks += [
            o_proj.register_forward_pre_hook(lambda _, args: kept["z"].append(args[0][0])),
            o_proj.register_forward_hook(lambda _m, _a, out: kept["attn_out"].append(out[0])),
            layer.self_attn.q_proj.register_forward_hook(lambda _m, _a, out: kept["q"].append(out[0])),
            norm.register_forward_hook(lambda _m, _a, out: kept["post_attention_norm"].append(out[0])),
            layer.register_forward_hook(
                lambda _m, _a, out: kept["resid"].append((out[0] if isinstance(out, tuple) else out)[0])
            ),
        ]
    with arithmetic(vlm):
        inputs = decoder_inputs(vlm, [context])
        hidden = vlm.decoder(inputs_embeds=inputs.embeds, position_ids=inputs.position_ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    return {
        **{name: torch.stack(values) for name, values in kept.items()},
        "logits": vlm.model.get_output_embeddings()(hidden.last_hidden_state[0]),
    }


def test_sampled_is_what_plain_hooks_see(vlm: VLM):
    contexts, positions = encoded_trials(vlm)
    assert len({len(context.tokens) for context in contexts}) > 1
    assert len(np.unique(positions[:, 1])) > 1
    result = sampled(vlm, contexts, TENSORS, positions, batch=2, keep_logits=True)
    assert result.logits is not None
    for index, (context, own) in enumerate(zip(contexts, positions, strict=True)):
        plain = plainly(vlm, context)
        for name in TENSORS:
            expected = plain[name][:, own].reshape(result.values[name][index].shape)
            assert (result.values[name][index] - expected).abs().max() < 1e-9
        assert (result.logits[index] - plain["logits"][context.tokens.last]).abs().max() < 1e-9
        assert int(result.predicted[index]) == int(plain["logits"][context.tokens.last].argmax())


def test_batches_change_nothing(vlm: VLM):
    contexts, positions = encoded_trials(vlm)
    single, all_ = (sampled(vlm, contexts, ["resid"], positions, batch=batch) for batch in (1, 32))
    assert (single.values["resid"] - all_.values["resid"]).abs().max() < 1e-9
    assert torch.equal(single.predicted, all_.predicted)
    assert single.logits is None


def test_the_answer_changes_nothing_before_it(vlm: VLM):
    contexts, positions = encoded_trials(vlm)
    alone = [encode(vlm.reader, draw(trial.staged.scene), trial.prompt) for trial in trials_of()]
    without = sampled(vlm, alone, ["resid"], positions)
    assert (without.values["resid"] - sampled(vlm, contexts, ["resid"], positions).values["resid"]).abs().max() < 1e-9
    assert without.exact.all()
    assert torch.equal(without.following, without.predicted)


def test_exact_means_that_greedy_decoding_gives_the_answer(vlm: VLM):
    """The model's own greedy tokens as the answer are exact; with one of them changed they are not."""
    contexts, positions = encoded_trials(vlm)
    context = contexts[0]
    ids = context.input_ids[: context.tokens.last + 1].tolist()
    for _ in range(3):
        grown = _with_ids(context, ids)
        ids.append(int(record(vlm, [grown]).logits[0].argmax()))
    own, wrong = _with_ids(context, ids[:-1]), _with_ids(context, [*ids[:-2], (ids[-2] + 1) % 300])
    result = sampled(vlm, [own, wrong], ["resid"], positions[[0, 0]])
    assert result.exact.tolist() == [True, False]
    assert int(result.following[0]) == ids[-1]


def _with_ids(context: Encoded, ids: list[int]) -> Encoded:
    """The same prompt with other tokens after it."""
    last = context.tokens.last
    roles = context.tokens.roles[: last + 1] + context.tokens.roles[-1:] * (len(ids) - last - 1)
    return replace(context, input_ids=torch.tensor(ids), tokens=replace(context.tokens, roles=roles))


def test_bad_questions_are_refused(vlm: VLM):
    contexts, positions = encoded_trials(vlm)
    with pytest.raises(FinstError, match="unknown tensor 'keys'"):
        check_tensor(vlm, "keys")
    with pytest.raises(FinstError, match="position to read must be in 0"):
        sampled(vlm, contexts, ["resid"], positions + 500)
    with pytest.raises(FinstError, match="6 contexts, 4 rows"):
        sampled(vlm, contexts, ["resid"], positions[:4])
    with pytest.raises(FinstError, match="batch is 0"):
        sampled(vlm, contexts, ["resid"], positions, batch=0)


def test_a_comma_that_the_tokenizer_joins_is_refused(vlm: VLM):
    trial = trial_of(TrialSpec(), unique_objects(TWO, "high", 1, 0)[0])
    context = context_of(vlm.reader, trial)
    comma = context.tokens.positions("comma", trial.staged.order[1])
    roles = tuple(replace(role, kind="noun") if pos in comma else role for pos, role in enumerate(context.tokens.roles))
    with pytest.raises(FinstError, match="no token of its own"):
        positions_of(replace(context, tokens=replace(context.tokens, roles=roles)), trial)
