"""Killing a real process with -9 at every line of the journal's own code, one process per line.

What a line does is done by one call into LMDB or the kernel, so every state that a crash can leave on disk
lies between two lines, or inside LMDB's commit, whose own promise that is.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

JOURNAL = str(Path(__file__).resolve().parents[2] / "journal") + os.sep

Scenario = Callable[[Callable[[], None]], None]
"""What the process does; it calls its argument where the lines begin to count."""


def lived_to(line: int, scenario: Scenario) -> bool:
    """Run `scenario` in a process that is killed when it reaches its `line`-th line; did it end before?"""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            scenario(lambda: _kill_at(line))
            sys.settrace(None)
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), "the scenario itself works"
    return status == 0


def _kill_at(line: int) -> None:
    """Count each line once per way that leads to it: what a loop repeats leaves nothing new behind."""
    seen: set[tuple[int, ...]] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(JOURNAL):
            return None
        if event == "line":
            seen.add(_way_to(frame))
            if len(seen) >= line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def _way_to(frame: FrameType | None) -> tuple[int, ...]:
    way = []
    while frame is not None and frame.f_code.co_filename.startswith(JOURNAL):
        way += [id(frame.f_code), frame.f_lineno]
        frame = frame.f_back
    return tuple(way)
