"""Before a finished hop is undone: is the way back free? What would stop it in its middle refuses it here."""

from engine.errors import UnfitNode
from engine.node import door
from engine.readback import listed
from engine.rollback import UNCHANGED
from engine.run import Run
from engine.steps import ChangeCode, LoadModules, module_changes

NO_STEP = 0
"""Steps are numbered from 1."""


class StillInOldCode(UnfitNode):
    """Processes still run code from before the hop; loading the old release would need it gone, and kill them."""

    name = "lingering_processes"


def require_free(run: Run) -> None:
    """Ask in the VM what each undoing will ask there: idle processes come out of the old code when they are nudged,
    and that costs them nothing.

    A restart is not asked: it has purged its modules, whose processes are all younger than the hop.

    Raises:
        StillInOldCode: Some stay in it; nothing was changed.
    """
    run.house.progress.step("look for processes in the way")
    modules = _moved_back(run)
    order = door.ClearOldCode(modules=modules, blocker_timeout_ms=run.options.blocker_timeout_ms)
    if isinstance(run.node.perform(_fresh_key(run), order), door.StepDone):
        return
    staying = run.node.lingering(modules)
    if staying:
        run.node.dismiss()
        raise _refusal(run, staying)


def _moved_back(run: Run) -> tuple[str, ...]:
    steps = [step for _, step in run.state.steps_to_undo() if isinstance(step, LoadModules | ChangeCode)]
    changes = [change for step in steps for change in module_changes(step)]
    return tuple(change.module for change in changes if change.from_md5 != change.to_md5)


def _fresh_key(run: Run) -> door.StepKey:
    """Never the same twice: how it is now is asked, not how it was."""
    return door.StepKey(
        upgrade_id=run.upgrade_id, step=NO_STEP, attempt=run.house.clock.now_ns(), direction="undo"
    )


def _refusal(run: Run, staying: tuple[door.ProcessSeen, ...]) -> StillInOldCode:
    assert run.state.plan is not None, "a finished hop had a plan"
    error = StillInOldCode(
        f"Undoing the hop would kill processes that run code from before it ({len(staying)}): "
        f"{listed([process.told for process in staying])}.",
        next="Wait until they come out of it, or end their work; then run 'relup rollback' again. 'relup rollback"
        " --boot-only' has the base release boot at the next start, whoever lingers.",
    )
    error.runs_now = f"{run.state.plan.target_version}, whole; {UNCHANGED}"
    return error
