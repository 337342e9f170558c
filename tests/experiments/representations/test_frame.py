"""RSA of frames of reference: relative and absolute position are separated by holding one of them constant."""

from __future__ import annotations

from dataclasses import replace

from finst.experiments.representations import frame
from finst.experiments.representations.frame import RSAFrame
from tests.experiments.representations import designs
from tests.experiments.representations.specs import FRAME


def test_relative_and_absolute_position_are_separated():
    spec = replace(FRAME, trials=3, permutations=99)
    planted = {("last", "relative"): 1, ("last", "absolute"): 3}
    unit = designs.unit(frame.trials_of(spec, spec.trials), planted, ["last"])
    summary = RSAFrame().summarise(spec, [unit])
    for layer, planted_frame, other in ((1, "relative", "absolute"), (3, "absolute", "relative")):
        r = summary["r"].sel(role="last", layer=layer)
        assert float(r.sel(comparison=planted_frame)) > float(r.sel(comparison=other)) > 0
        partial = float(r.sel(comparison=f"{planted_frame} | {other}"))
        assert partial > 0.5
        assert float(r.sel(comparison=f"{other} | {planted_frame}")) < 0.5 * partial
    peaks = {row[1]: row[2] for row in RSAFrame().report.findings(summary).rows}
    assert (peaks["relative"], peaks["absolute"]) == ("1", "3")
