"""The one loop: from a request to a node that runs the target, or runs on as it was.

`recover` enters the same loop at `go_on`. Before `PlanResolved` nothing but the staging folder is touched;
a failure before the point of no return is rolled back, one after it stops and says what runs.
"""

import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

from engine.errors import (
    UNTOUCHED,
    Interrupted,
    NodeUnreachable,
    Refusal,
    RelupError,
    RolledBack,
    StepFailure,
)
from engine.hands import act_for
from engine.history import last_upgrade
from engine.incarnation import observation
from engine.interrupts import Heed, heed
from engine.options import Options
from engine.patches import check_patches
from engine.prospect import Prospect
from engine.readback import counted_connections
from engine.release.package import Package
from engine.release.unpack import interrupted_while
from engine.reserve import journal_need_of
from engine.rollback import (
    RECOVER,
    UNCHANGED,
    between_releases,
    roll_back,
    undoing_when_unwritable,
    way_on,
)
from engine.run import House, Run, failure_of, leaving
from engine.settle import walk_to_an_end
from engine.staging import asked_to_stop, discard_staging, tidy
from engine.state import UpgradeState, next_state
from engine.steps import PREPARATION
from engine.survey import UpgradeOpen, surveyed
from engine.survival import check_survival, recorded_ends, require_survival
from journal.door import Entries
from journal.errors import JournalError
from journal.events import (
    Failure,
    NodeObservation,
    NodeObserved,
    UpgradeFailed,
    UpgradeId,
    UpgradeInterrupted,
    UpgradeRefused,
    UpgradeRequested,
    UpgradeSucceeded,
)


def upgrade(
    house: House, open_package: Callable[[], Package], *, tarball: str, options: Options
) -> UpgradeState:
    """Walk one hop from beginning to end.

    Args:
        house: What there is to work with.
        open_package: Hands over the package that was opened before privileges were dropped, or raises what
            opening it raised: also such a refusal belongs into the journal.
        tarball: Its path, for the journal.
        options: The operator's choices.

    Returns:
        The finished upgrade.

    Raises:
        Refusal: Nothing was touched.
        RolledBack: A step failed and all was undone.
        BetweenReleases: A step failed past the point of no return, or could not be undone.
        NodeUnreachable: The node was lost.
        Interrupted: The operator asked to stop, and all was undone.
    """
    refuse_if_open(house.journal)
    run = request(house, tarball=tarball, options=options)
    prepare(run, open_package)
    _tell_what_is_passed_over(run)
    return go_on(run)


def refuse_if_open(journal: Entries) -> None:
    """Refuse to begin while an upgrade is unfinished.

    Raises:
        UpgradeOpen
    """
    state = last_upgrade(journal)
    if state is not None and state.is_open:
        error = UpgradeOpen(
            f"The upgrade {state.upgrade_id} has not ended ({state.phase.value}).",
            next=way_on(state),
        )
        error.runs_now = UNCHANGED
        raise error


def request(house: House, *, tarball: str, options: Options) -> Run:
    """Write the request down; from here on every end of it is an entry too.

    Raises:
        JournalError: Not even that can be written; nothing was touched.
    """
    upgrade_id = new_upgrade_id(house.clock.now_ns())
    vm = _vm_of(house)
    event = UpgradeRequested(
        by=house.by,
        tarball=tarball,
        options=options.recorded(),
        waivers=options.waivers,
        node=vm,
    )
    with leaving(UNTOUCHED):
        entry = house.journal.append(event, upgrade_id=upgrade_id)
    state = next_state(None, entry)
    assert state is not None, "a request begins an upgrade"
    return Run(house=house, options=options, state=state, from_version=vm.running_version if vm else None)


def _vm_of(house: House) -> NodeObservation | None:
    """The VM that is there now: if it dies before anything else is written, recovery must see that it did.

    None when it cannot be asked; `prepare` meets the same error and tells it.
    """
    try:
        with closing(house.connect()) as node:
            return observation(node.observe())
    except RelupError:
        return None


