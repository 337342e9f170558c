"""One pair as a page shows it."""

from __future__ import annotations

import pytest

from finst.errors import FinstError
from finst.experiments.cma.design import CONDITIONS, contexts_of
from finst.experiments.cma.example import pair_example
from finst.experiments.cma.spec import CMASpec
from finst.scenes.designs import mediation_pairs
from tests.experiments import synthetic

SPEC = CMASpec(pairs=7)


def test_the_example_shows_what_is_patched_where():
    shown = pair_example(SPEC, synthetic.reader(), pair=1)
    pair = mediation_pairs(SPEC.pairs, SPEC.seed)[1]
    described, target = pair.clean.objects
    patched = {name: "".join(token.text for token in shown.tokens if name in token.marks) for name in CONDITIONS}
    assert patched == {"id_retrieval": f" {described.name}", "id_selection": " a", "feature_retrieval": " a"}
    assert [view.answer for view in shown.views] == [target.colour, target.colour, pair.changed.objects[1].colour]
    assert shown.contrasts["id_selection"] == (target.colour, described.colour)
    assert sum(token.tokens for token in shown.tokens) == len(contexts_of(synthetic.reader(), SPEC, pair)[0].tokens)
    left, top, *_ = described.box
    assert (top // 28, left // 28) in shown.views[0].cells[0].patches


def test_an_example_outside_of_the_design_is_refused():
    with pytest.raises(FinstError, match="expected 0 to 6"):
        pair_example(SPEC, synthetic.reader(), pair=7)
