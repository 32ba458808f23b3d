"""Did the hop cost connections? Only those count that the hop itself ended, never a client's own leaving."""

from collections.abc import Iterable

from engine.errors import StepFailure
from engine.run import Run
from journal.events import EndedProcess

KILLED = "killed: "
"""Begins the reason the agent gives for a process it ended because it ran old code: --kill-blockers asked."""
_LEFT = ("normal", "shutdown")
_LEFT_BECAUSE = "{shutdown,"
"""How a connection ends that was closed."""


def lost_connections(ended: Iterable[EndedProcess], *, killed_too: bool) -> list[EndedProcess]:
    """The connection processes among those that ended: the ones with a client, but those that were closed."""
    return [
        process
        for process in ended
        if process.client_id is not None
        and not _was_closed(process.reason)
        and (killed_too or not process.reason.startswith(KILLED))
    ]


def _was_closed(reason: str) -> bool:
    return reason in _LEFT or reason.startswith(_LEFT_BECAUSE)


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


def note_losses(run: Run) -> None:
    """Tell at the end of a hop what it has cost more than was accepted, where that could not stop it."""
    if (told := _too_many(run)) is not None:
        run.house.progress.note(f"{told} It was past the point of no return, so the upgrade went on.")


def _too_many(run: Run) -> str | None:
    """The connections that were lost, as a sentence; None when they are accepted."""
    lost = lost_connections(run.state.ended, killed_too=not run.options.kill_blockers)
    if len(lost) <= run.options.max_lost:
        return None
    first = lost[0]
    return (
        f"The hop has ended {len(lost)} client connections, {run.options.max_lost} were accepted; "
        f"the first: {first.client_id} ({first.pid}), {first.reason}."
    )
