"""The hands: one step done or undone in the world. Which step, and when, is decided elsewhere.

Each function answers with the evidence it saw, or raises `StepFailure` (or another `RelupError`) and says
by `reverted` whether the world is as it was before.
"""

from collections.abc import Callable
from typing import assert_never

from engine.errors import StepFailure
from engine.failures import advice_of
from engine.node import door
from engine.orders import LiveStep, arguments_for, order_for
from engine.readback import verify_node
from engine.release.package import Package
from engine.run import Run
from engine.staging import deploy, make_permanent, remove_deployed, restore_marker, unpack, verify
from engine.state import UpgradeState
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
from engine.survival import recorded_ends
from journal.events import Direction, Evidence, SuspendedProcess

STILL_STOPPING = "app_still_stopping"
NOT_LOADED = "post_upgrade_module_not_loaded"


def act_for(
    run: Run, number: int, step: Step, direction: Direction, *, package: Package | None = None
) -> Callable[[int], Evidence]:
    """What `Run.walk` calls to have `step` walked in `direction`.

    Args:
        run: The upgrade in hand.
        number: The step's number.
        step: What to do.
        direction: Which way.
        package: The open target package, for the steps of the preparation.
    """

    def act(attempt: int) -> Evidence:
        key = door.StepKey(upgrade_id=run.upgrade_id, step=number, attempt=attempt, direction=direction)
        return _do(run, key, step, package) if direction == "do" else _undo(run, key, step)

    return act


def _do(run: Run, key: door.StepKey, step: Step, package: Package | None) -> Evidence:
    match step:
        case VerifyPackage():
            return verify(run, _at_hand(package))
        case UnpackTarget():
            return unpack(run, _at_hand(package))
        case DeployTarget(version=version):
            return deploy(run, version)
        case SetCodePath() | LoadModules() | ChangeCode() | RestartApplication():
            return _ordered(run, key, step)
        case VerifyNode():
            return verify_node(run)
        case ApplyFunction(module=module, function=function, arguments=arguments):
            return _call(run, key, module, function, arguments)
        case RunCallback(modules=modules, function=function, arguments=arguments):
            return _call(run, key, _loaded(run, modules), function, arguments)
        case MakePermanent(version=version):
            return make_permanent(run, version)
    assert_never(step)


def _at_hand(package: Package | None) -> Package:
    assert package is not None, "the package stays open until the plan is made"
    return package


def _undo(run: Run, key: door.StepKey, step: Step) -> Evidence:
    match step:
        case DeployTarget(version=version):
            return remove_deployed(run, version)
        case SetCodePath() | LoadModules() | ChangeCode() | RestartApplication():
            return _ordered(run, key, step)
        case MakePermanent():
            return restore_marker(run)
        case VerifyPackage() | UnpackTarget() | VerifyNode():
            return Evidence()
        case ApplyFunction() | RunCallback():
            raise AssertionError("the loop stops at the point of no return")
    assert_never(step)


# ---------------------------------------------------------------- the VM


def _ordered(run: Run, key: door.StepKey, step: LiveStep) -> Evidence:
    order = order_for(step, direction=key.direction, options=run.options)
    return _performed(run, key, order)


def _call(run: Run, key: door.StepKey, module: str, function: str, arguments: str) -> Evidence:
    assert run.state.node is not None, "the node was observed before the plan"
    order = door.CallFunction(
        module=module,
        function=function,
        arguments=arguments_for(arguments, node_name=run.state.node.name),
    )
    return _performed(run, key, order)


def _loaded(run: Run, modules: tuple[str, ...]) -> str:
    """The first of a callback's modules that is loaded by now.

    Raises:
        StepFailure: None is; nothing was called.
    """
    loaded = run.node.module_md5s(modules)
    for module in modules:
        if module in loaded:
            return module
    raise StepFailure(
        f"None of the callback's modules is loaded: {', '.join(modules)}.",
        name=NOT_LOADED,
        next=advice_of(NOT_LOADED),
        reverted=True,
    )


def _performed(run: Run, key: door.StepKey, order: door.StepOrder) -> Evidence:
    total: int | None = None

    def on_progress(seen: door.StepProgress) -> None:
        nonlocal total
        if seen.total != total:
            total = seen.total
            run.house.progress.total(total, unit=seen.unit)
        run.house.progress.reached(seen.done)

    return judged(run.node.perform(key, order, on_progress=on_progress), run.state)


def judged(report: door.StepReport, state: UpgradeState) -> Evidence:
    """The evidence of a step that was done, as the next entry after `state` has it.

    Raises:
        StepFailure: It was not.
    """
    match report:
        case door.StepDone():
            return Evidence(
                modules=report.modules or None,
                skipped=report.skipped or None,
                batches=report.batches or None,
                worst_stall_us=report.worst_stall_us or None,
                processes=report.processes or None,
                worst_suspend_us=report.worst_suspend_us or None,
                slowest=tuple(
                    SuspendedProcess(pid=process.pid, name=process.name, suspended_us=process.us)
                    for process in report.slowest
                ),
                ended=recorded_ends(report.ended, state),
                returned=report.returned,
                notes=report.notes,
            )
        case door.StepNotDone():
            raise StepFailure(
                report.detail,
                name=report.name,
                next=advice_of(report.name),
                reverted=report.reverted,
                evidence=Evidence(ended=recorded_ends(report.ended, state)),
            )
    assert_never(report)
