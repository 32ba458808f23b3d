"""The language of the journal: what can become true in an upgrade, in past participles.

Plain frozen values live here and nothing else: no I/O, no decisions. A tag is never renamed and a field
never changes its meaning; a new field has a default, so that an entry of an older relup still decodes
(docs/adr on schema evolution). Versions are EMQX's own texts ("5.10.4"), md5s and digests lower-case hex,
times integers in the unit their name ends with.
"""

from typing import Any, Literal, NewType

import msgspec

UpgradeId = NewType("UpgradeId", str)
Sequence = NewType("Sequence", int)

Direction = Literal["do", "undo"]
"""Which way a step is walked: `do` in an upgrade, `undo` in its rollback."""


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frozen part of an event."""


class Failure(Value, frozen=True):
    """Why something was refused or failed, in the three parts every error of relup has."""

    name: str
    """The official error name where EMQX has one, else ours: the contract for scripts."""
    happened: str
    runs_now: str
    next: str


class Head(Value, frozen=True):
    """One point of the chain: a sequence number and the chain hash of its record (hex)."""

    seq: int
    hash: str


class Requester(Value, frozen=True):
    """Who ran the tool."""

    user: str
    host: str
    pid: int
    tool_version: str


class NodeObservation(Value, frozen=True):
    """The node as it was seen: `os_pid`, `os_start_time` and `creation` together are its incarnation."""

    name: str
    os_pid: int
    os_start_time: int
    """Clock ticks since boot, field 22 of /proc/<pid>/stat."""
    creation: int
    otp_release: str
    running_version: str | None
    """The node's own word, `emqx_release:version/0`."""
    boot_tree: str
    """The tree it was booted from: RootDir or a tree under its relup/."""


class ModuleChange(Value, frozen=True):
    """One module as the plan moves it; md5 None means "not loaded"."""

    module: str
    from_md5: str | None
    to_md5: str | None
    from_file: str | None = None
    to_file: str | None = None


class RecordedStep(Value, frozen=True):
    """A planned step, readable without knowing its kind."""

    number: int
    name: str
    subject: str
    """One line for people: `emqx_metrics`, `41 modules`."""
    undoable: bool
    modules: tuple[ModuleChange, ...] = ()
    arguments: dict[str, Any] = {}
    """What the engine needs besides the modules to walk the step again, as plain values."""


class SuspendedProcess(Value, frozen=True):
    """A process that an update stopped, and for how long."""

    pid: str
    name: str
    suspended_us: int


class EndedProcess(Value, frozen=True):
    """A process that died while the hop ran."""

    pid: str
    name: str
    reason: str
    client_id: str | None = None

    @property
    def left_by_itself(self) -> bool:
        """It was closed, or had done its work; the hop has not ended it."""
        return self.reason in ("normal", "shutdown") or self.reason.startswith("{shutdown,")


class Evidence(Value, frozen=True):
    """What a step saw or was told of its own success. Every field is optional: each step has its own."""

    sha256: str | None = None
    bytes: int | None = None
    members: int | None = None
    manifest_sha256: str | None = None
    path: str | None = None
    modules: int | None = None
    """Modules switched by this step."""
    skipped: int | None = None
    """Modules whose md5 was live already."""
    batches: int | None = None
    worst_stall_us: int | None = None
    processes: int | None = None
    """Processes suspended, changed and resumed."""
    worst_suspend_us: int | None = None
    slowest: tuple[SuspendedProcess, ...] = ()
    ended: tuple[EndedProcess, ...] = ()
    connections: int | None = None
    returned: str | None = None
    """The returned Erlang term as text, of a function or callback."""
    notes: tuple[str, ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=str):
    """What became true."""


class JournalOpened(Event, frozen=True, tag="JournalOpened"):
    journal_id: str
    format: int
    node: str | None
    root: str
    previous_head: Head | None = None


class UpgradeRequested(Event, frozen=True, tag="UpgradeRequested"):
    by: Requester
    tarball: str
    sha256: str | None = None
    options: dict[str, Any] = {}
    waivers: tuple[str, ...] = ()
    node: NodeObservation | None = None
    """The VM that was there then; None when it could not be asked."""


class NodeObserved(Event, frozen=True, tag="NodeObserved"):
    node: NodeObservation
    connections: int | None = None


class StepStarted(Event, frozen=True, tag="StepStarted"):
    step: int
    name: str
    attempt: int = 1
    direction: Direction = "do"


