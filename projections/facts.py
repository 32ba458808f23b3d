"""The fold behind `status`: where the node's upgrades stand, from the journal alone.

Nothing here asks the node, the lock or a file. A snapshot of `Facts` is kept in the journal and its plain
form goes into HistoryCleared, so a field may be added with a default but never change its meaning.
"""

from collections.abc import Iterable
from typing import Literal, assert_never

import msgspec

from journal.events import (
    Direction,
    Entry,
    Failure,
    Head,
    HistoryCleared,
    JournalOpened,
    MarkerRemoved,
    MarkerRestored,
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

PROJECTION = "status.1"
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
    for entry in entries:
        step_forward(facts, entry)
    return facts


def step_forward(facts: Facts, entry: Entry) -> None:
    """Fold one entry."""
    event = entry.event
    facts.seq = entry.seq
    facts.at = entry.at
    match event:
        case StepStarted():
            if (attempt := _own(facts, entry)) is not None:
                attempt.step, attempt.step_name, attempt.direction = event.step, event.name, event.direction
        case StepSucceeded() | StepOutcomeUnknown() | TreeRemoved():
            pass
        case StepFailed():
            if (attempt := _own(facts, entry)) is not None:
                attempt.failure = event.failure
        case UpgradeRequested():
            _request(facts, entry, event)
        case NodeObserved():
            _observe(facts, event.node)
            if (attempt := _own(facts, entry)) is not None:
                attempt.from_version = attempt.from_version or event.node.running_version
        case PlanResolved():
            if (attempt := _own(facts, entry)) is not None:
                _plan(attempt, event)
        case UpgradeResumed():
            if (attempt := _own(facts, entry)) is not None:
                attempt.phase = _phase_resumed(attempt, event.direction)
        case RollbackStarted():
            if (attempt := _own(facts, entry)) is not None:
                attempt.phase, attempt.failure = "rolling_back", event.cause or attempt.failure
        case RollbackFailed():
            if (attempt := _own(facts, entry)) is not None:
                _between(attempt, event)
        case UpgradeFailed(ended_as="between_releases"):
            if (attempt := _own(facts, entry)) is not None:
                _between(attempt, event)
        case UpgradeFailed() | UpgradeRefused():
            _fail(facts, entry, event)
        case UpgradeInterrupted():
            _end(facts, entry, "interrupted")
        case UpgradeSucceeded():
            _end(facts, entry, "success")
        case RollbackFinished():
            _end(facts, entry, "rolled_back")
        case NodeRestarted():
            _restart(facts, event.node)
        case MarkerRemoved():
            facts.marker = None
        case MarkerRestored():
            facts.marker = event.version
        case JournalOpened():
            facts.journal_id, facts.node, facts.root = event.journal_id, event.node, event.root
        case HistoryCleared():
            facts.cleared = event.anchor
        case _:
            assert_never(event)


def _own(facts: Facts, entry: Entry) -> Attempt | None:
    """The attempt an entry belongs to, taken up again when it had ended; None when it is not known."""
    if facts.open is not None and facts.open.upgrade_id == entry.upgrade_id:
        return facts.open
    if isinstance(entry.event, RollbackStarted | UpgradeResumed):
        for ended in (*facts.standing, facts.last):
            if ended is not None and ended.upgrade_id == entry.upgrade_id:
                facts.open = msgspec.structs.replace(ended, finished_at=None, result=None)
                return facts.open
    return None


def _request(facts: Facts, entry: Entry, event: UpgradeRequested) -> None:
    facts.attempts += 1
    facts.open = Attempt(
        upgrade_id=entry.upgrade_id or "",
        seq=entry.seq,
        requested_at=entry.at,
        by=event.by,
        tarball=event.tarball,
    )


def _plan(attempt: Attempt, event: PlanResolved) -> None:
    attempt.phase = "changing"
    attempt.from_version, attempt.target_version = event.from_version, event.target_version
    attempt.previous_marker = event.previous_marker
    attempt.steps = max((step.number for step in event.steps), default=None)


def _phase_resumed(attempt: Attempt, direction: Direction) -> Phase:
    if direction == "undo":
        return "rolling_back"
    return "preparing" if attempt.steps is None else "changing"


def _between(attempt: Attempt, event: RollbackFailed | UpgradeFailed) -> None:
    attempt.phase = "between_releases"
    attempt.failure, attempt.on_old, attempt.on_new = event.failure, event.on_old, event.on_new


def _fail(facts: Facts, entry: Entry, event: UpgradeFailed | UpgradeRefused) -> None:
    attempt = facts.open
    if attempt is None or attempt.upgrade_id != entry.upgrade_id:
        # After RollbackFinished this only says why.
        if facts.last is not None and facts.last.upgrade_id == entry.upgrade_id:
            facts.last.failure = event.failure
        return
    attempt.failure = event.failure
    if isinstance(event, UpgradeRefused):
        attempt.from_version = event.from_version or attempt.from_version
        attempt.target_version = event.target_version or attempt.target_version
    _end(facts, entry, "refused" if isinstance(event, UpgradeRefused) else "rolled_back")


def _end(facts: Facts, entry: Entry, result: Result) -> None:
    attempt = _own(facts, entry)
    if attempt is None:
        return
    attempt.finished_at, attempt.result = entry.at, result
    facts.open, facts.last = None, attempt
    was_standing = any(hop.upgrade_id == attempt.upgrade_id for hop in facts.standing)
    facts.standing = [hop for hop in facts.standing if hop.upgrade_id != attempt.upgrade_id]
    if result == "success":
        if facts.standing and facts.standing[-1].target_version != attempt.from_version:
            # The VM came back to another release in between without anyone writing it down.
            facts.standing = []
        facts.standing.append(msgspec.structs.replace(attempt, failure=None))
        facts.marker = attempt.target_version
    elif result == "rolled_back" and (was_standing or attempt.steps is not None):
        facts.marker = attempt.previous_marker


def _observe(facts: Facts, node: NodeObservation) -> None:
    if facts.observed is not None and is_other_incarnation(facts.observed, node):
        facts.standing = []
    facts.observed = node


def _restart(facts: Facts, node: NodeObservation) -> None:
    facts.observed = node
    facts.standing = []
    attempt = facts.open
    if attempt is None:
        return
    attempt.node_restarted = True
    if attempt.phase == "between_releases":
        # The mixed code died with the VM; what its open record still needs, `recover` does.
        attempt.phase = "rolling_back" if attempt.direction == "undo" else "changing"


def is_other_incarnation(known: NodeObservation, seen: NodeObservation) -> bool:
    """The VM seen is not the one known: another process, or the same pid started at another time."""
    return (known.os_pid, known.os_start_time, known.creation) != (
        seen.os_pid,
        seen.os_start_time,
        seen.creation,
    )
