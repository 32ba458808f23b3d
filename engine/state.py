"""The deciding fold: what the journal's entries mean for the one upgrade that may be unfinished.

Pure. `next_state` takes one entry at a time; the questions that `upgrade`, `recover` and `rollback` decide
by are properties of the result. What people are shown is folded by `projections`, not here.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import groupby
from typing import assert_never

import msgspec

from engine.steps import (
    PREPARATION,
    ChangeCode,
    RestartApplication,
    Step,
    VerifyNode,
    first_irreversible,
    from_record,
)
from journal.events import (
    AnyEvent,
    Direction,
    EndedProcess,
    Entry,
    HistoryCleared,
    JournalOpened,
    MarkerRemoved,
    NodeObservation,
    NodeObserved,
    NodeRestarted,
    PlanResolved,
    RecordedStep,
    RollbackFailed,
    RollbackFinished,
    RollbackStarted,
    StepFailed,
    StepOutcomeUnknown,
    StepStarted,
    StepSucceeded,
    TreeRemoved,
    UpgradeFailed,
    UpgradeId,
    UpgradeInterrupted,
    UpgradeRefused,
    UpgradeRequested,
    UpgradeResumed,
    UpgradeSucceeded,
)

_RESTART = RestartApplication.__name__
_UPDATE = ChangeCode.__name__
DIRECTIONS: tuple[Direction, ...] = ("undo", "do")


class Outcome(Enum):
    """What the journal knows of one walk over one step."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVERTED = "reverted"
    """Failed, and undone by the step itself."""
    UNKNOWN = "unknown"


class Trail(msgspec.Struct, frozen=True, kw_only=True):
    """One step's way through an upgrade: how often each direction was tried and how the last try ended."""

    attempts: dict[Direction, int] = {}
    outcomes: dict[Direction, Outcome] = {}
    left_before: bool = False
    """An earlier walk forward than the last one has left something that was not undone."""

    def then(self, direction: Direction, outcome: Outcome, *, attempt: int) -> "Trail":
        """The trail with one more outcome. Walking a step again forgets that it was undone."""
        outcomes = {**self.outcomes, direction: outcome}
        if direction == "do":
            outcomes.pop("undo", None)
        begins_anew = direction == "do" and outcome is Outcome.STARTED
        return Trail(
            attempts={**self.attempts, direction: attempt},
            outcomes=outcomes,
            left_before=self.left_something if begins_anew else self.left_before,
        )

    @property
    def left_something(self) -> bool:
        """A walk forward was begun, and neither the step itself nor a rollback has undone it."""
        if self.outcomes.get("undo") is Outcome.SUCCEEDED:
            return False
        return self.left_before or self.outcomes.get("do") not in (None, Outcome.REVERTED)


class StepNote(msgspec.Struct, frozen=True, kw_only=True):
    """What a step noted beside its work, and whose note it is."""

    step: int
    name: str
    subject: str
    note: str


class Phase(Enum):
    """Where an upgrade stands."""

    PREPARING = "preparing"
    """No plan yet: nothing but the staging folder was touched."""
    CHANGING = "changing"
    """The plan's steps are being walked."""
    ROLLING_BACK = "rolling back"
    BETWEEN = "between releases"
    """It stopped where neither release is whole; `recover` may go on."""
    SUCCEEDED = "succeeded"
    ENDED = "ended"
    """Refused, rolled back or given up: nothing is left to do."""


