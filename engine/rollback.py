"""Undoing: the steps that were begun, newest first, until the old release runs whole.

One way back for a failed upgrade, for an interrupted one, for `recover --rollback` and for
`relup rollback` of a finished hop. It never purges hard and never restarts the VM: where a process cannot
be moved, it stops and says which modules are on which side.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import (
    BetweenReleases,
    NodeUnreachable,
    PastNoReturn,
    Refusal,
    RelupError,
    RolledBack,
    StepFailure,
)
from engine.hands import STILL_STOPPING
from engine.incarnation import require_same
from engine.interrupts import Heed, heed
from engine.looks import looks_untouched
from engine.readback import listed, live_sides, old_release_differences
from engine.run import Run, failure_of
from engine.settle import walk_to_an_end
from engine.staging import tidy
from engine.state import UpgradeState
from engine.steps import Step
from engine.unwritten import Unwritten
from journal.errors import JournalError
from journal.events import (
    Failure,
    ModuleChange,
    RollbackFailed,
    RollbackFinished,
    RollbackStarted,
    UpgradeFailed,
)

RECOVER = (
    "Run 'relup recover --report' to see what is what, then 'relup recover' or 'relup recover --rollback'."
)
GIVE_UP = (
    "Where a function of the hop fails every time, restart the node: it boots what it booted before the hop, and"
    " 'relup recover' then ends the upgrade."
)

UNCHANGED = "nothing was changed"
SUSPEND_TIMEOUT = "suspend_timeout"


def refuse_past_no_return(run: Run) -> None:
    """Refuse to undo what cannot be undone.

    Raises:
        PastNoReturn: A function or callback of the hop was begun.
    """
    record = run.state.point_of_no_return
    if record is None or not run.state.passed_no_return:
        return
    error = PastNoReturn(
        f"Step {record.number} ({record.name} {record.subject}) has run, and what it did cannot be undone.",
        next=_way_out(is_open=run.state.is_open),
    )
    error.runs_now = UNCHANGED
    raise error


def _way_out(*, is_open: bool) -> str:
    """What can be done instead. The marker of an open upgrade is not there yet to be given up."""
    boot_only = "'relup rollback --boot-only' has the old release boot at the next start"
    if is_open:
        boot_only = (
            f"Run 'relup recover' to bring the upgrade to its end. {GIVE_UP} After its end, {boot_only}"
        )
    return f"{boot_only}. For a full restore: the backup of data/ and the old release."


def way_on(state: UpgradeState) -> str:
    """What to do with an upgrade that has not ended: only what works."""
    if state.passed_no_return:
        return (
            "Remove the cause, then 'relup recover' calls again what has not succeeded and finishes. Nothing can be"
            f" undone any more. {GIVE_UP}"
        )
    return RECOVER


def roll_back(run: Run, *, cause: Failure | None, automatic: bool, suspended: tuple[str, ...] = ()) -> None:
    """Undo every begun step and read the old release back.

    Args:
        run: The upgrade in hand, not past its point of no return.
        cause: Why, when it was a failure.
        automatic: Nobody asked for it.
        suspended: Pids that are known to stand still by somebody else's doing.

    Raises:
        BetweenReleases: A step could not be undone; the journal says what is on which side.
        NodeUnreachable: The node was lost on the way; nobody knows how the step in hand ended.
    """
    run.record(RollbackStarted(automatic=automatic, by=run.house.by, cause=cause, suspended=suspended))
    finish_rollback(run)


def finish_rollback(run: Run) -> None:
    """Go on with a rollback that has been started."""
    try:
        _undo_steps(run)
        _check_old_release(run)
    except (StepFailure, Refusal) as failure:
        raise between_releases(run, failure, rollback_failed=True) from failure
    tidy(run)
    run.node.dismiss()
    run.record(RollbackFinished())


def _undo_steps(run: Run) -> None:
    for number, step in run.state.steps_to_undo():
        _require_going_on(run)
        if _has_nothing_to_undo(run, step):
            run.observed(number, step, "undo", note="nothing to undo: the world is as before the step")
        else:
            _undo(run, number, step)


def _undo(run: Run, number: int, step: Step) -> None:
    for left in reversed(range(step.undo_tries)):
        try:
            walk_to_an_end(run, number, step, "undo")
            return
        except StepFailure as failure:
            if failure.name != SUSPEND_TIMEOUT or left == 0:
                raise
            run.house.progress.note(f"{failure.happened}; they run on, and the step is tried again")
        _require_going_on(run)


def _require_going_on(run: Run) -> None:
    """Between two steps somebody may have asked to leave it at that.

    Raises:
        StepFailure: It was asked for twice.
    """
    if heed(run.house.interrupts(), run.state) == Heed.STOP_HERE:
        raise StepFailure("Asked twice to stop, the rollback stopped.", name="interrupted", next=RECOVER)


def _has_nothing_to_undo(run: Run, step: Step) -> bool:
    """What cannot be looked at is walked: that the node is lost is then in the journal, with the step."""
    try:
        return looks_untouched(run, step)
    except NodeUnreachable:
        return False


def _check_old_release(run: Run) -> None:
    require_same(run.state.node, run.node.observe())
    wrong = old_release_differences(run)
    if wrong:
        raise StepFailure(
            f"After the rollback the node is not as it was before the hop: {listed(wrong)}.",
            name="verification_failed",
            next=RECOVER,
        )


def planned_changes(run: Run) -> list[ModuleChange]:
    """Every module that the plan moves."""
    return [change for record in run.state.records for change in record.modules]


def between_releases(run: Run, failure: RelupError, *, rollback_failed: bool) -> BetweenReleases:
    """Record that the upgrade ended with neither release whole; the error that tells the operator."""
    old, new, runs_now = _both_sides(run)
    told = failure_of(failure, runs_now=runs_now)
    if rollback_failed:
        run.record(RollbackFailed(failure=told, on_old=old, on_new=new))
    run.record(UpgradeFailed(failure=told, ended_as="between_releases", on_old=old, on_new=new))
    error = BetweenReleases(failure.happened, next=_way_on(run.state, failure), name=failure.name)
    error.runs_now = f"{runs_now}; on the old side: {listed(list(old)) or 'none'}" if old or new else runs_now
    return error


def _way_on(state: UpgradeState, failure: RelupError) -> str:
    """How to recover. While an application still stops, that would only meet the same again."""
    return f"{failure.next} {way_on(state)}" if failure.name == STILL_STOPPING else way_on(state)


def _both_sides(run: Run) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The modules on the old side, those on the new one, and both as a sentence; none where nobody can be asked."""
    try:
        old, new = live_sides(run.node, planned_changes(run))
    except NodeUnreachable as lost:
        return (), (), f"unknown: the node could not be asked which modules are live ({lost.happened})"
    counts = f"{len(new)} modules of the target and {len(old)} of the old release are live"
    return old, new, f"between releases: {counts}"


