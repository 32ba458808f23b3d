"""Is it still the same VM? A node's name and pid come back after a restart; its start time does not."""

from engine.errors import NodeUnreachable
from engine.node import processes
from engine.node.door import NodeFacts
from journal.events import NodeObservation


def observation(facts: NodeFacts) -> NodeObservation:
    """The node's facts as the journal keeps them."""
    return NodeObservation(
        name=facts.name,
        os_pid=facts.os_pid,
        os_start_time=facts.os_start_time,
        creation=facts.creation,
        otp_release=facts.otp_release,
        running_version=facts.running_version,
        boot_tree=facts.boot_tree,
    )


def is_same(seen: NodeObservation, now: NodeFacts) -> bool:
    """`now` is the very VM that was `seen`."""
    return (seen.os_pid, seen.os_start_time, seen.creation) == (
        now.os_pid,
        now.os_start_time,
        now.creation,
    )


def require_same(seen: NodeObservation | None, now: NodeFacts) -> None:
    """Refuse to take another VM's word: its live code says nothing about the one the upgrade works on.

    Raises:
        NodeUnreachable: The VM that was seen has ended.
    """
    if seen is not None and not is_same(seen, now):
        raise NodeUnreachable(
            f"The VM that the upgrade works on has ended; another one runs as {now.name} now.",
            next="Run 'relup recover': it cleans up. Then upgrade again.",
        )


def is_alive(seen: NodeObservation) -> bool:
    """The operating system's process of that VM still runs (it may not answer)."""
    return processes.is_alive(processes.OsProcess(seen.os_pid, seen.os_start_time, uid=0))
