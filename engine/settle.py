"""Giving an end to a step of whose end nobody knows: the agent's word, else what the world shows.

The loop comes here when a connection broke under a step, and recovery when a tool died in one. What
neither the agent nor the world can tell stays open, and the step is walked again: every step is safe to
walk twice, and callbacks are idempotent by contract.
"""

import time

from engine.errors import NodeUnreachable, StepFailure
from engine.failures import advice_of
from engine.hands import act_for, judged
from engine.incarnation import is_alive, require_same
from engine.looks import looks_done, looks_untouched
from engine.node import door
from engine.run import Run, failure_of
from engine.state import Outcome
from engine.steps import Step, from_record, name_of
from journal.events import Direction, StepFailed, StepSucceeded

POLL_S = 0.1
PATIENCE_S = 420.0
"""Longer than any deadline inside the VM: an agent that is still at it is waited for."""


def walk_to_an_end(run: Run, number: int, step: Step, direction: Direction) -> None:
    """Walk a planned step; when the node is lost under it, ask over a new connection how it ended.

    Raises:
        StepFailure: It failed.
        NodeUnreachable: Nobody can tell how it ended; the journal says so.
    """
    try:
        run.walk(number, step, direction, act_for(run, number, step, direction))
    except NodeUnreachable as lost:
        run.hang_up()
        try:
            settle(run)
        except NodeUnreachable:
            raise _lost_for_good(run, step, lost) from lost
        if run.state.unsettled is not None:
            raise _lost_for_good(run, step, lost) from lost
        _raise_told_failure(run, number, direction)


def _raise_told_failure(run: Run, number: int, direction: Direction) -> None:
    """A step whose failure was only told over the second connection fails here all the same."""
    if run.state.outcome(number, direction) in (Outcome.FAILED, Outcome.REVERTED):
        raise StepFailure(
            f"Step {number} failed while the connection to the node was lost; the journal has its reason.",
            next="Look at 'relup logs --steps'.",
            reverted=run.state.outcome(number, direction) == Outcome.REVERTED,
        )


def _lost_for_good(run: Run, step: Step, lost: NodeUnreachable) -> NodeUnreachable:
    lost.happened = f"The node was lost in {name_of(step)}: {lost.happened}"
    if run.state.node is not None and not is_alive(run.state.node):
        lost.runs_now = "the VM has died, and the live changes with it; a start boots the old release"
        lost.next = "Run 'relup recover', before or after the node is started: it cleans up."
    else:
        lost.runs_now = "unknown: nobody has said how that step ended; the journal has all the others"
        lost.next = "Run 'relup recover' when the node answers; 'relup recover --report' changes nothing."
    return lost


def settle(run: Run) -> None:
    """Record the end of the step in hand, where it can be known.

    Raises:
        NodeUnreachable: The VM cannot be asked, or another one answers in its place.
    """
    unsettled = run.state.unsettled
    if unsettled is None:
        return
    require_same(run.state.node, run.node.observe())
    record, direction = unsettled
    step = from_record(record)
    if step.is_live and _told_by_agent(run, record.number, step, direction):
        return
    if looks_done(run, step, direction):
        run.observed(
            record.number, step, direction, note="seen to be done when the upgrade was taken up again"
        )


def reconcile(run: Run) -> None:
    """Hold the steps that the journal says are done against the world, and record those that are not.

    A step may have been undone behind the journal's back: by a rollback whose journal was full, by hand.
    Functions are believed: what they did cannot be looked at.
    """
    for record in run.state.records:
        step = from_record(record)
        believed = run.state.outcome(record.number, "do") == Outcome.SUCCEEDED
        if not (believed and step.undoable):
            continue
        if not looks_done(run, step, "do") and looks_untouched(run, step):
            run.observed(record.number, step, "undo", note="the world is as before this step")


def _told_by_agent(run: Run, number: int, step: Step, direction: Direction) -> bool:
    attempt = run.state.next_attempt(number, direction) - 1
    key = door.StepKey(upgrade_id=run.upgrade_id, step=number, attempt=attempt, direction=direction)
    report = _report(run, key)
    if report is None:
        return False
    try:
        evidence = judged(report, run.state)
    except StepFailure as failure:
        run.record(
            StepFailed(
                step=number,
                name=name_of(step),
                attempt=attempt,
                direction=direction,
                failure=failure_of(failure, runs_now="what the entries after this one say"),
                reverted=failure.reverted,
                evidence=failure.evidence,
            )
        )
    else:
        run.record(
            StepSucceeded(
                step=number, name=name_of(step), attempt=attempt, direction=direction, evidence=evidence
            )
        )
    return True


def _report(run: Run, key: door.StepKey) -> door.StepReport | None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = run.node.outcome(key)
        if not isinstance(answer, door.StillRunning):
            return answer
        if time.monotonic() > deadline:
            raise StepFailure(
                f"The agent in the VM is still at step {key.step} ({answer.stage}) after {PATIENCE_S:.0f} s.",
                name="agent_still_running",
                next=advice_of("agent_still_running"),
            )
        time.sleep(POLL_S)
