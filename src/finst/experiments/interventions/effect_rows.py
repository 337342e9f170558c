"""Effects of any intervention in one form: shares with intervals, controls at both settings, and what p is against.

Like all reports, this module needs no model and imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import xarray as xr

from finst.report.wording import format_p

DOCUMENTATION = {
    "n": ("trials", "trials that the shares are of"),
    "before": ("1", "share of hits without the edit"),
    "before_low": ("1", "lower end of its Wilson interval"),
    "before_high": ("1", "upper end of its Wilson interval"),
    "after": ("1", "share of hits with the edit, same trials"),
    "after_low": ("1", "lower end of its Wilson interval"),
    "after_high": ("1", "upper end of its Wilson interval"),
    "gained": ("trials", "hits with the edit alone"),
    "lost": ("trials", "hits without the edit alone"),
    "p": ("1", "two-sided exact McNemar p of after against before"),
}
"""What is known of an effect, with units, in every summary of an intervention."""

EFFECTS = [*DOCUMENTATION]

LEAD = {
    "lead": ("1", "share of hits with the main edit minus that with this one, same trials"),
    "lead_low": ("1", "lower end of its score interval (Tango)"),
    "lead_high": ("1", "upper end of its score interval"),
    "lead_p": ("1", "two-sided exact McNemar p of the main edit against this one"),
}
"""How far the main edit is ahead of another one, with units."""

CHOICE = {
    "own_k": ("1", "heads edited: those chosen on the other half for the main edit, the best ones there for others"),
    "own_dose": ("1", "dose: that chosen on the other half for the main edit, the best one there for others"),
    "equals": ("1", "settings that cannot be told from this edit's best one on the other half, itself included"),
    "tried": ("1", "settings that were tried"),
}
"""What was chosen for every edit, controls included."""

OWN = {
    "own_after": ("1", "share of hits at this edit's own setting"),
    "own_after_low": ("1", "lower end of its Wilson interval"),
    "own_after_high": ("1", "upper end of its Wilson interval"),
    **{f"own_{name}": (units, f"{text}, at this edit's own setting") for name, (units, text) in LEAD.items()},
}
"""How every edit does at its own setting."""

NOT_KEPT = "not kept"
"""What stands for a number that the summary of an older finst lacks."""


@dataclass(frozen=True)
class Share:
    """A share of trials that are hits, or the difference of two, with the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """``83.3% [70.4%, 91.3%]``."""
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"

    @classmethod
    def of(cls, effect: xr.Dataset, name: str) -> Share:
        """From a dataset without dims; ``name`` is ``before``, ``after`` or another share with an interval."""
        return cls(*(float(effect[part]) for part in (name, f"{name}_low", f"{name}_high")))


@dataclass(frozen=True)
class Controls:
    """The control that does most of its kind, and how far the effect is beyond all of them, on the same trials."""

    share: Share
    """After the edit of the control that does most."""
    name: str
    setting: str
    """Its own, such as ``K = 40, dose 30``; empty where it is that of the effect."""
    lead: Share | None
    """The effect's share minus that of the control to which it is closest, by the paired score interval. None: an older
    finst did not keep it."""
    p: float | None
    """The largest exact paired p of the effect against a control."""

    @property
    def text(self) -> str:
        """``66.7% [50.4%, 79.8%] (random 1, K = 40, dose 30)``."""
        return f"{self.share.text} ({', '.join(filter(None, (self.name, self.setting)))})"

    @property
    def tested(self) -> str:
        """The p, such as ``0.012``."""
        return NOT_KEPT if self.p is None else format_p(self.p)

    def exceeded(self, alpha: float, *, harms: bool) -> bool | None:
        """Whether the effect is beyond all of them; None where that is not kept."""
        if self.lead is None or self.p is None:
            return None
        return self.p <= alpha and (self.lead.high < 0 if harms else self.lead.low > 0)

    @classmethod
    def of(cls, controls: xr.Dataset, kind: str = "", *, harms: bool = False) -> Controls:
        """From ``controls`` along one dim, at the setting of the effect, or (``kind`` "own\\_") each at its own.

        The control shown has most hits, or fewest where an edit ``harms``.
        """
        after = controls[f"{kind}after"]
        (dim,) = after.dims
        most = controls.isel({dim: int(after.values.argmin() if harms else after.values.argmax())})
        shown = Share.of(most, f"{kind}after"), str(most[dim].item()), own_setting(most) if kind else ""
        if f"{kind}lead" not in controls:
            return cls(*shown, None, None)
        ends = controls[f"{kind}lead_{'high' if harms else 'low'}"]
        closest = controls.isel({dim: int(ends.values.argmax() if harms else ends.values.argmin())})
        return cls(*shown, Share.of(closest, f"{kind}lead"), float(controls[f"{kind}lead_p"].max()))


