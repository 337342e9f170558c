"""The design of causal mediation: conditions, contexts and patched tokens."""

from __future__ import annotations

from finst.analysis import mediation
from finst.experiments.cma.design import COLOURS, CONDITIONS, CONTEXTS, colours_of, contexts_of, patched_positions
from finst.experiments.cma.spec import CMASpec
from finst.scenes.designs import mediation_pairs
from tests.experiments import synthetic


def test_the_conditions_are_the_stages_in_order():
    assert tuple(CONDITIONS) == mediation.STAGES


def test_contexts_share_a_prompt_and_differ_in_their_scene():
    spec = CMASpec(pairs=4)
    pair = mediation_pairs(spec.pairs, spec.seed)[2]
    contexts = contexts_of(synthetic.reader(), spec, pair)
    assert len(contexts) == len(CONTEXTS)
    assert len({tuple(context.input_ids.tolist()) for context in contexts}) == 1
    described, target, new = colours_of(pair)
    assert (described, target) == tuple(obj.colour for obj in pair.clean.objects)
    assert new == pair.changed.objects[1].colour
    assert len(COLOURS) == 3


def test_patched_tokens_are_the_described_objects_words_or_the_last():
    spec = CMASpec(pairs=4)
    pair = mediation_pairs(spec.pairs, spec.seed)[0]
    reader = synthetic.reader()
    context = contexts_of(reader, spec, pair)[0]
    words = {
        stage: reader.tokenizer.decode([int(context.input_ids[pos]) for pos in patched_positions(context, condition)])
        for stage, condition in CONDITIONS.items()
    }
    assert words == {
        "id_retrieval": f" {pair.clean.objects[0].name}",
        "id_selection": " a",
        "feature_retrieval": " a",
    }