class UpgradeState(msgspec.Struct, frozen=True, kw_only=True):
    """One upgrade, as its entries tell it."""

    upgrade_id: UpgradeId
    requested: UpgradeRequested
    phase: Phase = Phase.PREPARING
    plan: PlanResolved | None = None
    node: NodeObservation | None = None
    """The incarnation the upgrade works on."""
    connections_before: int | None = None
    trails: dict[int, Trail] = {}
    ended: tuple[EndedProcess, ...] = ()
    worst_suspend_us: int = 0
    worst_stall_us: int = 0
    notes: tuple[StepNote, ...] = ()
    rollback_begun: bool = False
    suspended_before: tuple[str, ...] = ()
    """Pids that stood still before the rollback, by nobody's doing here."""
    summary: UpgradeSucceeded | None = None

    @property
    def is_open(self) -> bool:
        """`recover` has something to do, and `upgrade` must not begin."""
        return self.phase not in (Phase.SUCCEEDED, Phase.ENDED)

    @property
    def records(self) -> tuple[RecordedStep, ...]:
        """The planned steps, preparation not among them."""
        return self.plan.steps if self.plan else ()

    @property
    def total_steps(self) -> int:
        return len(PREPARATION) + len(self.records)

    def outcome(self, number: int, direction: Direction) -> Outcome | None:
        """How the last walk over step `number` ended; None when it was never begun (or was begun anew)."""
        trail = self.trails.get(number)
        return trail.outcomes.get(direction) if trail else None

    def next_attempt(self, number: int, direction: Direction) -> int:
        trail = self.trails.get(number)
        return 1 + (trail.attempts.get(direction, 0) if trail else 0)

    def steps_to_do(self) -> list[tuple[int, Step]]:
        """The plan's steps that are not known to be done, in order."""
        return [
            (record.number, from_record(record)) for record in self.records if not self._stands(record.number)
        ]

    def steps_to_undo(self) -> list[tuple[int, Step]]:
        """The plan's steps that were begun and left something to undo, newest first; see `_backwards`."""
        begun = [
            (record.number, from_record(record))
            for record in _backwards(self.records)
            if self.left_something(record.number)
        ]
        return [(number, step) for number, step in begun if not isinstance(step, VerifyNode)]

    def left_something(self, number: int) -> bool:
        """Step `number` was begun, and what it did is not undone."""
        trail = self.trails.get(number)
        return trail is not None and trail.left_something

    def _stands(self, number: int) -> bool:
        """Done, and not undone or half undone since."""
        return self.outcome(number, "do") == Outcome.SUCCEEDED and self.outcome(number, "undo") is None

    @property
    def changed_live_code(self) -> bool:
        """A step that changes the running VM was begun."""
        return any(
            from_record(record).is_live and self.outcome(record.number, "do") for record in self.records
        )

    @property
    def may_have_suspended(self) -> bool:
        """An update was begun: the one kind of step that makes processes stand still."""
        return any(record.name == _UPDATE and record.number in self.trails for record in self.records)

    @property
    def was_undone(self) -> bool:
        """Live steps were done, and every one of them is undone again."""
        begun = [
            record.number
            for record in self.records
            if from_record(record).is_live and self.outcome(record.number, "do") == Outcome.SUCCEEDED
        ]
        return bool(begun) and all(self.outcome(n, "undo") == Outcome.SUCCEEDED for n in begun)

    @property
    def passed_no_return(self) -> bool:
        """A step that cannot be undone was begun, and did not say itself that it has done nothing."""
        point = self.point_of_no_return
        return point is not None and self.left_something(point.number)

    @property
    def point_of_no_return(self) -> RecordedStep | None:
        """The first planned step that cannot be undone."""
        number = first_irreversible(self.records)
        return next((record for record in self.records if record.number == number), None)

    @property
    def unsettled(self) -> tuple[RecordedStep, Direction] | None:
        """The planned step that was begun and of whose end nothing is known, and which way it was walked."""
        for record in self.records:
            for direction in DIRECTIONS:
                if self.outcome(record.number, direction) in (Outcome.STARTED, Outcome.UNKNOWN):
                    return record, direction
        return None


def _backwards(records: Sequence[RecordedStep]) -> Iterator[RecordedStep]:
    """Newest first. Only neighbouring restarts keep their order: a hop names an application before those that
    build upon it, which have to find it there when they start, in its old version as in its new one.
    """
    for restarts, group in groupby(reversed(records), key=lambda record: record.name == _RESTART):
        neighbours = [*group]
        yield from reversed(neighbours) if restarts else neighbours


