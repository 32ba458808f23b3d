"""What an unfinished journal means, and going on from there. Nothing is ever resumed by itself.

The evidence is gathered first and only read (`relup recover --report` stops there); then the same loop as
in `upgrade` goes on, or the same rollback. What cannot be finished is given up with a true record.
"""

from collections.abc import Callable
from enum import Enum

import msgspec

from engine.aftermath import ended_with_its_vm
from engine.errors import UNTOUCHED, BadRequest, NodeUnreachable
from engine.history import last_upgrade
from engine.incarnation import is_alive, is_same
from engine.node.door import NodeFacts
from engine.options import Options
from engine.readback import live_sides
from engine.release.marker import read_marker
from engine.release.package import Package
from engine.reserve import journal_need_bytes
from engine.rollback import (
    UNCHANGED,
    finish_rollback,
    planned_changes,
    refuse_past_no_return,
    undoing_when_unwritable,
)
from engine.run import House, Run, leaving
from engine.settle import reconcile, settle
from engine.staging import discard_staging
from engine.state import Phase, UpgradeState
from engine.steps import DeployTarget
from engine.upgrade import go_on, prepare
from journal.door import Entries
from journal.events import (
    Direction,
    RollbackStarted,
    UpgradeInterrupted,
    UpgradeResumed,
)


class NothingToRecover(BadRequest):
    """No upgrade is unfinished."""

    name = "nothing_to_recover"


