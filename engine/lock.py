"""The relup flock: one tool at a time works on one RootDir, and says who it is to those it keeps out."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engine.errors import Busy, NoWritePermission


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The process that holds the lock. `pid` with `start_time` and `boot_id` names it for all time."""

    pid: int
    start_time: float
    """Seconds since the epoch, from /proc."""
    boot_id: str
    command: str

    def __str__(self) -> str:
        return f"{self.command}, pid {self.pid}" if self.pid else self.command


@contextmanager
def held(path: Path, *, command: str) -> Iterator[None]:
    """Hold the lock at `path` for the length of the block. The kernel drops it if the process dies.

    Raises:
        Busy: A living process holds it.
        NoWritePermission: The file cannot be opened for writing.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _denied(path, error) from error
    try:
        _lock_or_refuse(descriptor, path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(_myself(command)), 0)
        yield
    finally:
        os.close(descriptor)


PATIENCE_S = 0.3
"""A reader asks who holds the lock by holding it shared for a moment; that must not refuse a writer."""


def _lock_or_refuse(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(PATIENCE_S / 10)
                continue
            raise busy_with(_written_holder(path)) from None
        return


def busy_with(at_work: Holder) -> Busy:
    """The refusal of whoever comes second."""
    return Busy(
        f"Another relup works on this node: {at_work}.",
        next="Wait until it has ended; 'relup status' shows how far an upgrade is.",
    )


def holder(path: Path) -> Holder | None:
    """Who holds the lock now; None when nobody does (whatever the file says).

    Raises:
        NoWritePermission: The file is there but may not be read, so nobody can tell.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _denied(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written_holder(path)
    finally:
        os.close(descriptor)
    return None


def _denied(path: Path, error: OSError) -> NoWritePermission:
    return NoWritePermission(
        f"The lock file {path} cannot be opened: {error.strerror}.",
        next="Run relup as the user that runs the node, or as root.",
    )


def _written_holder(path: Path) -> Holder:
    """The holder as it wrote itself down; between its locking and its writing nobody knows its name."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return Holder(pid=0, start_time=0.0, boot_id="", command="a relup that has only just started")


def _myself(command: str) -> Holder:
    import psutil  # here, because readers of the lock do not need it and `status` has no time for it

    return Holder(
        pid=os.getpid(),
        start_time=psutil.Process().create_time(),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        command=command,
    )