def new_upgrade_id(now_ns: int) -> UpgradeId:
    """Sortable by time, unique by four random bytes: `20260714T031502Z-9f86d081`."""
    stamp = datetime.fromtimestamp(now_ns / 1e9, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    return UpgradeId(f"{stamp}-{os.urandom(4).hex()}")


# ---------------------------------------------------------------- before the plan


def prepare(run: Run, open_package: Callable[[], Package]) -> None:
    """Observe the node, verify and unpack the package, make the plan; or refuse and leave nothing behind."""
    try:
        observe(run)
        check_patches(run)
        with open_package() as package:
            for number, step in enumerate(PREPARATION, start=1):
                run.walk(number, step, "do", act_for(run, number, step, "do", package=package))
        resolved, run.prospect = surveyed(run)
        if asked_to_stop(run):
            raise interrupted_while("making the plan")
        _warn_of_kills(run, run.prospect)
        run.house.journal.reserve(journal_need_of(resolved))
        run.record(resolved)
    except Interrupted as stopped:
        discard_staging(run)
        stopped.runs_now = UNTOUCHED
        run.record(
            UpgradeInterrupted(
                why=stopped.happened,
                runs_now=UNTOUCHED,
                from_version=run.from_version,
                target_version=run.target_version,
            )
        )
        raise
    except RelupError as refusal:
        discard_staging(run)
        refusal.runs_now = refusal.runs_now or UNTOUCHED
        run.record(
            UpgradeRefused(
                failure=failure_of(refusal, runs_now=UNTOUCHED),
                from_version=run.from_version,
                target_version=run.target_version,
            )
        )
        raise
    except JournalError as full:
        discard_staging(run)
        full.runs_now = UNTOUCHED
        raise


def _warn_of_kills(run: Run, prospect: Prospect) -> None:
    """What --kill-blockers may cost is said before it does."""
    if run.options.kill_blockers and prospect.blockers:
        run.house.progress.note(
            f"--kill-blockers: {len(prospect.blockers)} processes run old code, {prospect.blocked_clients} of them "
            "for a client; those that do not come out of it in time are killed"
        )


def _tell_what_is_passed_over(run: Run) -> None:
    """Where the steps are fewer than the hop's lines, it is said also to those who have not looked at the plan."""
    assert run.prospect is not None, "a preparation without error saw everything"
    for finding in run.prospect.judgement.others:
        if finding.code == "module_named_twice":
            run.house.progress.note(finding.happened)


def observe(run: Run) -> None:
    """Write down which VM this upgrade works on, and how many clients it has."""
    facts = run.node.observe()
    run.record(NodeObserved(node=observation(facts), connections=run.node.connections()))


# ---------------------------------------------------------------- the steps of the plan


def go_on(run: Run) -> UpgradeState:
    """Walk what is left of the plan, undo it when it fails, write the end down."""
    with undoing_when_unwritable(run):
        _walk_or_undo(run)
        _finish(run)
    require_survival(run)
    return run.state


def _walk_or_undo(run: Run) -> None:
    try:
        _walk_plan(run)
    except (StepFailure, Refusal) as failure:
        raise _after_failure(run, failure) from failure


def _walk_plan(run: Run) -> None:
    """Before each step: stop when it was asked for, or when the hop has cost too much so far.

    What it has cost is asked of the fold and not of this walk, so that a recovery asks too.
    """
    for number, step in run.state.steps_to_do():
        _heed(run)
        check_survival(run)
        walk_to_an_end(run, number, step, "do")


def _heed(run: Run) -> None:
    match heed(run.house.interrupts(), run.state):
        case Heed.GO_ON:
            return
        case Heed.GO_ON_ANYWAY:
            run.house.progress.note(
                "past the point of no return: the upgrade goes on to its end, because stopping here would "
                "leave the node between releases; ask once more to stop after the step in hand"
            )
        case Heed.ROLL_BACK:
            raise StepFailure("The operator asked to stop.", name=Interrupted.name, next="Upgrade again.")
        case Heed.STOP_HERE:
            raise _stopped_here(run)


def _stopped_here(run: Run) -> RelupError:
    error = Interrupted("Asked twice to stop, the upgrade stopped after the step in hand.", next=RECOVER)
    if not run.state.changed_live_code:
        error.runs_now = "the old release; the upgrade is unfinished"
        return error
    return between_releases(run, error, rollback_failed=False)


def _after_failure(run: Run, failure: RelupError) -> RelupError:
    """Undo, or say why that cannot be; the error to leave with."""
    if run.state.passed_no_return:
        return between_releases(run, failure, rollback_failed=False)
    told = failure_of(failure, runs_now="being rolled back")
    try:
        roll_back(run, cause=told, automatic=True)
    except NodeUnreachable as lost:
        lost.happened = f"{lost.happened} It was being undone because: {failure.happened}"
        raise
    kind = Interrupted if failure.name == Interrupted.name else RolledBack
    error = kind(failure.happened, next=failure.next, name=failure.name)
    error.runs_now = "the old release, whole: every step was undone and read back"
    ended = Failure(name=told.name, happened=told.happened, runs_now=error.runs_now, next=told.next)
    run.record(UpgradeFailed(failure=ended, ended_as="rolled_back"))
    return error


def _finish(run: Run) -> None:
    tidy(run)
    ended = run.state.ended + recorded_ends(run.node.ended(), run.state)
    run.node.dismiss()
    run.record(
        UpgradeSucceeded(
            took_us=run.took_us,
            connections_before=run.state.connections_before,
            connections_after=counted_connections(run.node),
            worst_suspend_us=run.state.worst_suspend_us or None,
            worst_stall_us=run.state.worst_stall_us or None,
            ended=ended,
        )
    )


def plan(
    house: House,
    open_package: Callable[[], Package],
    *,
    history: Entries,
    tarball: str,
    options: Options,
) -> tuple[UpgradeState, Prospect]:
    """Walk the preparation alone and leave nothing behind: what `upgrade` would do now.

    Args:
        house: One whose journal is not written, see `engine.house.rehearsal_house`.
        history: The journal that is not written.

    Raises:
        Refusal: `upgrade` would be refused for the same reason.
    """
    refuse_if_open(history)
    run = request(house, tarball=tarball, options=options)
    prepare(run, open_package)
    discard_staging(run)
    assert run.prospect is not None, "a preparation without error saw everything"
    return run.state, run.prospect
