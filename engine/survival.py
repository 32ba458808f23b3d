"""Did the hop cost connections? Only those count that the hop itself ended, never a client's own leaving."""

from collections.abc import Iterable

from engine.errors import StepFailure
from engine.run import Run
from journal.events import EndedProcess

KILLED = "killed: "
"""Begins the reason the agent gives for a process it ended because it ran old code: --kill-blockers asked."""


def lost_connections(ended: Iterable[EndedProcess], *, killed_too: bool) -> list[EndedProcess]:
    """The connection processes among those that ended: the ones with a client."""
    return [
        process
        for process in ended
        if process.client_id is not None and (killed_too or not process.reason.startswith(KILLED))
    ]


def check_survival(run: Run) -> None:
    """Compare the connections that the hop has ended so far with what the operator accepts.

    Raises:
        StepFailure: There are more.
    """
    lost = lost_connections(run.state.ended, killed_too=not run.options.kill_blockers)
    if len(lost) <= run.options.max_lost:
        return
    first = lost[0]
    raise StepFailure(
        f"The hop has ended {len(lost)} client connections, {run.options.max_lost} were accepted; "
        f"the first: {first.client_id} ({first.pid}), {first.reason}.",
        name="connections_lost",
        next="Look at the reasons with 'relup logs --steps'; --max-lost accepts more.",
    )
