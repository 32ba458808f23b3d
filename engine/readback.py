"""Reading back: is what the journal says to be done really so in the VM and on disk? Only reading calls."""

from collections.abc import Iterable

from engine.errors import StepFailure
from engine.node.door import Node
from engine.run import Run
from engine.state import Outcome, UpgradeState
from engine.steps import RestartApplication, from_record
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
            next="Look at the node's log; the steps before are undone where they can be.",
            reverted=True,
        )
    return Evidence(modules=len(expected), connections=run.node.connections())


def expected_md5s(state: UpgradeState) -> dict[str, str | None]:
    """What has to be live after the steps that are done: module to md5, None for one that has to be gone."""
    expected: dict[str, str | None] = {}
    for record in state.records:
        if state.outcome(record.number, "do") == Outcome.SUCCEEDED:
            expected.update((change.module, change.to_md5) for change in record.modules)
    return expected


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
    restarted = [
        step
        for record in run.state.records
        if run.state.outcome(record.number, "do") == Outcome.SUCCEEDED
        and isinstance(step := from_record(record), RestartApplication)
    ]
    if not restarted:
        return []
    running = run.node.applications()
    return [
        f"application {step.application} {step.version} does not run"
        for step in restarted
        if step.application not in running
        or not running[step.application].running
        or running[step.application].version != step.version
    ]


def _suspended(node: Node) -> list[str]:
    return [f"{process.pid} ({process.name}) is suspended" for process in node.suspended()]


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
