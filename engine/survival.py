"""Did the hop cost connections? Only those count that the hop itself ended, never a client's own leaving.

The agent watches every client's connection from the first live step on. What ended is told by the report of each
step and asked for when the node is read back, after the new code has served for a while.
"""

import time
from collections.abc import Iterable

from engine.errors import ConnectionsLost, StepFailure
from engine.node import door
from engine.reserve import shortened
from engine.run import Run
from engine.state import UpgradeState
from engine.steps import counted
from journal.events import EndedProcess

POLL_S = 0.1

KILLED = "killed: "
"""Begins the reason the agent gives for a process it ended because it ran old code: --kill-blockers asked."""


def lost_connections(ended: Iterable[EndedProcess], *, killed_too: bool) -> list[EndedProcess]:
    """The connection processes among those that ended: the ones with a client, but those that were closed."""
    return [
        process
        for process in ended
        if process.client_id is not None
        and not process.left_by_itself
        and (killed_too or not process.reason.startswith(KILLED))
    ]


def ended_by_hop(ended: Iterable[EndedProcess]) -> list[EndedProcess]:
    """The processes among those that ended, with a client or without, but those that left by themselves."""
    return [process for process in ended if not process.left_by_itself]


def recorded_ends(processes: Iterable[door.Ended], state: UpgradeState) -> tuple[EndedProcess, ...]:
    """What the node told of ended processes, for the journal: those that are not written down yet."""
    known = {process.pid for process in state.ended}
    return tuple(
        shortened(
            EndedProcess(
                pid=process.pid, name=process.name, reason=process.reason, client_id=process.client_id
            )
        )
        for process in processes
        if process.pid not in known
    )


def served_by_new_code(run: Run, *, connections: int | None) -> tuple[EndedProcess, ...]:
    """The connections that ended, once clients were served for a while by the code that is live now.

    A client meets the code that serves it with its next packet and not before. Nobody is waited for behind the
    point of no return, nor when it is enough to have the hop undone, nor when the operator asks to stop.
    """
    ended = recorded_ends(run.node.ended(), run.state)
    if not connections or run.state.passed_no_return:
        return ended
    until_ns = run.house.clock.steady_ns() + run.options.watch_ms * 1_000_000
    while run.house.clock.steady_ns() < until_ns and not run.house.interrupts():
        if _too_many(run, ended) is not None:
            break
        time.sleep(POLL_S)
        ended = recorded_ends(run.node.ended(), run.state)
    return ended


def check_survival(run: Run) -> None:
    """Compare the connections that the hop has ended so far with what the operator accepts.

    Only before the point of no return: after it nothing would come back by stopping.

    Raises:
        StepFailure: There are more.
    """
    if run.state.passed_no_return or (told := _too_many(run)) is None:
        return
    raise StepFailure(
        told,
        name="connections_lost",
        next="Look at the reasons with 'relup logs --steps'; --max-lost accepts more.",
    )


def require_survival(run: Run) -> None:
    """Tell at the end of a finished hop what it has cost more than was accepted, where that did not undo it.

    Raises:
        ConnectionsLost: The hop is done, and it is not what the operator wanted.
    """
    if (told := _too_many(run)) is None:
        return
    error = ConnectionsLost(
        f"{told} That was seen when it could not be undone by itself any more, so the upgrade went on to its end.",
        next="Look at the reasons with 'relup logs --steps', and whether those clients are back.",
    )
    error.runs_now = "the new release, whole; it boots next"
    raise error


def _too_many(run: Run, unwritten: tuple[EndedProcess, ...] = ()) -> str | None:
    """The connections that were lost, as a sentence; None when they are accepted."""
    ended = run.state.ended + unwritten
    lost = lost_connections(ended, killed_too=not run.options.kill_blockers)
    if len(lost) <= run.options.max_lost:
        return None
    first = lost[0]
    return (
        f"The hop has ended {counted(len(lost), 'client connection')}, {run.options.max_lost} were accepted; "
        f"the first: {first.client_id} ({first.pid}), {first.reason}."
    )
