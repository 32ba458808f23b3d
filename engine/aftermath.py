"""An upgrade whose VM has ended: its live changes died with it, and what is left are files and a record.

`recover` comes here, whichever way it was asked to go. Nothing of the old VM is taken up in the new one.
"""

from pathlib import Path

from engine.incarnation import observation
from engine.looks import is_staged
from engine.node.door import NodeFacts
from engine.release.deploy import remove_tree
from engine.release.marker import read_marker
from engine.rollback import refuse_past_no_return
from engine.run import Run
from engine.staging import restore_marker, tidy
from engine.state import Phase, UpgradeState
from engine.steps import DeployTarget, MakePermanent, from_record
from journal.events import Direction, NodeRestarted, UpgradeInterrupted, UpgradeSucceeded


def ended_with_its_vm(run: Run, facts: NodeFacts | None, *, direction: Direction) -> UpgradeState:
    """Record the end of the upgrade, and remove the files of one that did not come to its marker.

    Args:
        run: The upgrade.
        facts: The VM that runs now; None when none does.
        direction: Which way it was asked to go.

    Raises:
        PastNoReturn: It was to be undone, but the target boots and its functions have run; nothing was changed.
    """
    was_made_permanent = _was_made_permanent(run, facts)
    if was_made_permanent and direction == "undo":
        refuse_past_no_return(run)
    if facts is not None:
        run.record(NodeRestarted(node=observation(facts)))
    if was_made_permanent:
        return _succeeded_by_restart(run)
    _remove_files(run, facts)
    why = _why(run)
    run.record(UpgradeInterrupted(why=why, runs_now=_runs_now(run, facts)))
    if run.state.passed_no_return:
        run.house.progress.note(why)
    return run.state


def _why(run: Run) -> str:
    state = run.state
    if not state.changed_live_code:
        return "the VM ended during the upgrade, before anything was changed in it"
    ended = "the VM ended during the upgrade and its live changes with it"
    ran = state.point_of_no_return
    if ran is None or not state.passed_no_return:
        return ended
    return (
        f"{ended}; what step {ran.number} ({ran.subject}) and those after it have done outside the VM stays"
    )


def _runs_now(run: Run, facts: NodeFacts | None) -> str:
    if facts is not None:
        return facts.running_version or "a node that does not tell its version"
    return f"nothing; the next start boots {read_marker(run.house.place.root).version or 'the base release'}"


def _was_made_permanent(run: Run, facts: NodeFacts | None) -> bool:
    """The last step was done, and only the record of the end is missing; or it failed, and the VM booted it."""
    plan, root = run.state.plan, run.house.place.root
    if plan is None or run.state.rollback_begun:
        return False
    tree = run.house.place.tree(plan.target_version)
    only_the_marker = all(isinstance(step, MakePermanent) for _, step in run.state.steps_to_do())
    boots_target = tree.is_dir() and read_marker(root).version == plan.target_version
    booted_target = facts is not None and facts.boot_tree == str(tree)
    return only_the_marker and boots_target and (run.state.phase == Phase.CHANGING or booted_target)


def _succeeded_by_restart(run: Run) -> UpgradeState:
    for number, step in run.state.steps_to_do():
        assert isinstance(step, MakePermanent), "the marker is written by the last step"
        run.observed(number, step, "do", note="the marker names the target")
    tidy(run)
    run.record(UpgradeSucceeded(took_us=0))
    return run.state


def _remove_files(run: Run, facts: NodeFacts | None) -> None:
    place = run.house.place
    for record in run.state.records:
        step = from_record(record)
        if isinstance(step, MakePermanent) and run.state.outcome(record.number, "do"):
            restore_marker(run)
    for record in run.state.records:
        step = from_record(record)
        if isinstance(step, DeployTarget) and run.state.left_something(record.number):
            _remove_tree(run, place.tree(step.version), facts)
    tidy(run)


def _remove_tree(run: Run, tree: Path, facts: NodeFacts | None) -> None:
    """Only the one of this upgrade, and only when it neither runs nor boots next."""
    runs = facts is not None and facts.boot_tree == str(tree)
    boots_next = read_marker(run.house.place.root).version == tree.name
    if not (runs or boots_next or is_staged(run)):
        remove_tree(tree)
