"""`relup logs`: one row per attempt, oldest first, in EMQX's own text or as one JSON object each.

The last rows are found backwards from the head, so that their time does not grow with the history.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from journal.door import History
from journal.events import (
    EndedProcess,
    Entry,
    Failure,
    NodeObserved,
    PlanResolved,
    StepFailed,
    StepSucceeded,
    UpgradeRequested,
    UpgradeSucceeded,
)
from projections.facts import Attempt, Facts, Result, step_forward
from projections.moment import shown

SCHEMA_VERSION = 1
NO_HISTORY = "no upgrade history on this node"
FIRST_WINDOW = 1024

RowStatus = Literal["in-progress", "interrupted", "between-releases", "finished"]


class LogRow(msgspec.Struct, kw_only=True):
    """One attempt; docs/journal.md describes every field."""

    schema_version: int = SCHEMA_VERSION
    upgrade_id: str
    seq: int
    started: str
    started_ns: int
    finished: str | None = None
    finished_ns: int | None = None
    from_version: str | None = None
    target_version: str | None = None
    status: RowStatus = "interrupted"
    result: Result | None = None
    failure: Failure | None = None
    user: str
    host: str
    pid: int
    tool_version: str
    tarball: str
    package_sha256: str | None = None
    hop_file: str | None = None
    hop_sha256: str | None = None
    plan_id: str | None = None
    steps: int | None = None
    took_us: int | None = None
    connections_before: int | None = None
    connections_after: int | None = None
    worst_suspend_us: int | None = None
    worst_stall_us: int | None = None
    processes_ended: int = 0


class LogFold:
    """Folds entries into rows; attempts whose request was not folded are left out."""

    def __init__(self) -> None:
        self._facts = Facts()
        self._attempts: dict[str, Attempt] = {}
        self._rows: dict[str, LogRow] = {}

    def add(self, entry: Entry) -> None:
        """Fold one entry."""
        facts = self._facts
        step_forward(facts, entry)
        upgrade_id = entry.upgrade_id
        if upgrade_id is None:
            return
        for attempt in (facts.open, facts.last):
            if attempt is not None and attempt.upgrade_id == upgrade_id:
                self._attempts[upgrade_id] = attempt
                break
        event = entry.event
        if isinstance(event, UpgradeRequested):
            self._rows[upgrade_id] = _requested(entry, event)
        elif (row := self._rows.get(upgrade_id)) is not None:
            _enrich(row, entry)

    def rows(self, *, lock_held: bool) -> list[LogRow]:
        """The rows, oldest request first.

        Args:
            lock_held: A living relup holds the lock: an open attempt is in progress, not interrupted.
        """
        for upgrade_id, row in self._rows.items():
            _conclude(row, self._attempts[upgrade_id], self._facts.open, lock_held=lock_held)
        return list(self._rows.values())


def all_rows(entries: Iterable[Entry], *, lock_held: bool = False) -> list[LogRow]:
    """Every attempt that was requested in `entries`."""
    fold = LogFold()
    for entry in entries:
        fold.add(entry)
    return fold.rows(lock_held=lock_held)


def last_rows(history: History, count: int, *, lock_held: bool = False) -> list[LogRow]:
    """The `count` newest attempts, oldest of them first.

    Raises:
        JournalError: The journal cannot be read.
    """
    head = history.head()
    if head is None or count < 1:
        return []
    window = FIRST_WINDOW
    while True:
        start = max(1, head.seq + 1 - window)
        rows = all_rows(history.entries(start), lock_held=lock_held)
        if len(rows) >= count or start == 1:
            return rows[-count:]
        window *= 4


def started_between(rows: Iterable[LogRow], *, since_ns: int | None, until_ns: int | None) -> list[LogRow]:
    """The rows whose attempt was requested in that time, both ends included."""
    return [
        row
        for row in rows
        if (since_ns is None or row.started_ns >= since_ns)
        and (until_ns is None or row.started_ns <= until_ns)
    ]


def official_text(row: LogRow) -> str:
    """`started=… finished=… 5.10.4 -> 5.10.5 status=finished result=success`."""
    text = (
        f"started={row.started} finished={row.finished or '-'} "
        f"{row.from_version or '?'} -> {row.target_version or '?'} status={row.status}"
    )
    if row.result is not None:
        text += f" result={row.result}"
    if row.failure is not None and row.result != "success":
        text += f" reason={row.failure.name}"
    return text


def _requested(entry: Entry, event: UpgradeRequested) -> LogRow:
    return LogRow(
        upgrade_id=entry.upgrade_id or "",
        seq=entry.seq,
        started=shown(entry.at),
        started_ns=entry.at,
        user=event.by.user,
        host=event.by.host,
        pid=event.by.pid,
        tool_version=event.by.tool_version,
        tarball=event.tarball,
        package_sha256=event.sha256,
    )


def _enrich(row: LogRow, entry: Entry) -> None:
    """Add what only the row tells."""
    event = entry.event
    if isinstance(event, StepSucceeded | StepFailed):
        evidence = event.evidence
        row.processes_ended += _by_hop(evidence.ended)
        row.worst_suspend_us = _worst(row.worst_suspend_us, evidence.worst_suspend_us)
        row.worst_stall_us = _worst(row.worst_stall_us, evidence.worst_stall_us)
        if event.name == "VerifyPackage" and evidence.sha256 is not None:
            row.package_sha256 = evidence.sha256
    elif isinstance(event, PlanResolved):
        row.package_sha256, row.plan_id = event.package_sha256, event.plan_id
        row.hop_file, row.hop_sha256 = event.hop_file, event.hop_sha256
    elif isinstance(event, NodeObserved) and row.connections_before is None:
        row.connections_before = event.connections
    elif isinstance(event, UpgradeSucceeded):
        row.took_us, row.connections_after = event.took_us, event.connections_after
        row.processes_ended = max(row.processes_ended, _by_hop(event.ended))


def _by_hop(ended: Iterable[EndedProcess]) -> int:
    return sum(not process.left_by_itself for process in ended)


def _worst(known: int | None, seen: int | None) -> int | None:
    return seen if known is None else max(known, seen or 0)


def _conclude(row: LogRow, attempt: Attempt, still_open: Attempt | None, *, lock_held: bool) -> None:
    """Fill in how the attempt ended, or where it stands."""
    row.from_version, row.target_version = attempt.from_version, attempt.target_version
    row.steps, row.failure, row.result = attempt.steps, attempt.failure, attempt.result
    row.finished_ns = attempt.finished_at
    row.finished = shown(attempt.finished_at) if attempt.finished_at is not None else None
    if attempt.result is not None:
        row.status = "finished"
    elif lock_held and attempt is still_open:
        row.status = "in-progress"
    else:
        row.status = "between-releases" if attempt.phase == "between_releases" else "interrupted"
