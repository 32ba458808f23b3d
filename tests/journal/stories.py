"""Histories to write into journals: whole attempts of every ending, fixed and at random."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

from hypothesis import strategies as st

from journal.door import Journal
from journal.events import (
    AnyEvent,
    EndedProcess,
    Evidence,
    Failure,
    ModuleChange,
    NodeObservation,
    NodeObserved,
    NodeRestarted,
    PlanResolved,
    RecordedStep,
    Requester,
    RollbackFailed,
    RollbackFinished,
    RollbackStarted,
    StepFailed,
    StepOutcomeUnknown,
    StepStarted,
    StepSucceeded,
    SuspendedProcess,
    UpgradeFailed,
    UpgradeId,
    UpgradeInterrupted,
    UpgradeRefused,
    UpgradeRequested,
    UpgradeResumed,
    UpgradeSucceeded,
)
from journal.opening import create_or_open
from journal.store import Store

BY = Requester(user="emqx", host="broker-1", pid=4711, tool_version="0.1.0")
FAILURE = Failure(
    name="code_change_failed",
    happened="code_change of emqx_metrics crashed",
    runs_now="5.10.4",
    next="read the log, then upgrade again",
)
FIRST_MOMENT = 1_784_000_000_000_000_000
SECOND = 1_000_000_000


class Ticking:
    """A clock that goes on by one second each time it is read."""

    def __init__(self, at: int = FIRST_MOMENT) -> None:
        self._seconds = count()
        self._first = at

    def __call__(self) -> int:
        return self._first + next(self._seconds) * SECOND


def node(pid: int = 100, version: str = "5.10.4") -> NodeObservation:
    return NodeObservation(
        name="emqx@127.0.0.1",
        os_pid=pid,
        os_start_time=pid * 10,
        creation=pid,
        otp_release="25",
        running_version=version,
        boot_tree="/opt/emqx",
    )


def plan(source: str = "5.10.4", target: str = "5.10.5", marker: str | None = None) -> PlanResolved:
    return PlanResolved(
        plan_id=f"plan-{target}",
        from_version=source,
        target_version=target,
        package_sha256="aa" * 32,
        hop_file=f"{source}-to-{target}.relup",
        hop_sha256="bb" * 32,
        previous_marker=marker,
        steps=(
            RecordedStep(number=3, name="DeployTarget", subject=target, undoable=True),
            RecordedStep(
                number=4,
                name="LoadModules",
                subject="2 modules",
                undoable=True,
                modules=(
                    ModuleChange(module="emqx_a", from_md5=f"a-{source}", to_md5=f"a-{target}"),
                    ModuleChange(module="emqx_b", from_md5=f"b-{source}", to_md5=f"b-{target}"),
                ),
            ),
            RecordedStep(
                number=5,
                name="ChangeCode",
                subject="emqx_metrics",
                undoable=True,
                modules=(ModuleChange(module="emqx_metrics", from_md5=f"m-{source}", to_md5=f"m-{target}"),),
            ),
            RecordedStep(number=6, name="MakePermanent", subject=target, undoable=True),
        ),
    )


EVIDENCE = Evidence(
    modules=1,
    processes=20,
    worst_suspend_us=1500,
    slowest=(SuspendedProcess(pid="<0.1.0>", name="emqx_metrics", suspended_us=1500),),
    ended=(EndedProcess(pid="<0.2.0>", name="c", reason="killed", client_id="c1"),),
)


def walked(step: int, name: str, **evidence: object) -> list[AnyEvent]:
    return [
        StepStarted(step=step, name=name),
        StepSucceeded(step=step, name=name, took_us=1000 * step, evidence=Evidence(**evidence)),  # type: ignore[arg-type]  # fields by name
    ]


def prepared() -> list[AnyEvent]:
    return [
        UpgradeRequested(by=BY, tarball="/opt/upgrade/emqx-5.10.5.tar.gz"),
        NodeObserved(node=node(), connections=200),
        *walked(1, "VerifyPackage", sha256="aa" * 32, bytes=1000),
        *walked(2, "UnpackTarget", members=100),
    ]


def changed(steps: int = 4, source: str = "5.10.4", target: str = "5.10.5") -> list[AnyEvent]:
    names = [(3, "DeployTarget"), (4, "LoadModules"), (5, "ChangeCode"), (6, "MakePermanent")]
    walks = [event for step, name in names[:steps] for event in walked(step, name)]
    if steps >= 3:
        walks[5] = StepSucceeded(step=5, name="ChangeCode", took_us=5000, evidence=EVIDENCE)
    return [*prepared(), plan(source, target), *walks]


def success(source: str = "5.10.4", target: str = "5.10.5") -> list[AnyEvent]:
    return [
        *changed(4, source, target),
        UpgradeSucceeded(took_us=5_000_000, connections_before=200, connections_after=200),
    ]


def refused() -> list[AnyEvent]:
    return [*prepared()[:4], UpgradeRefused(failure=FAILURE, from_version="5.10.4", target_version="5.11.0")]


def interrupted() -> list[AnyEvent]:
    return [*changed(1), UpgradeInterrupted(why="the operator asked", runs_now="5.10.4")]


def rolled_back() -> list[AnyEvent]:
    return [
        *changed(2),
        StepStarted(step=5, name="ChangeCode"),
        StepFailed(step=5, name="ChangeCode", failure=FAILURE, took_us=10, reverted=True),
        RollbackStarted(automatic=True, by=BY, cause=FAILURE),
        StepStarted(step=4, name="LoadModules", direction="undo"),
        StepSucceeded(step=4, name="LoadModules", direction="undo"),
        RollbackFinished(),
        UpgradeFailed(failure=FAILURE, ended_as="rolled_back"),
    ]


def between_releases() -> list[AnyEvent]:
    return [
        *changed(2),
        StepStarted(step=5, name="ChangeCode"),
        StepFailed(step=5, name="ChangeCode", failure=FAILURE),
        RollbackStarted(automatic=True, by=BY, cause=FAILURE),
        RollbackFailed(failure=FAILURE, on_old=("emqx_metrics",), on_new=("emqx_a", "emqx_b")),
        UpgradeFailed(
            failure=FAILURE,
            ended_as="between_releases",
            on_old=("emqx_metrics",),
            on_new=("emqx_a", "emqx_b"),
        ),
    ]


def unfinished() -> list[AnyEvent]:
    return [*changed(2), StepStarted(step=5, name="ChangeCode")]


def resumed() -> list[AnyEvent]:
    return [
        *unfinished(),
        StepOutcomeUnknown(step=5, name="ChangeCode", why="the connection was lost"),
        UpgradeResumed(by=BY, direction="do"),
        StepSucceeded(step=5, name="ChangeCode", source="observed"),
        *walked(6, "MakePermanent"),
        UpgradeSucceeded(took_us=9_000_000),
    ]


def rolled_back_on_request() -> list[AnyEvent]:
    return [
        *success(),
        RollbackStarted(automatic=False, by=BY),
        *[
            StepSucceeded(step=step, name=name, direction="undo")
            for step, name in ((6, "MakePermanent"), (5, "ChangeCode"), (4, "LoadModules"))
        ],
        RollbackFinished(),
    ]


ENDED = (success, refused, interrupted, rolled_back, resumed, rolled_back_on_request)
ALL = (*ENDED, between_releases, unfinished)

Story = list[tuple[UpgradeId | None, AnyEvent]]


class _Made(Protocol):
    def __call__(self) -> list[AnyEvent]: ...


def told(*attempts: _Made, restart_every: int = 0) -> Story:
    """The events of attempts one after the other, with a restart of the node after every n-th."""
    story: Story = []
    for number, attempt in enumerate(attempts, start=1):
        story += [(UpgradeId(f"u{number:04}"), event) for event in attempt()]
        if restart_every and number % restart_every == 0:
            story.append((None, NodeRestarted(node=node(pid=1000 + number))))
    return story


def stories(most_attempts: int = 6) -> st.SearchStrategy[Story]:
    """Any sequence of attempts; only the newest may be unfinished."""
    ended = st.lists(st.sampled_from(ENDED), max_size=most_attempts)
    return st.builds(
        lambda before, last, restart: told(*before, last, restart_every=restart),
        ended,
        st.sampled_from(ALL),
        st.sampled_from((0, 1, 2)),
    )


def write(journal: Journal, story: Story) -> None:
    for upgrade_id, event in story:
        journal.append(event, upgrade_id=upgrade_id)


def begin(root: Path, clock: Ticking | None = None) -> Store:
    """A journal under `root`, open for writing."""
    return create_or_open(folder_of(root), clock=clock or Ticking(), node="emqx@127.0.0.1", root="/opt/emqx")


def folder_of(root: Path) -> Path:
    return root / "relup" / "journal"


def written(root: Path, story: Story) -> Path:
    """A closed journal under `root` that tells `story`; its folder."""
    with begin(root) as store:
        write(store, story)
    return folder_of(root)


def endless() -> Iterator[tuple[UpgradeId, AnyEvent]]:
    """Successful upgrades for ever, the node restarting after each."""
    for number in count(1):
        upgrade_id = UpgradeId(f"u{number:07}")
        for event in success():
            yield upgrade_id, event
        yield upgrade_id, NodeRestarted(node=node(pid=1000 + number))
