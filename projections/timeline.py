"""`relup logs --steps`: everything one attempt did, step by step, with its evidence."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from journal.events import (
    AnyEvent,
    Direction,
    Entry,
    Evidence,
    Failure,
    ModuleChange,
    PlanResolved,
    RecordedStep,
    StepFailed,
    StepOutcomeUnknown,
    StepStarted,
    StepSucceeded,
)
from projections.moment import shown

SCHEMA_VERSION = 1

Outcome = Literal["succeeded", "failed", "unknown", "running"]


class StepRow(msgspec.Struct, kw_only=True):
    """One walk over one step; docs/journal.md describes every field."""

    schema_version: int = SCHEMA_VERSION
    upgrade_id: str
    seq: int
    """Of the entry that began it, or of its outcome where nothing began it."""
    step: int
    name: str
    subject: str = ""
    direction: Direction = "do"
    attempt: int = 1
    started: str
    started_ns: int
    took_us: int | None = None
    outcome: Outcome = "running"
    source: Literal["reported", "observed"] | None = None
    evidence: Evidence | None = None
    failure: Failure | None = None
    why_unknown: str | None = None
    modules: tuple[ModuleChange, ...] = ()


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to the attempt between its steps: its request, its plan, its end."""

    schema_version: int = SCHEMA_VERSION
    upgrade_id: str
    seq: int
    at: str
    at_ns: int
    event: AnyEvent


class Timeline(msgspec.Struct, kw_only=True):
    """One attempt in order: `steps` and `moments` each sorted by `seq`."""

    upgrade_id: str
    steps: list[StepRow] = []
    moments: list[Moment] = []

    def in_order(self) -> list[StepRow | Moment]:
        """Both, as they came."""
        return sorted([*self.steps, *self.moments], key=lambda each: each.seq)


def timeline(entries: Iterable[Entry], upgrade_id: str) -> Timeline:
    """The attempt `upgrade_id`; empty when no entry is its."""
    found = Timeline(upgrade_id=upgrade_id)
    planned: dict[int, RecordedStep] = {}
    running: dict[tuple[int, Direction, int], StepRow] = {}
    for entry in entries:
        if entry.upgrade_id != upgrade_id:
            continue
        event = entry.event
        if isinstance(event, StepStarted | StepSucceeded | StepFailed | StepOutcomeUnknown):
            _walk(found, running, planned, entry, event)
            continue
        if isinstance(event, PlanResolved):
            planned = {step.number: step for step in event.steps}
        found.moments.append(
            Moment(upgrade_id=upgrade_id, seq=entry.seq, at=shown(entry.at), at_ns=entry.at, event=event)
        )
    return found


def step_text(row: StepRow) -> str:
    """One line for people."""
    took = f"{row.took_us / 1000:.1f} ms" if row.took_us is not None else "-"
    undo = " (undo)" if row.direction == "undo" else ""
    seen = " (seen to be done)" if row.source == "observed" else ""
    reason = f" {row.failure.name}: {row.failure.happened}" if row.failure is not None else ""
    unknown = f" {row.why_unknown}" if row.why_unknown else ""
    return (
        f"{row.started} step {row.step} {row.name}{undo} {row.subject} {took} {row.outcome}{seen}{reason}{unknown}"
    ).replace("  ", " ")


def _walk(
    found: Timeline,
    running: dict[tuple[int, Direction, int], StepRow],
    planned: dict[int, RecordedStep],
    entry: Entry,
    event: StepStarted | StepSucceeded | StepFailed | StepOutcomeUnknown,
) -> None:
    walk = (event.step, event.direction, event.attempt)
    row = running.get(walk)
    if row is None or isinstance(event, StepStarted):
        row = _begun(planned, entry, event)
        running[walk] = row
        found.steps.append(row)
    match event:
        case StepSucceeded():
            row.outcome, row.source, row.evidence = "succeeded", event.source, event.evidence
            row.took_us = event.took_us or _between(row, entry)
        case StepFailed():
            row.outcome, row.failure, row.evidence = "failed", event.failure, event.evidence
            row.took_us = event.took_us or _between(row, entry)
        case StepOutcomeUnknown():
            row.outcome, row.why_unknown = "unknown", event.why
        case StepStarted():
            pass


def _begun(
    planned: dict[int, RecordedStep],
    entry: Entry,
    event: StepStarted | StepSucceeded | StepFailed | StepOutcomeUnknown,
) -> StepRow:
    step = planned.get(event.step)
    return StepRow(
        upgrade_id=entry.upgrade_id or "",
        seq=entry.seq,
        step=event.step,
        name=event.name,
        subject=step.subject if step is not None else "",
        direction=event.direction,
        attempt=event.attempt,
        started=shown(entry.at),
        started_ns=entry.at,
        modules=step.modules if step is not None else (),
    )


def _between(row: StepRow, entry: Entry) -> int | None:
    """The time between two entries, where no one measured it; None when the clock stepped back."""
    return (entry.at - row.started_ns) // 1000 if entry.at >= row.started_ns else None
