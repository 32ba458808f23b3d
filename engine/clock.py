"""The clock's door: the time of day for entries, a steady clock for durations."""

import time
from typing import Protocol


class Clock(Protocol):
    def now_ns(self) -> int:
        """Nanoseconds since the epoch, UTC. May step backwards; never used to order anything."""
        ...

    def steady_ns(self) -> int:
        """Nanoseconds of a clock that never steps."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def steady_ns(self) -> int:
        return time.monotonic_ns()
