"""Is it still the same VM? A node's name and pid come back after a restart; its start time does not."""

from pathlib import Path

from engine.node.door import NodeFacts
from journal.events import NodeObservation

_AFTER_COMMAND = 19
"""Field 22 of /proc/<pid>/stat (proc(5)), counted after the command's closing bracket."""


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


def is_alive(seen: NodeObservation) -> bool:
    """The operating system's process of that VM still runs (it may not answer)."""
    return start_time(seen.os_pid) == seen.os_start_time


def start_time(pid: int) -> int | None:
    """Start of a living process in clock ticks since boot; None for one that is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[_AFTER_COMMAND])
