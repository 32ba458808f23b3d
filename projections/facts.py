"""The fold behind `status`: where the node's upgrades stand, from the journal alone.

Nothing here asks the node, the lock or a file. A snapshot of `Facts` is kept in the journal and its plain
form goes into HistoryCleared, so a field may be added with a default but never change its meaning.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from journal.events import (
    AnyEvent,
    Direction,
    Entry,
    Failure,
    Head,
    HistoryCleared,
    JournalOpened,
    MarkerRemoved,
    NodeObservation,
    NodeObserved,
    NodeRestarted,
    PlanResolved,
    Requester,
    RollbackFailed,
    RollbackFinished,
    RollbackStarted,
    StepFailed,
    StepOutcomeUnknown,
    StepStarted,
    StepSucceeded,
    TreeRemoved,
    UpgradeFailed,
    UpgradeInterrupted,
    UpgradeRefused,
    UpgradeRequested,
    UpgradeResumed,
    UpgradeSucceeded,
)

PROJECTION = "status.2"
"""Name and version of the snapshots."""

Phase = Literal["preparing", "changing", "rolling_back", "between_releases"]
Result = Literal["success", "refused", "rolled_back", "interrupted"]


class Attempt(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One upgrade as far as it has come; `phase` is where it stands, or stood when it ended."""

    upgrade_id: str
    seq: int
    """Of its request."""
    requested_at: int
    by: Requester
    tarball: str
    phase: Phase = "preparing"
    from_version: str | None = None
    target_version: str | None = None
    previous_marker: str | None = None
    steps: int | None = None
    """How many steps it has in all; known with the plan."""
    step: int | None = None
    """The step begun last."""
    step_name: str | None = None
    direction: Direction = "do"
    failure: Failure | None = None
    on_old: tuple[str, ...] = ()
    on_new: tuple[str, ...] = ()
    node_restarted: bool = False
    """The VM that it worked on is gone, and the live changes with it."""
    finished_at: int | None = None
    result: Result | None = None


