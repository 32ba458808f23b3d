"""One run: an upgrade in hand, with everything it is allowed to touch. It keeps the order of durability.

A step's start is in the journal before the world is touched, and its outcome before the next decision.
Nothing is decided here; `upgrade`, `rollback` and `recovery` decide and call `walk`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.clock import Clock
from engine.errors import NodeUnreachable, RelupError, StepFailure
from engine.interrupts import Interrupts
from engine.node.door import Node
from engine.node.errors import RemoteException
from engine.options import Options
from engine.place import Place
from engine.progress import Progress
from engine.prospect import Prospect
from engine.release.manifest import Manifest
from engine.state import UpgradeState, next_state
from engine.steps import RestartApplication, Step, from_record, name_of, subject_of
from journal.door import Journal
from journal.errors import JournalError
from journal.events import (
    AnyEvent,
    Direction,
    Evidence,
    Failure,
    Requester,
    StepFailed,
    StepOutcomeUnknown,
    StepStarted,
    StepSucceeded,
    UpgradeId,
)


@dataclass(kw_only=True)
class House:
    """What every command that changes something has at hand.

    Attributes:
        connect: Opens a connection to the running node; raises `NodeUnreachable`.
    """

    place: Place
    data_dir: Path
    """The node's, which may lie outside RootDir."""
    catalog: Path | None
    """A folder of hops to look in first."""
    journal: Journal
    connect: Callable[[], Node]
    clock: Clock
    progress: Progress
    interrupts: Interrupts
    by: Requester


@dataclass(kw_only=True)
class Run:
    """One upgrade in one house; `state` is the fold of all it has written so far."""

    house: House
    options: Options
    state: UpgradeState
    manifest: Manifest | None = None
    """Of the staging, when this very process unpacked it."""
    package_sha256: str = ""
    """Known once the package is verified."""
    from_version: str | None = None
    """Of the release that runs: the node's own word, and that of its tree once the survey has found it."""
    target_version: str | None = None
    """Of the release in the package, known once it lies unpacked."""
    prospect: Prospect | None = None
    """What the survey saw, once it was made."""
    _node: Node | None = None

    def __post_init__(self) -> None:
        self._begun_ns = self.house.clock.steady_ns()

    @property
    def took_us(self) -> int:
        """Microseconds since this run took the upgrade in hand."""
        return self._since(self._begun_ns)

    @property
    def upgrade_id(self) -> UpgradeId:
        return self.state.upgrade_id

    @property
    def node(self) -> Node:
        """The connection to the node, opened when it is first needed.

        Raises:
            NodeUnreachable: It cannot be opened.
        """
        if self._node is None:
            self._node = self.house.connect()
        return self._node

    def hang_up(self) -> None:
        """Close the connection, if there is one; the next use of `node` opens another."""
        if self._node is not None:
            self._node.close()
            self._node = None

    def record(self, event: AnyEvent) -> None:
        """Write an event of this upgrade down and know it."""
        entry = self.house.journal.append(event, upgrade_id=self.upgrade_id)
        state = next_state(self.state, entry)
        assert state is not None, "an upgrade's own event never ends its state"
        self.state = state
        if isinstance(event, StepSucceeded) and event.source == "reported":
            self._tell_notes(event)

    def _tell_notes(self, event: StepSucceeded) -> None:
        """What the VM noted in a step is told as the step ends: a process left out of an update, say."""
        for record in self.state.records:
            if record.number == event.step:
                title = _title(from_record(record), event.direction)
                for note in event.evidence.notes:
                    self.house.progress.note(f"{title}: {note}")

    def walk(
        self,
        number: int,
        step: Step,
        direction: Direction,
        act: Callable[[int], Evidence],
    ) -> None:
        """Walk one step: start, act, outcome, each durable before what follows.

        Args:
            number: Its number in the plan.
            step: The step, for its name.
            direction: Which way.
            act: Does it; gets the number of this attempt.

        Raises:
            StepFailure: It failed; the failure is in the journal.
            NodeUnreachable: Nobody knows how it ended; that is in the journal.
        """
        attempt = self.state.next_attempt(number, direction)
        name = name_of(step)
        self.house.progress.step(_title(step, direction))
        self.record(StepStarted(step=number, name=name, attempt=attempt, direction=direction))
        begun = self.house.clock.steady_ns()
        try:
            with _answered(step):
                evidence = act(attempt)
        except NodeUnreachable as error:
            self.record(
                StepOutcomeUnknown(
                    step=number, name=name, attempt=attempt, direction=direction, why=error.happened
                )
            )
            raise
        except RelupError as error:
            self.record(
                StepFailed(
                    step=number,
                    name=name,
                    attempt=attempt,
                    direction=direction,
                    failure=failure_of(error, runs_now="the step's end is in the entries after this one"),
                    reverted=isinstance(error, StepFailure) and error.reverted,
                    took_us=self._since(begun),
                    evidence=error.evidence if isinstance(error, StepFailure) else Evidence(),
                )
            )
            raise
        self.record(
            StepSucceeded(
                step=number,
                name=name,
                attempt=attempt,
                direction=direction,
                took_us=self._since(begun),
                evidence=evidence,
            )
        )

    def observed(self, number: int, step: Step, direction: Direction, *, note: str) -> None:
        """Record a step that nobody reported, but that the world shows to be done."""
        self.record(
            StepSucceeded(
                step=number,
                name=name_of(step),
                attempt=max(1, self.state.next_attempt(number, direction) - 1),
                direction=direction,
                source="observed",
                evidence=Evidence(notes=(note,)),
            )
        )

    def _since(self, begun_ns: int) -> int:
        return (self.house.clock.steady_ns() - begun_ns) // 1_000


@contextmanager
def _answered(step: Step) -> Iterator[None]:
    """A node that answers with an exception is not lost: a step that only reads from it has failed.

    Not so a live step, whose end in the VM such an answer does not tell.

    Raises:
        StepFailure: In place of the RemoteException.
    """
    try:
        yield
    except RemoteException as raised:
        if step.is_live:
            raise
        raise StepFailure(raised.happened, next=raised.next, name=raised.name) from raised


@contextmanager
def leaving(runs_now: str) -> Iterator[None]:
    """A journal that cannot be written in this block leaves the node as `runs_now` says."""
    try:
        yield
    except JournalError as fault:
        fault.runs_now = runs_now
        raise


def failure_of(error: RelupError, *, runs_now: str) -> Failure:
    """An error as the journal keeps it; what it says itself about what runs now goes first."""
    return Failure(
        name=error.name,
        happened=error.happened,
        runs_now=error.runs_now or runs_now,
        next=error.next,
    )


_TITLES: dict[str, str] = {
    "VerifyPackage": "verify package",
    "UnpackTarget": "unpack target",
    "DeployTarget": "deploy target",
    "SetCodePath": "set code path",
    "LoadModules": "load",
    "ChangeCode": "update",
    "RestartApplication": "restart",
    "VerifyNode": "verify node",
    "ApplyFunction": "apply",
    "RunCallback": "callback",
    "MakePermanent": "make permanent",
}


def _title(step: Step, direction: Direction) -> str:
    """What the progress bar says: `update emqx_metrics`, `undo: update emqx_metrics`."""
    title = _TITLES[name_of(step)]
    if isinstance(step, RestartApplication):
        title = f"{title} {step.application}"  # how many modules is counted while they are loaded
    elif step.is_live:
        title = f"{title} {subject_of(step)}"
    return title if direction == "do" else f"undo: {title}"
