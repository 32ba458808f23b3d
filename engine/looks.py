"""Two questions about one step that only the world can answer, by reading calls.

`looks_done` gives an end to a step of whose end nobody knows; `looks_untouched` says that an undoing has nothing
to do. Where the world looks the same either way both say no, and the step is walked: every step is safe to
walk twice.
"""

from typing import assert_never

from engine.readback import differences, is_running, old_version, sides
from engine.release.manifest import read_manifest, verify_tree
from engine.release.marker import read_marker
from engine.run import Run
from engine.steps import (
    ApplyFunction,
    ChangeCode,
    DeployTarget,
    LoadModules,
    MakePermanent,
    RestartApplication,
    RunCallback,
    SetCodePath,
    Step,
    UnpackTarget,
    VerifyNode,
    VerifyPackage,
)
from journal.events import Direction


def looks_done(run: Run, step: Step, direction: Direction) -> bool:
    """The world is as `step`, walked in `direction` to its end, leaves it.

    Raises:
        NodeUnreachable: The node could not be asked.
    """
    match step:
        case DeployTarget(version=version):
            return not _is_deployed(run, version) if direction == "undo" else _is_whole(run, version)
        case SetCodePath():
            return _leads(run, step, direction)
        case LoadModules() | ChangeCode():
            changes = step.modules if isinstance(step, LoadModules) else (step.module,)
            return not differences(run.node, sides(changes, direction))
        case RestartApplication():
            return _is_restarted(run, step, direction)
        case MakePermanent(version=version):
            before = run.state.plan.previous_marker if run.state.plan else None
            return read_marker(run.house.place.root).version == (version if direction == "do" else before)
        case VerifyPackage() | UnpackTarget() | VerifyNode() | ApplyFunction() | RunCallback():
            return False
    assert_never(step)


def looks_untouched(run: Run, step: Step) -> bool:
    """The world is as it was before `step`: there is nothing to undo, begun or not.

    Raises:
        NodeUnreachable: The node could not be asked.
    """
    if isinstance(step, DeployTarget) and is_staged(run):
        return True
    return looks_done(run, step, "undo")


def is_staged(run: Run) -> bool:
    """The staging still has its own name: a tree of the target's version is not the one of this upgrade."""
    return run.house.place.staging(run.upgrade_id).exists()


def _is_deployed(run: Run, version: str) -> bool:
    return run.house.place.tree(version).exists()


def _is_whole(run: Run, version: str) -> bool:
    tree = run.house.place.tree(version)
    manifest = read_manifest(tree)
    return manifest is not None and not is_staged(run) and not verify_tree(tree, manifest)


def _leads(run: Run, step: SetCodePath, direction: Direction) -> bool:
    wanted = {move.new if direction == "do" else move.old for move in step.moves} - {None}
    unwanted = {move.old if direction == "do" else move.new for move in step.moves} - {None}
    path = set(run.node.code_path())
    return wanted <= path and not unwanted & path


def _is_restarted(run: Run, step: RestartApplication, direction: Direction) -> bool:
    """It runs on that side's code and version, and the other side would look different.

    Of an application whose modules and version are the same in both releases nobody can see whether it was
    restarted: a dependent that is restarted because of another one.
    """
    before, after = old_version(step), step.version
    same_code = all(change.from_md5 == change.to_md5 for change in step.modules)
    if same_code and before in (None, after):
        return False
    known = run.node.applications().get(step.application)
    version = after if direction == "do" else before
    return is_running(known, version=version) and not differences(run.node, sides(step.modules, direction))