class Vm(Enum):
    """What became of the VM that the upgrade worked on."""

    SAME = "the same VM runs"
    RESTARTED = "the node was restarted since"
    DEAD = "the VM has died and none runs in its place"
    UNSEEN = "the upgrade had not seen its node yet"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What recovery found, before it decides."""

    upgrade_id: str
    phase: str
    vm: Vm
    step: str | None
    """The step in hand, as `12 ChangeCode emqx_metrics`."""
    on_old: tuple[str, ...]
    on_new: tuple[str, ...]
    suspended: tuple[str, ...]
    staged: bool
    deployed: bool
    marker: str | None
    past_no_return: bool
    will: str
    """What `relup recover` would do, as a sentence."""


# ---------------------------------------------------------------- looking


def evidence(house: House, journal: Entries) -> Evidence:
    """All that bears on the decision; reads only.

    Raises:
        NothingToRecover: No upgrade is unfinished.
    """
    run = opened_run(house, journal)
    vm, facts = vm_now(run)
    old, new, suspended = _live_evidence(run, facts)
    state = run.state
    unsettled = state.unsettled
    place = run.house.place
    return Evidence(
        upgrade_id=state.upgrade_id,
        phase=state.phase.value,
        vm=vm,
        step=f"{unsettled[0].number} {unsettled[0].name} {unsettled[0].subject}" if unsettled else None,
        on_old=old,
        on_new=new,
        suspended=suspended,
        staged=place.staging(state.upgrade_id).exists(),
        deployed=state.plan is not None and place.tree(state.plan.target_version).exists(),
        marker=read_marker(place.root).version,
        past_no_return=state.passed_no_return,
        will=_intention(state, vm),
    )


def _live_evidence(
    run: Run, facts: NodeFacts | None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    if facts is None:
        return (), (), ()
    old, new = live_sides(run.node, planned_changes(run))
    return old, new, tuple(f"{process.pid} ({process.name})" for process in run.node.suspended())


def vm_now(run: Run) -> tuple[Vm, NodeFacts | None]:
    """What became of the VM, and the facts of the one that runs now; None where none answers.

    Raises:
        NodeUnreachable: The one that was seen lives, but does not answer.
    """
    seen = run.state.node
    try:
        facts = run.node.observe()
    except NodeUnreachable:
        if seen is None:
            return Vm.UNSEEN, None
        if not is_alive(seen):
            return Vm.DEAD, None
        raise
    if seen is None:
        return Vm.UNSEEN, facts
    return (Vm.SAME if is_same(seen, facts) else Vm.RESTARTED), facts


def _intention(state: UpgradeState, vm: Vm) -> str:
    if state.phase == Phase.ROLLING_BACK and vm is Vm.SAME:
        return "finish the rollback"
    if vm in (Vm.RESTARTED, Vm.DEAD):
        return "record that the live changes died with the VM, and clean up; then upgrade afresh"
    if state.plan is None:
        return "begin again with the same package if it is still there, else clean up and record the end"
    if state.passed_no_return:
        return "run the callbacks without an outcome again and finish the upgrade"
    return "go on from the first step that is not done; with --rollback undo the steps instead"


# ---------------------------------------------------------------- acting


def opened_run(house: House, journal: Entries) -> Run:
    """The unfinished upgrade, in hand.

    Raises:
        NothingToRecover: There is none.
    """
    state = last_upgrade(journal)
    if state is None or not state.is_open:
        raise NothingToRecover(
            "No upgrade is unfinished on this node.", next="'relup status' shows what runs."
        )
    return Run(house=house, options=Options.from_record(state.requested.options), state=state)


def recover(house: House, *, direction: Direction, reopen: Callable[[str], Package]) -> UpgradeState:
    """Bring the unfinished upgrade to an end.

    Args:
        house: What there is to work with.
        direction: `do` goes on, `undo` rolls back.
        reopen: Opens a package by its path, for an upgrade that had no plan yet.

    Raises:
        NothingToRecover: There is no unfinished upgrade.
        PastNoReturn: A rollback was asked for and is not possible; nothing was changed.
        JournalFull: There is no room to write down what would be done; nothing was changed.
        RolledBack, BetweenReleases, NodeUnreachable: As in `upgrade`.
    """
    run = opened_run(house, house.journal)
    if run.state.rollback_begun:
        direction = "undo"
    vm, facts = vm_now(run)
    if vm in (Vm.RESTARTED, Vm.DEAD):
        return ended_with_its_vm(run, facts, direction=direction)
    if direction == "undo":
        refuse_past_no_return(run)
    if facts is None:
        return _given_up(run, "no node was ever reached", runs_now="nothing; nothing was changed")
    with leaving(UNCHANGED):
        house.journal.reserve(journal_need_bytes(run.state))
    try:
        if run.state.plan is None:
            return _from_the_start(run, direction, reopen)
        return _from_the_middle(run, direction)
    finally:
        house.journal.release()


def _from_the_middle(run: Run, direction: Direction) -> UpgradeState:
    """Hold the journal against the world first; then go on, or back."""
    with leaving(UNCHANGED):
        run.record(UpgradeResumed(by=run.house.by, direction=direction))
        settle(run)
        reconcile(run)
    if direction == "undo" or _is_undone(run):
        return _back(run)
    return go_on(run)


def _is_undone(run: Run) -> bool:
    """It was undone without a record of it: nothing is left but to write that down."""
    return run.state.was_undone or (_target_is_gone(run) and not run.state.passed_no_return)


def _target_is_gone(run: Run) -> bool:
    """Its files are neither deployed nor staged, so that it cannot go on."""
    to_deploy = any(isinstance(step, DeployTarget) for _, step in run.state.steps_to_do())
    return to_deploy and not run.house.place.staging(run.upgrade_id).exists()


def _back(run: Run) -> UpgradeState:
    with undoing_when_unwritable(run):
        if not run.state.rollback_begun:
            run.record(RollbackStarted(automatic=False, by=run.house.by))
        finish_rollback(run)
    return run.state


def _from_the_start(run: Run, direction: Direction, reopen: Callable[[str], Package]) -> UpgradeState:
    """Nothing but the staging was touched: begin again, or clean up."""
    with leaving(UNTOUCHED):
        run.record(UpgradeResumed(by=run.house.by, direction=direction))
    if direction == "undo":
        return _given_up(run, "given up by recover --rollback")
    discard_staging(run)
    prepare(run, lambda: reopen(run.state.requested.tarball))
    return go_on(run)


def _given_up(run: Run, why: str, *, runs_now: str = UNTOUCHED) -> UpgradeState:
    """Nothing but the staging was touched, and that goes."""
    discard_staging(run)
    run.record(UpgradeInterrupted(why=why, runs_now=runs_now))
    return run.state
