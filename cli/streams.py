"""stdin, stdout and stderr as commands find them: always open, and never in the way of what is being done.

A terminal that goes away, a pipe that nobody reads any more, a full disk behind stdout: an upgrade goes on
all the same, and its exit code says how it ended. What could not be said is told at the end.
"""

import errno
import os
import sys
from typing import Any, TextIO, cast

from engine.errors import AnswerLost


class Unfailing:
    """A stream that swallows what cannot be written.

    Attributes:
        fault: The first error that was met; nothing is written after it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """Write what can be written."""
        if self.fault is None:
            try:
                return self._stream.write(text)
            except OSError as fault:
                self.fault = fault
        return len(text)

    def flush(self) -> None:
        """Hand on what was written so far."""
        if self.fault is None:
            try:
                self._stream.flush()
            except OSError as fault:
                self.fault = fault

    def is_left(self) -> bool:
        """Whoever read this has gone: the other side of a pipe, or a terminal."""
        return self.fault is not None and (self._is_terminal or self.fault.errno == errno.EPIPE)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard() -> Unfailing:
    """Make the three streams safe for the rest of this process.

    Returns:
        What stands for stdout from now on.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        _open_if_closed(number, name)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    answer = Unfailing(sys.stdout)
    sys.stdout = cast(TextIO, answer)
    sys.stderr = cast(TextIO, Unfailing(sys.stderr))
    return answer


def lost_answer(answer: Unfailing) -> AnswerLost | None:
    """What to tell when the answer has not reached its reader; None when it has, or when nobody wants it."""
    answer.flush()
    fault = answer.fault
    if fault is None or answer.is_left():
        return None
    lost = AnswerLost(
        f"What was asked for is done, but the answer could not be written: {fault.strerror}.",
        next="Make room, or send stdout elsewhere; 'relup status' and 'relup logs' say what was done.",
    )
    lost.runs_now = "what this command made of it"
    return lost


def _open_if_closed(number: int, name: str) -> None:
    """A descriptor that was closed by the caller would be given to the next file that is opened."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)
        setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))