@contextmanager
def undoing_when_unwritable(run: Run) -> Iterator[None]:
    """For the length of the live work: a journal that cannot be written any more makes it undone without it.

    Raises:
        RolledBack: It was undone; nobody has written that down yet.
        BetweenReleases: It cannot be undone.
    """
    journal = run.house.journal
    try:
        yield
    except JournalError as fault:
        raise undone_without_journal(run, fault) from fault
    finally:
        journal.release()


def undone_without_journal(run: Run, fault: JournalError) -> RelupError:
    """Undo although nothing can be written down any more; the record goes to the operator's screen.

    Returns:
        The error to leave with. The next `recover` writes the end from the evidence.
    """
    unwritten = Unwritten(run.house.clock)
    run.house = dataclasses.replace(run.house, journal=unwritten)
    if run.state.passed_no_return:
        return _unwritten_between(run, fault)
    try:
        roll_back(run, cause=None, automatic=True)
    except BetweenReleases as between:
        return between
    finally:
        for entry in unwritten.entries():
            run.house.progress.note(f"not in the journal: {entry.event}")
    error = RolledBack(
        f"The journal could not be written ({fault.happened}); all was undone without it.",
        next=f"{fault.next} Then run 'relup recover', which writes the end down.",
        name=fault.name,
    )
    error.runs_now = "the old release, whole: every step was undone and read back"
    return error


def _unwritten_between(run: Run, fault: JournalError) -> BetweenReleases:
    failure = StepFailure(fault.happened, name=fault.name, next=f"{fault.next} Then run 'relup recover'.")
    return between_releases(run, failure, rollback_failed=False)
