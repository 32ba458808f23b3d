"""Upgrades told as entries, without a node: what the pure tests of the engine fold and search."""

from collections.abc import Iterable
from typing import Any

from engine.plan import recorded_steps
from engine.state import UpgradeState, folded
from engine.steps import (
    ChangeCode,
    DeployTarget,
    LoadModules,
    MakePermanent,
    RunCallback,
    Step,
    VerifyNode,
)
from journal.events import (
    AnyEvent,
    Direction,
    Entry,
    Failure,
    ModuleChange,
    PlanResolved,
    Requester,
    RollbackStarted,
    Sequence,
    StepFailed,
    StepOutcomeUnknown,
    StepStarted,
    StepSucceeded,
    UpgradeId,
    UpgradeRequested,
)

BY = Requester(user="operator", host="node1", pid=1, tool_version="0")
FAILURE = Failure(name="step_failed", happened="it failed", runs_now="the old release", next="look")
REQUESTED = UpgradeRequested(by=BY, tarball="/opt/target.tar.gz")


def change(module: str, *, old: str | None = "0a", new: str | None = "0b") -> ModuleChange:
    """One module from the md5 `old` to `new`; None for one that is not there."""
    return ModuleChange(
        module=module,
        from_md5=old,
        to_md5=new,
        from_file=f"/old/{module}.beam" if old else None,
        to_file=f"/new/{module}.beam" if new else None,
    )


UPDATE = ChangeCode(module=change("emqx_metrics"), from_version="5.10.4", extra="[]")
CALLBACK = RunCallback(modules=("emqx_post_upgrade",), function="done", arguments='["5.10.4"]')
DEPLOY, LOAD = DeployTarget(version="5.10.5"), LoadModules(modules=(change("emqx_topic"),))
MARK = MakePermanent(version="5.10.5")
REVERSIBLE: tuple[Step, ...] = (DEPLOY, LOAD, UPDATE, VerifyNode(), MARK)
"""Steps 3 to 7."""
WITH_CALLBACK: tuple[Step, ...] = (DEPLOY, LOAD, VerifyNode(), CALLBACK, MARK)
"""Steps 3 to 7; the point of no return is 6."""


def plan_of(steps: Iterable[Step], *, previous_marker: str | None = None) -> PlanResolved:
    """The plan with these steps, numbered after the preparation."""
    return PlanResolved(
        plan_id="p",
        from_version="5.10.4",
        target_version="5.10.5",
        package_sha256="00",
        hop_file="/catalog/hop.relup",
        hop_sha256="00",
        steps=recorded_steps(tuple(steps)),
        previous_marker=previous_marker,
    )


def started(step: int, direction: Direction = "do", *, attempt: int = 1) -> StepStarted:
    return StepStarted(step=step, name="Step", direction=direction, attempt=attempt)


def succeeded(step: int, direction: Direction = "do", *, attempt: int = 1, **more: Any) -> StepSucceeded:
    return StepSucceeded(step=step, name="Step", direction=direction, attempt=attempt, **more)


def failed(step: int, direction: Direction = "do", *, reverted: bool = False, **more: Any) -> StepFailed:
    return StepFailed(step=step, name="Step", failure=FAILURE, direction=direction, reverted=reverted, **more)


def lost(step: int, direction: Direction = "do") -> StepOutcomeUnknown:
    return StepOutcomeUnknown(step=step, name="Step", why="the connection broke", direction=direction)


def done(*steps: int, direction: Direction = "do") -> list[AnyEvent]:
    """Each of them begun and done."""
    return [event for step in steps for event in (started(step, direction), succeeded(step, direction))]


ROLLBACK = RollbackStarted(automatic=True, by=BY, cause=FAILURE)


def entries_of(events: Iterable[AnyEvent], *, upgrade_id: str = "u1", first: int = 1) -> list[Entry]:
    """The events as one upgrade's entries."""
    return [
        Entry(seq=Sequence(number), at=number, upgrade_id=UpgradeId(upgrade_id), event=event)
        for number, event in enumerate(events, start=first)
    ]


def state_after(*events: AnyEvent, steps: Iterable[Step] = REVERSIBLE) -> UpgradeState:
    """The fold of a request, the plan with `steps`, and these events."""
    state = folded(entries_of([REQUESTED, plan_of(steps), *events]))
    assert state is not None
    return state