class StepSucceeded(Event, frozen=True, tag="StepSucceeded"):
    step: int
    name: str
    attempt: int = 1
    direction: Direction = "do"
    took_us: int = 0
    source: Literal["reported", "observed"] = "reported"
    """`observed`: nobody reported it, recovery saw in the world that it was done."""
    evidence: Evidence = Evidence()


class StepFailed(Event, frozen=True, tag="StepFailed"):
    step: int
    name: str
    failure: Failure
    reverted: bool = False
    """What the step had done was undone by the step itself: the world is as it was before it."""
    attempt: int = 1
    direction: Direction = "do"
    took_us: int = 0
    evidence: Evidence = Evidence()


class StepOutcomeUnknown(Event, frozen=True, tag="StepOutcomeUnknown"):
    step: int
    name: str
    why: str
    attempt: int = 1
    direction: Direction = "do"


class PlanResolved(Event, frozen=True, tag="PlanResolved"):
    plan_id: str
    from_version: str
    target_version: str
    package_sha256: str
    hop_file: str
    hop_sha256: str
    steps: tuple[RecordedStep, ...]
    previous_marker: str | None = None
    """Content of relup/current before the hop; what a rollback restores."""
    hop_text: str = ""
    """The hop as it was read, so that a replay needs no file."""
    may_end: int = 0
    """How many processes it may end at worst, as the node was then: the room for its record is made by this."""


class UpgradeRefused(Event, frozen=True, tag="UpgradeRefused"):
    failure: Failure
    from_version: str | None = None
    target_version: str | None = None
    """Both as far as they were known by then."""


class RollbackStarted(Event, frozen=True, tag="RollbackStarted"):
    automatic: bool
    by: Requester
    cause: Failure | None = None
    suspended: tuple[str, ...] = ()
    """Pids that stood still before the undoing of a hop that had ended: not by its doing."""


class RollbackFinished(Event, frozen=True, tag="RollbackFinished"):
    pass


class RollbackFailed(Event, frozen=True, tag="RollbackFailed"):
    failure: Failure
    on_old: tuple[str, ...] = ()
    on_new: tuple[str, ...] = ()


class UpgradeSucceeded(Event, frozen=True, tag="UpgradeSucceeded"):
    took_us: int
    connections_before: int | None = None
    connections_after: int | None = None
    worst_suspend_us: int | None = None
    worst_stall_us: int | None = None
    ended: tuple[EndedProcess, ...] = ()


class UpgradeFailed(Event, frozen=True, tag="UpgradeFailed"):
    failure: Failure
    ended_as: Literal["rolled_back", "between_releases"]
    on_old: tuple[str, ...] = ()
    on_new: tuple[str, ...] = ()


class UpgradeInterrupted(Event, frozen=True, tag="UpgradeInterrupted"):
    """An upgrade was given up; `runs_now` says what its node was left with."""

    why: str
    runs_now: str
    from_version: str | None = None
    target_version: str | None = None
    """Both as far as they were known by then; a plan says them itself."""


class UpgradeResumed(Event, frozen=True, tag="UpgradeResumed"):
    by: Requester
    direction: Direction


class NodeRestarted(Event, frozen=True, tag="NodeRestarted"):
    """Recovery or a command saw another incarnation than the one the upgrade worked on."""

    node: NodeObservation


class MarkerRemoved(Event, frozen=True, tag="MarkerRemoved"):
    version: str
    by: Requester


class TreeRemoved(Event, frozen=True, tag="TreeRemoved"):
    path: str
    bytes: int
    by: Requester


class HistoryCleared(Event, frozen=True, tag="HistoryCleared"):
    """A prefix was dropped; `state` is the fold of all that was dropped, so that replay can start after."""

    anchor: Head
    by: Requester
    dropped_upgrades: int
    state: dict[str, Any] = {}


AnyEvent = (
    JournalOpened
    | UpgradeRequested
    | NodeObserved
    | StepStarted
    | StepSucceeded
    | StepFailed
    | StepOutcomeUnknown
    | PlanResolved
    | UpgradeRefused
    | RollbackStarted
    | RollbackFinished
    | RollbackFailed
    | UpgradeSucceeded
    | UpgradeFailed
    | UpgradeInterrupted
    | UpgradeResumed
    | NodeRestarted
    | MarkerRemoved
    | TreeRemoved
    | HistoryCleared
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the journal.

    Attributes:
        seq: Position, from 1, without gaps; the order of events is this and never the time.
        at: Nanoseconds since the epoch, UTC.
        upgrade_id: The upgrade it belongs to; None for what concerns the node as a whole.
    """

    seq: Sequence
    at: int
    upgrade_id: UpgradeId | None
    event: AnyEvent
