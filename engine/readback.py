"""Reading back: is what the journal says to be done really so in the VM and on disk? Only reading calls."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.errors import BadRelease, NodeUnreachable, StepFailure
from engine.failures import advice_of
from engine.node.door import Application, Node, ProcessSeen
from engine.release.application import ReleaseApplication
from engine.run import Run
from engine.state import Outcome, UpgradeState
from engine.steps import RestartApplication, from_record
from engine.survival import served_by_new_code
from engine.term import text_of
from journal.events import Direction, Evidence, ModuleChange

SHOWN = 10
"""How many modules or processes an error names before it only counts."""


def verify_node(run: Run) -> Evidence:
    """Live md5s, restarted applications and suspended processes are what the done steps say.

    Raises:
        StepFailure: With the differences.
    """
    expected = expected_md5s(run.state)
    wrong = differences(run.node, expected) + _stopped_applications(run) + _suspended(run.node)
    if wrong:
        raise StepFailure(
            f"The node is not as the steps left it: {listed(wrong)}.",
            name="verification_failed",
            next=advice_of("verification_failed"),
            reverted=True,
        )
    connections = counted_connections(run.node)
    ended = served_by_new_code(run, connections=connections)
    return Evidence(modules=len(expected), connections=counted_connections(run.node), ended=ended)


def counted_connections(node: Node) -> int | None:
    """How many clients there are; None also where the node cannot tell: a number to show stops no upgrade."""
    try:
        return node.connections()
    except NodeUnreachable:
        return None


def expected_md5s(state: UpgradeState) -> dict[str, str | None]:
    """What has to be live after the steps that are done: module to md5, None for one that has to be gone."""
    expected: dict[str, str | None] = {}
    for record in state.records:
        if state.outcome(record.number, "do") == Outcome.SUCCEEDED:
            expected.update((change.module, change.to_md5) for change in record.modules)
    return expected


def old_release_differences(run: Run) -> list[str]:
    """What is not as it was before the hop, once every step is undone; one line for each.

    The md5s alone do not tell: an application may not have come up again, a process may have stayed suspended.
    Who was suspended by somebody else before is told to the operator, and is no difference.
    """
    old = {change.module: change.from_md5 for record in run.state.records for change in record.modules}
    restarted = {
        step.application: old_version(step)
        for record in run.state.records
        if run.state.outcome(record.number, "undo") == Outcome.SUCCEEDED
        and isinstance(step := from_record(record), RestartApplication)
    }
    return differences(run.node, old) + _not_running(run.node, restarted) + _left_suspended(run)


def _left_suspended(run: Run) -> list[str]:
    """One line for each process that stands still and may do so by the hop's doing."""
    found = run.node.suspended()
    if run.state.may_have_suspended:
        others = [process for process in found if process.pid in run.state.suspended_before]
    else:
        others = [*found]
    if others:
        run.house.progress.note(
            f"{listed(_suspended_lines(others))}: not by the hop's doing, so left as it is; sys:resume/1 ends it"
        )
    return _suspended_lines(process for process in found if process not in others)


def old_version(step: RestartApplication) -> str | None:
    """The application's version before the hop, as its old .app says; None when that cannot be read any more."""
    application = ReleaseApplication(step.application, "", Path(step.old_app_file).parent)
    try:
        return text_of(application.properties["vsn"])
    except (BadRelease, KeyError, ValueError):
        return None


def sides(changes: Iterable[ModuleChange], direction: Direction) -> dict[str, str | None]:
    """The md5s that a walk in `direction` ends with."""
    return {change.module: change.to_md5 if direction == "do" else change.from_md5 for change in changes}


def differences(node: Node, expected: dict[str, str | None]) -> list[str]:
    """One line for each module that is not live as expected."""
    live = node.module_md5s(expected)
    return [
        f"{module} runs {live.get(module) or 'nothing'} instead of {md5 or 'nothing'}"
        for module, md5 in expected.items()
        if live.get(module) != md5
    ]


def _stopped_applications(run: Run) -> list[str]:
    restarted = {
        step.application: step.version
        for record in run.state.records
        if run.state.outcome(record.number, "do") == Outcome.SUCCEEDED
        and isinstance(step := from_record(record), RestartApplication)
    }
    return _not_running(run.node, restarted)


def _not_running(node: Node, wanted: Mapping[str, str | None]) -> list[str]:
    """One line for each application that does not run, or runs in another version than the wanted one."""
    if not wanted:
        return []
    known = node.applications()
    return [
        f"application {name} {version or ''}".rstrip() + " does not run"
        for name, version in wanted.items()
        if not is_running(known.get(name), version=version)
    ]


def is_running(application: Application | None, *, version: str | None) -> bool:
    """It runs, and in that version; None as `version` asks for any."""
    if application is None or not application.running:
        return False
    return version is None or application.version == version


def _suspended(node: Node) -> list[str]:
    return _suspended_lines(node.suspended())


def _suspended_lines(processes: Iterable[ProcessSeen]) -> list[str]:
    return [f"{process.pid} ({process.name}) is suspended" for process in processes]


def listed(lines: list[str]) -> str:
    """The first few, and how many more."""
    more = len(lines) - SHOWN
    return "; ".join(lines[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def live_sides(node: Node, changes: Iterable[ModuleChange]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The modules that run the old code, and those that run the new: the two sides of a broken hop.

    A module that is the same in both releases stands on neither side.
    """
    known = {change.module: change for change in changes if change.from_md5 != change.to_md5}
    live = node.module_md5s(known)
    old = tuple(name for name, change in known.items() if live.get(name) == change.from_md5)
    new = tuple(name for name, change in known.items() if live.get(name) == change.to_md5)
    return old, new
