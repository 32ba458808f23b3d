"""Findings: what a plan sees coming, as values. How severe they are, which are waived, and what refuses.

A finding is known by its code and its subject; `CODE:SUBJECT` is what `--allow` takes. What each code means is
in `explanations`.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from engine.errors import BadRelease, BadRequest

Severity = Literal["error", "warning", "note"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the plan saw.

    Attributes:
        code: Its kind: `record_changed`.
        severity: An `error` refuses the hop, a `warning` does with --strict, a `note` never.
        subject: What it is about: a module, an application, `caller->module:function/arity`.
        happened: What was seen, one or two sentences.
        next: What to do.
    """

    code: str
    severity: Severity
    subject: str
    happened: str
    next: str

    @property
    def key(self) -> str:
        return f"{self.code}:{self.subject}"


class UnsafeHop(BadRelease):
    """The plan has findings that refuse it."""

    name = "unsafe_hop"


class InvalidWaiver(BadRequest):
    """A waiver that is no `CODE:SUBJECT`."""

    name = "invalid_waiver"


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of one plan, sorted by what they do to it.

    Attributes:
        refusing: Not waived, and severe enough.
        waived: Accepted one by one by the operator.
        others: The rest.
        unused: Waivers that match no finding.
    """

    refusing: tuple[Finding, ...] = ()
    waived: tuple[Finding, ...] = ()
    others: tuple[Finding, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def is_safe(self) -> bool:
        """Nothing refuses, nothing was waived, and no module escaped the check of its state's shape."""
        unchecked = any(finding.code == "no_debug_info" for finding in self.others)
        return not (self.refusing or self.waived or unchecked)


def judge(findings: Iterable[Finding], *, waivers: Iterable[str] = (), strict: bool = False) -> Judgement:
    """Sort findings by severity and waivers.

    Args:
        waivers: `CODE:SUBJECT`, exactly as the plan prints them.
        strict: Warnings refuse as errors do.

    Raises:
        InvalidWaiver: One has no colon, or nothing on one side of it.
    """
    wanted = set(map(_checked, waivers))
    kept = sorted(findings, key=_order)
    refuses = ("error", "warning") if strict else ("error",)
    waived = tuple(finding for finding in kept if finding.key in wanted)
    rest = [finding for finding in kept if finding.key not in wanted]
    return Judgement(
        refusing=tuple(finding for finding in rest if finding.severity in refuses),
        waived=waived,
        others=tuple(finding for finding in rest if finding.severity not in refuses),
        unused=tuple(sorted(wanted - {finding.key for finding in waived})),
    )


def require_safe(judgement: Judgement) -> None:
    """Refuse a hop with findings that refuse it.

    Raises:
        UnsafeHop: There are some; the text names each.
    """
    if not judgement.refusing:
        return
    first = judgement.refusing[0]
    shown = "; ".join(f"{finding.key}: {finding.happened}" for finding in judgement.refusing[:10])
    count = len(judgement.refusing)
    more = count - 10
    refuse = "1 finding that refuses" if count == 1 else f"{count} findings that refuse"
    raise UnsafeHop(
        f"the plan has {refuse} the hop: {shown}" + (f"; and {more} more" if more > 0 else ""),
        next=f"'relup explain {first.code}' says what it means. {first.next}"
        f" To go on all the same, accept each with --allow CODE:SUBJECT (--allow {first.key}).",
    )


_RANK = {"error": 0, "warning": 1, "note": 2}


def _order(finding: Finding) -> tuple[int, str, str]:
    return _RANK[finding.severity], finding.code, finding.subject


def _checked(waiver: str) -> str:
    code, colon, subject = waiver.partition(":")
    if not (code and colon and subject):
        raise InvalidWaiver(
            f"{waiver!r} is no waiver", next="Write --allow CODE:SUBJECT, as the plan prints the finding."
        )
    return waiver