def own_setting(control: xr.Dataset) -> str:
    """``K = 40, dose 30``: what was chosen for one control."""
    texts = {"own_k": "K = {:.0f}", "own_dose": "dose {:g}"}
    return ", ".join(text.format(float(control[name])) for name, text in texts.items() if name in control)


@dataclass(frozen=True)
class EffectRow:
    """One effect of an intervention: all shares are of the same trials, on which no setting was chosen."""

    measured: str
    """What counts as a hit, and which edit it follows."""
    setting: str
    """Such as ``K = 20, dose 2``."""
    n: int
    """Trials."""
    before: Share
    after: Share
    p: float
    """Exact paired p of after against before."""
    control: Controls
    """At the same setting."""
    own: Controls | None
    """Each at the setting that was best for it on the same choosing trials; None: see ``without_own``."""
    without_own: str
    """Why there are no controls at their own setting; empty if there are."""
    beyond: bool | None
    """Beyond no edit, every control at the same setting, and every control at its own if there are such: each paired p
    is at most alpha and each paired interval leaves out 0. None where an older finst did not keep what that takes."""

    @classmethod
    def of(
        cls,
        measured: str,
        setting: str,
        effect: xr.Dataset,
        controls: xr.Dataset,
        *,
        alpha: float,
        harms: bool = False,
        without_own: str = NOT_KEPT,
    ) -> EffectRow:
        """``effect`` holds the variables of ``DOCUMENTATION`` without dims, ``controls`` along one dim.

        ``controls`` may also hold ``LEAD`` and ``OWN``. An edit that ``harms`` makes hits fewer.
        """
        control = Controls.of(controls, harms=harms)
        own = Controls.of(controls, "own_", harms=harms) if "own_after" in controls else None
        p, change = float(effect["p"]), float(effect["after"] - effect["before"])
        exceeded = [each.exceeded(alpha, harms=harms) for each in (control, own) if each is not None]
        if own is None and without_own == NOT_KEPT:
            exceeded.append(None)
        beyond = None if None in exceeded else all(exceeded) and p <= alpha and (change < 0 if harms else change > 0)
        before, after = (Share.of(effect, name) for name in ("before", "after"))
        reason = "" if own else without_own
        return cls(measured, setting, int(effect["n"]), before, after, p, control, own, reason, beyond)

    @classmethod
    def of_top(cls, measured: str, setting: str, effects: xr.Dataset, **options: Any) -> EffectRow:
        """The strongest heads' effect beside their controls: ``effects`` have the one dim ``set``; see ``of``."""
        controls = effects.sel(set=effects["set"] != "top")
        return cls.of(measured, setting, effects.sel(set="top"), controls, **options)

    @property
    def verdict(self) -> str:
        """Whether the effect is beyond both kinds of controls, in a word or two."""
        return NOT_KEPT if self.beyond is None else "yes" if self.beyond else "no"

    @property
    def controls_text(self) -> str:
        """Both kinds of controls in words, with what each p is against."""
        own = (
            f"at their own best settings at most {self.own.text}, p {_equals(self.own.tested)} against these"
            if self.own
            else f"at their own best settings: {self.without_own}"
        )
        return (
            f"controls at the same setting at most {self.control.text}, p {_equals(self.control.tested)} against "
            f"these; {own}; beyond both: {self.verdict}"
        )


def _equals(tested: str) -> str:
    return tested if tested.startswith("<") or tested == NOT_KEPT else f"= {tested}"
