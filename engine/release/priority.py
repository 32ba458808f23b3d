"""Work done behind the broker's back: in a thread of its own, at low CPU and I/O priority.

On Linux both priorities belong to a thread and are inherited by the threads it starts. They can be lowered
but not raised again without privileges, so the caller's own thread is never touched.
"""

import ctypes
import os
import platform
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

_T = TypeVar("_T")

_NICE = 15
_IOPRIO_SYSCALL = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_IOPRIO_WHO_PROCESS = 1
_BEST_EFFORT_LOWEST = (2 << 13) | 7
"""Class best-effort, level 7 (ioprio_set(2)); the idle class could starve for ever on a busy disk."""


def lower_this_thread() -> None:
    """Take the calling thread behind all others; where the system does not allow it, nothing happens."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    number = _IOPRIO_SYSCALL.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, 0, _BEST_EFFORT_LOWEST)


class _Errand(threading.Thread, Generic[_T]):
    def __init__(self, work: Callable[[], _T]) -> None:
        super().__init__(name="relup-low-priority", daemon=True)
        self._work = work
        self.returned: list[_T] = []
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            lower_this_thread()
            self.returned.append(self._work())
        except BaseException as fault:
            self.fault = fault


def at_priority(work: Callable[[], _T], *, low: bool) -> _T:
    """Do the work and return what it returns; at low priority in another thread, else right here.

    Waits to the end also when the caller's thread is interrupted meanwhile.
    """
    if not low:
        return work()
    errand = _Errand(work)
    errand.start()
    try:
        errand.join()
    except BaseException:
        errand.join()
        raise
    if errand.fault is not None:
        raise errand.fault
    return errand.returned[0]
