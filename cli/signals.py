"""Ctrl-C, SIGTERM and SIGHUP while something is being changed: they are counted, and the engine heeds them.

A step in hand is never torn by a signal. What the first and the second request mean is `engine.interrupts`.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def counted_signals(say: Callable[[str], None]) -> Iterator[Callable[[], int]]:
    """Count the operator's requests to stop for the length of the block.

    Args:
        say: Told one line when a request arrives, so that nobody presses a key and sees nothing.

    Yields:
        How many there were so far.
    """
    requests = 0

    def hear(_number: int, _frame: FrameType | None) -> None:
        nonlocal requests
        requests += 1
        say(
            "stopping after the step in hand"
            if requests == 1
            else "asked again: leaving everything as it is after the step in hand; 'relup recover' goes on"
        )

    before = {number: signal.signal(number, hear) for number in HEARD}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield lambda: requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
