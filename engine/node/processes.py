"""Processes of this machine as /proc shows them: command line, owner, start. Reads only, follows nothing."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

_START_TIME_FIELD = 22
_PROC = Path("/proc")


class OsProcess(msgspec.Struct, frozen=True):
    """One life of a process: pids return, `pid` with `start_time` does not.

    Attributes:
        start_time: Clock ticks since boot, field 22 of /proc/<pid>/stat.
        uid: Its effective user.
    """

    pid: int
    start_time: int
    uid: int


def command_lines(proc: Path = _PROC) -> Iterator[tuple[OsProcess, list[str]]]:
    """Every process with its words; those that end meanwhile and kernel threads are left out."""
    for folder in sorted(proc.iterdir()):
        if not folder.name.isdecimal():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
            if words:
                yield OsProcess(int(folder.name), _start_time(folder), folder.stat().st_uid), words
        except (OSError, ValueError, IndexError):
            continue


def is_alive(process: OsProcess, *, proc: Path = _PROC) -> bool:
    """Whether that very process still runs (a zombie does not)."""
    try:
        fields = _stat_fields(proc / str(process.pid))
    except (OSError, IndexError):
        return False
    return fields[0] != "Z" and int(fields[_START_TIME_FIELD - 3]) == process.start_time


def environment_value(process: OsProcess, name: str, *, proc: Path = _PROC) -> str | None:
    """A variable of the process's environment at its start; None when it has none or we may not look."""
    try:
        entries = (proc / str(process.pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    start = f"{name}=".encode()
    found = [entry[len(start) :] for entry in entries if entry.startswith(start)]
    return found[0].decode(errors="surrogateescape") if found else None


def _start_time(folder: Path) -> int:
    return int(_stat_fields(folder)[_START_TIME_FIELD - 3])


def _stat_fields(folder: Path) -> list[str]:
    """The fields of stat from the third on; the second is a name that may hold spaces and brackets."""
    return (folder / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