def next_state(state: UpgradeState | None, entry: Entry) -> UpgradeState | None:
    """The state after one more entry. A request begins a new upgrade and forgets the one before."""
    event = entry.event
    if isinstance(event, UpgradeRequested) and entry.upgrade_id is not None:
        return UpgradeState(upgrade_id=entry.upgrade_id, requested=event, node=event.node)
    if state is None or entry.upgrade_id != state.upgrade_id:
        return state
    return _after(state, event)


def _after(state: UpgradeState, event: AnyEvent) -> UpgradeState:
    replace = msgspec.structs.replace
    match event:
        case NodeObserved(node=node, connections=connections):
            return replace(state, node=node, connections_before=connections)
        case PlanResolved():
            return replace(state, plan=event, phase=Phase.CHANGING)
        case StepStarted() | StepSucceeded() | StepFailed() | StepOutcomeUnknown():
            return _after_step(state, event)
        case RollbackStarted(suspended=suspended):
            return replace(state, phase=Phase.ROLLING_BACK, rollback_begun=True, suspended_before=suspended)
        case UpgradeResumed(direction=direction):
            return replace(state, phase=_resumed_phase(state, direction))
        case RollbackFailed():
            return replace(state, phase=Phase.BETWEEN)
        case UpgradeFailed(ended_as=ended_as):
            return replace(state, phase=Phase.BETWEEN if ended_as == "between_releases" else Phase.ENDED)
        case UpgradeSucceeded():
            return replace(state, phase=Phase.SUCCEEDED, summary=event, ended=event.ended or state.ended)
        case UpgradeRefused() | UpgradeInterrupted() | RollbackFinished():
            return replace(state, phase=Phase.ENDED)
        case JournalOpened() | UpgradeRequested() | NodeRestarted() | HistoryCleared():
            return state
        case MarkerRemoved() | TreeRemoved():
            return state
    assert_never(event)


def _resumed_phase(state: UpgradeState, direction: Direction) -> Phase:
    if direction == "undo":
        return Phase.ROLLING_BACK
    return Phase.CHANGING if state.plan else Phase.PREPARING


def _after_step(
    state: UpgradeState, event: StepStarted | StepSucceeded | StepFailed | StepOutcomeUnknown
) -> UpgradeState:
    match event:
        case StepStarted():
            outcome = Outcome.STARTED
        case StepSucceeded():
            outcome = Outcome.SUCCEEDED
        case StepFailed(reverted=reverted):
            outcome = Outcome.REVERTED if reverted else Outcome.FAILED
        case StepOutcomeUnknown():
            outcome = Outcome.UNKNOWN
    trail = state.trails.get(event.step, Trail()).then(event.direction, outcome, attempt=event.attempt)
    state = msgspec.structs.replace(state, trails={**state.trails, event.step: trail})
    if isinstance(event, StepSucceeded | StepFailed):
        return _with_evidence(state, event)
    return state


def _with_evidence(state: UpgradeState, event: StepSucceeded | StepFailed) -> UpgradeState:
    seen = event.evidence
    return msgspec.structs.replace(
        state,
        ended=state.ended + seen.ended,
        worst_suspend_us=max(state.worst_suspend_us, seen.worst_suspend_us or 0),
        worst_stall_us=max(state.worst_stall_us, seen.worst_stall_us or 0),
        notes=state.notes + _notes(state, event),
    )


def _notes(state: UpgradeState, event: StepSucceeded | StepFailed) -> tuple[StepNote, ...]:
    subject = next((record.subject for record in state.records if record.number == event.step), "")
    return tuple(
        StepNote(step=event.step, name=event.name, subject=subject, note=note)
        for note in event.evidence.notes
    )


def folded(entries: Iterable[Entry]) -> UpgradeState | None:
    """The last upgrade among `entries`."""
    state = None
    for entry in entries:
        state = next_state(state, entry)
    return state
