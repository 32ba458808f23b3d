"""Reading LMDB in a child process, so that a crash inside LMDB is a message and not the end of the tool.

A damaged or foreign file can make LMDB follow a pointer out of its map: the process dies by SIGBUS or
SIGSEGV. So every reader forks, the child reads and checks, and frames of bytes come back through a pipe.
The parent holds no LMDB environment of its own and gets either frames, one of the journal's errors, or
the news that the child was killed, which is damage.
"""

import contextlib
import faulthandler
import fcntl
import os
import resource
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

import msgspec

from journal.environment import drop_inherited
from journal.errors import GROUPS, SALVAGE, JournalDamaged, JournalError, JournalFull
from journal.place import MIN_FREE_BYTES, free_bytes

PIPE_BYTES = 1024 * 1024
"""Room for several frames, so that the two processes seldom wait for each other."""
FRAME, ERROR, END = b"F", b"E", b"Z"
_LENGTH = struct.Struct(">cI")

Producer = Callable[[], Iterator[bytes]]
"""What the child runs. An empty frame is a sign of life: it is written, but not handed on."""


class _CarriedError(msgspec.Struct):
    group: str
    happened: str
    next: str
    seq: int | None


def frames(produce: Producer, *, subject: Path) -> Iterator[bytes]:
    """Run `produce` in a child process and yield its frames.

    Args:
        produce: Opens whatever it reads itself.
        subject: What is read, for messages.

    Raises:
        JournalDamaged: The child was killed by a signal.
        JournalError: What the child raised.
    """
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):  # the user's pipes may have their limit already; the default works
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    child = _fork()
    if child == 0:
        os.close(reading)
        _run(produce, writing)
    os.close(writing)
    ended = False
    try:
        with os.fdopen(reading, "rb", buffering=1024 * 1024) as stream:
            while True:
                kind, body = _next_frame(stream)
                if kind == FRAME:
                    if body:
                        yield body
                    continue
                ended = True
                break
        status = _wait(child)
        child = 0
        if kind == ERROR:
            raise _carried(body)
        if kind != END or status != 0:
            raise _death(status, subject)
    finally:
        if child:
            if not ended:
                os.kill(child, signal.SIGKILL)
            _wait(child)


def _fork() -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # The warning is about locks held by other threads; the child runs nothing but its producer.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _next_frame(stream: BinaryIO) -> tuple[bytes, bytes]:
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return b"", b""
    kind, length = _LENGTH.unpack(header)
    return kind, stream.read(length)


def _run(produce: Producer, writing: int) -> NoReturn:
    """The child's whole life."""
    code = 1
    try:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number, action in ((signal.SIGINT, signal.SIG_IGN), (signal.SIGTERM, signal.SIG_DFL)):
            signal.signal(number, action)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        drop_inherited()
        try:
            for body in produce():
                _write(writing, FRAME, body)
        except JournalError as error:
            carried = _CarriedError(error.name, error.happened, error.next, error.seq)
            _write(writing, ERROR, msgspec.msgpack.encode(carried))
        else:
            _write(writing, END, b"")
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        with contextlib.suppress(OSError):
            sys.stderr.flush()
    finally:
        os._exit(code)


def _write(descriptor: int, kind: bytes, body: bytes) -> None:
    rest = memoryview(_LENGTH.pack(kind, len(body)) + body)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _carried(body: bytes) -> JournalError:
    carried = msgspec.msgpack.decode(body, type=_CarriedError)
    return GROUPS[carried.group](carried.happened, next=carried.next, seq=carried.seq)


def _death(status: int, subject: Path) -> JournalError:
    if status >= 0:
        return JournalDamaged(
            f"reading {subject} failed in a way nobody foresaw (its error is on stderr)", next=SALVAGE
        )
    name = signal.Signals(-status).name
    if name == "SIGBUS" and _is_full(subject):
        return JournalFull(
            f"the disk below {subject} is full: LMDB was killed by {name}", next="free some disk space"
        )
    return JournalDamaged(f"LMDB was killed by {name} while it read {subject}", next=SALVAGE)


def _is_full(subject: Path) -> bool:
    try:
        return free_bytes(subject) < MIN_FREE_BYTES
    except OSError:
        return False