class Facts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Everything that the journal knows of the present."""

    seq: int = 0
    """The last entry that was folded."""
    at: int = 0
    journal_id: str | None = None
    node: str | None = None
    root: str | None = None
    attempts: int = 0
    open: Attempt | None = None
    """The upgrade that has not ended."""
    standing: list[Attempt] = []
    """Hops that succeeded and live in the VM until it restarts, oldest first."""
    last: Attempt | None = None
    """The attempt that ended last."""
    marker: str | None = None
    """What relup/current says, as far as relup wrote it."""
    observed: NodeObservation | None = None
    cleared: Head | None = None


def fold(entries: Iterable[Entry], facts: Facts) -> Facts:
    """Fold entries on top of `facts`, which is changed and returned."""
    meanings = MEANINGS
    entry = None
    for entry in entries:
        event = entry.event
        meaning = meanings[type(event)]
        if meaning is not None:
            meaning(facts, entry, event)
    if entry is not None:
        facts.seq, facts.at = entry.seq, entry.at
    return facts


def step_forward(facts: Facts, entry: Entry) -> None:
    """Fold one entry."""
    event = entry.event
    meaning = MEANINGS[type(event)]
    if meaning is not None:
        meaning(facts, entry, event)
    facts.seq, facts.at = entry.seq, entry.at


def _own(facts: Facts, entry: Entry) -> Attempt | None:
    """The open attempt, when the entry belongs to it."""
    attempt = facts.open
    return attempt if attempt is not None and attempt.upgrade_id == entry.upgrade_id else None


def _own_again(facts: Facts, entry: Entry) -> Attempt | None:
    """The attempt an entry belongs to, taken up again when it had ended; None when it is not known."""
    if (attempt := _own(facts, entry)) is not None:
        return attempt
    for ended in (*facts.standing, facts.last):
        if ended is not None and ended.upgrade_id == entry.upgrade_id:
            facts.open = msgspec.structs.replace(ended, finished_at=None, result=None)
            return facts.open
    return None


def _begin_step(facts: Facts, entry: Entry, event: StepStarted) -> None:
    attempt = facts.open
    if attempt is not None and attempt.upgrade_id == entry.upgrade_id:
        attempt.step, attempt.step_name, attempt.direction = event.step, event.name, event.direction


def _fail_step(facts: Facts, entry: Entry, event: StepFailed) -> None:
    if (attempt := _own(facts, entry)) is not None:
        attempt.failure = event.failure


def _request(facts: Facts, entry: Entry, event: UpgradeRequested) -> None:
    facts.attempts += 1
    facts.open = Attempt(
        upgrade_id=entry.upgrade_id or "",
        seq=entry.seq,
        requested_at=entry.at,
        by=event.by,
        tarball=event.tarball,
    )


def _plan(facts: Facts, entry: Entry, event: PlanResolved) -> None:
    if (attempt := _own(facts, entry)) is not None:
        attempt.phase = "changing"
        attempt.from_version, attempt.target_version = event.from_version, event.target_version
        attempt.previous_marker = event.previous_marker
        attempt.steps = max((step.number for step in event.steps), default=None)


def _resume(facts: Facts, entry: Entry, event: UpgradeResumed) -> None:
    if (attempt := _own_again(facts, entry)) is not None:
        if event.direction == "undo":
            attempt.phase = "rolling_back"
        else:
            attempt.phase = "preparing" if attempt.steps is None else "changing"


def _begin_rollback(facts: Facts, entry: Entry, event: RollbackStarted) -> None:
    if (attempt := _own_again(facts, entry)) is not None:
        attempt.phase, attempt.failure = "rolling_back", event.cause or attempt.failure


def _between(facts: Facts, entry: Entry, event: RollbackFailed | UpgradeFailed) -> None:
    if (attempt := _own(facts, entry)) is not None:
        attempt.phase = "between_releases"
        attempt.failure, attempt.on_old, attempt.on_new = event.failure, event.on_old, event.on_new


def _fail(facts: Facts, entry: Entry, event: UpgradeFailed) -> None:
    if event.ended_as == "between_releases":
        _between(facts, entry, event)
    elif (attempt := _own(facts, entry)) is not None:
        attempt.failure = event.failure
        _end(facts, entry, attempt, "rolled_back")
    elif facts.last is not None and facts.last.upgrade_id == entry.upgrade_id:
        # After RollbackFinished this only says why.
        facts.last.failure = event.failure


def _refuse(facts: Facts, entry: Entry, event: UpgradeRefused) -> None:
    if (attempt := _own(facts, entry)) is not None:
        attempt.failure = event.failure
        _learn_versions(attempt, event)
        _end(facts, entry, attempt, "refused")


def _interrupt(facts: Facts, entry: Entry, event: UpgradeInterrupted) -> None:
    if (attempt := _own(facts, entry)) is not None:
        _learn_versions(attempt, event)
        _end(facts, entry, attempt, "interrupted")


def _learn_versions(attempt: Attempt, event: UpgradeRefused | UpgradeInterrupted) -> None:
    attempt.from_version = event.from_version or attempt.from_version
    attempt.target_version = event.target_version or attempt.target_version


def _ends_as(result: Result) -> "Meaning":
    def end(facts: Facts, entry: Entry, event: AnyEvent) -> None:
        if (attempt := _own(facts, entry)) is not None:
            _end(facts, entry, attempt, result)

    return end


def _end(facts: Facts, entry: Entry, attempt: Attempt, result: Result) -> None:
    attempt.finished_at, attempt.result = entry.at, result
    facts.open, facts.last = None, attempt
    facts.standing = [hop for hop in facts.standing if hop.upgrade_id != attempt.upgrade_id]
    if result == "success":
        if facts.standing and facts.standing[-1].target_version != attempt.from_version:
            # The VM came back to another release in between without anyone writing it down.
            facts.standing = []
        if not attempt.node_restarted:
            # A VM that has booted the target has nothing pending.
            facts.standing.append(msgspec.structs.replace(attempt, failure=None))
        facts.marker = attempt.target_version
    elif result == "rolled_back" and attempt.steps is not None:
        facts.marker = attempt.previous_marker


def _observe(facts: Facts, entry: Entry, event: NodeObserved) -> None:
    if facts.observed is not None and is_other_incarnation(facts.observed, event.node):
        facts.standing = []
    facts.observed = event.node
    if (attempt := _own(facts, entry)) is not None:
        attempt.from_version = attempt.from_version or event.node.running_version


def _restart(facts: Facts, entry: Entry, event: NodeRestarted) -> None:
    facts.observed = event.node
    facts.standing = []
    attempt = facts.open
    if attempt is None:
        return
    attempt.node_restarted = True
    if attempt.phase == "between_releases":
        # The mixed code died with the VM; what its open record still needs, `recover` does.
        attempt.phase = "rolling_back" if attempt.direction == "undo" else "changing"


def _remove_marker(facts: Facts, entry: Entry, event: MarkerRemoved) -> None:
    facts.marker = None


def _open_journal(facts: Facts, entry: Entry, event: JournalOpened) -> None:
    facts.journal_id, facts.node, facts.root = event.journal_id, event.node, event.root


def _clear(facts: Facts, entry: Entry, event: HistoryCleared) -> None:
    facts.cleared = event.anchor


Meaning = Callable[[Facts, Entry, Any], None]

MEANINGS: dict[type, Meaning | None] = {
    StepStarted: _begin_step,
    StepSucceeded: None,
    StepFailed: _fail_step,
    StepOutcomeUnknown: None,
    UpgradeRequested: _request,
    NodeObserved: _observe,
    PlanResolved: _plan,
    UpgradeRefused: _refuse,
    UpgradeResumed: _resume,
    RollbackStarted: _begin_rollback,
    RollbackFailed: _between,
    RollbackFinished: _ends_as("rolled_back"),
    UpgradeFailed: _fail,
    UpgradeInterrupted: _interrupt,
    UpgradeSucceeded: _ends_as("success"),
    NodeRestarted: _restart,
    MarkerRemoved: _remove_marker,
    TreeRemoved: None,
    JournalOpened: _open_journal,
    HistoryCleared: _clear,
}
"""What each event means for the facts; None for nothing. A table, because a million entries go through it."""


def is_other_incarnation(known: NodeObservation, seen: NodeObservation) -> bool:
    """The VM seen is not the one known: another process, or the same pid started at another time."""
    return (known.os_pid, known.os_start_time, known.creation) != (
        seen.os_pid,
        seen.os_start_time,
        seen.creation,
    )
