"""The one line of `relup status`: the journal's facts beside what the command saw just now.

Pure: the command looks at the lock, the marker and the node and passes what it saw. The official three
lines are EMQX's own; where one of them would be a lie, ours stands in its place.

    open upgrade   lock held                              in-progress
                   mixed code is live                     between releases: …
                   otherwise                              interrupted at step n of m (…); run 'relup recover'
    hop in the VM  marker names its target                hot-upgraded to X; pending on restart to boot …
                   marker is missing or names another     hot-upgraded to X; but a restart boots …
                   the same, and that VM has ended        idle
    otherwise                                             idle
"""

from typing import Literal

import msgspec

from journal.events import NodeObservation
from projections.facts import Attempt, Facts, is_other_incarnation

Kind = Literal["idle", "in_progress", "pending", "marker_differs", "interrupted", "between_releases"]

RECOVER = "run 'relup recover'"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the command saw when it was run.

    Attributes:
        lock_held: A living relup holds the lock.
        marker: What relup/current says; None when there is none.
        node: The running node; None when it is down or could not be asked.
        vm_ended: The process of the VM that the journal last wrote about is gone.
    """

    lock_held: bool = False
    marker: str | None = None
    node: NodeObservation | None = None
    vm_ended: bool = False


class StatusLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `status` prints first; `kind` is the same for programs.

    Attributes:
        place: Where an upgrade is that goes on while this is read.
        next: What to do, where the text does not say it.
    """

    kind: Kind
    text: str
    place: str | None = None
    next: str | None = None


def status_line(facts: Facts, seen: Seen) -> StatusLine:
    """Where the node stands."""
    if facts.open is not None:
        return _unfinished(facts.open, facts, seen)
    if facts.standing and not has_restarted(facts, seen):
        target = facts.standing[-1].target_version or "?"
        if seen.marker == target or not seen.vm_ended:
            return _hot_upgraded(target, seen.marker)
    return StatusLine(kind="idle", text="idle")


def as_it_stood(facts: Facts, stood: StatusLine) -> str:
    """The text of a status that is history: whether that upgrade was at work or had stopped, nobody wrote down."""
    if stood.kind != "interrupted" or facts.open is None:
        return stood.text.removesuffix(f"; {RECOVER}")
    return f"an upgrade had begun and not ended, at {_place(facts.open)}"


def has_restarted(facts: Facts, seen: Seen) -> bool:
    """The running VM is another one than that which the journal last wrote about."""
    known = facts.observed
    return known is not None and seen.node is not None and is_other_incarnation(known, seen.node)


def _unfinished(attempt: Attempt, facts: Facts, seen: Seen) -> StatusLine:
    if seen.lock_held:
        return StatusLine(kind="in_progress", text="in-progress", place=_place(attempt))
    restarted = attempt.node_restarted or has_restarted(facts, seen)
    if attempt.phase == "between_releases" and not restarted:
        return StatusLine(kind="between_releases", text=_between(attempt))
    since = "; the node has restarted since" if restarted else ""
    return StatusLine(kind="interrupted", text=f"interrupted at {_place(attempt)}{since}; {RECOVER}")


def _place(attempt: Attempt) -> str:
    if attempt.step is None:
        return "its request, before anything was touched"
    undoing = ", undoing" if attempt.direction == "undo" else ""
    if attempt.steps is None:
        return f"step {attempt.step} ({attempt.step_name}), before anything was touched"
    return f"step {attempt.step} of {attempt.steps} ({attempt.step_name}{undoing})"


def _between(attempt: Attempt) -> str:
    old = f"{len(attempt.on_old)} modules of {attempt.from_version or 'the old release'}"
    new = f"{len(attempt.on_new)} of {attempt.target_version or 'the target'}"
    sides = f"{old} and {new} are live"
    if not (attempt.on_old or attempt.on_new):
        sides = "the node could not be asked which modules are live"
    return f"between releases: {sides}, stopped at {_place(attempt)}; {RECOVER}"


def _hot_upgraded(target: str, marker: str | None) -> StatusLine:
    if marker == target:
        return StatusLine(
            kind="pending",
            text=f"hot-upgraded to {target}; pending on restart to boot from the new version",
        )
    boots = (
        "the base release: relup/current is missing" if marker is None else f"{marker}: relup/current says so"
    )
    return StatusLine(
        kind="marker_differs",
        text=f"hot-upgraded to {target}; but a restart boots {boots}",
        next=f"a restart gives the hop up. To have it boot {target} after all: where 'relup verify' names nothing but"
        f" relup/current, write {target} into that file as the node's user. To undo the hop without a restart:"
        " 'relup rollback'.",
    )
