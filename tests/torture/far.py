"""The VM in memory, and a tool in a process of its own that reaches it through a pipe.

So a SIGKILL of the tool is a real one, and the VM lives on, as it would.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from engine.node.errors import ConnectionLost, NodeDown
from tests.fake_node import FakeNode, FakeVm

_FORK = multiprocessing.get_context("fork")


class FarNode:
    """`engine.node.door.Node` whose VM lives in another process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            more.pop("on_progress", None)
            try:
                self._pipe.send((method, [_plain(each) for each in arguments], more))
                went_well, answer = self._pipe.recv()
            except (EOFError, OSError):
                raise ConnectionLost("The pipe to the VM broke.", next="Run 'relup recover'.") from None
            if went_well:
                return answer
            kind, happened, what_next = answer
            raise kind(happened, next=what_next)

        return call


def _plain(argument: Any) -> Any:
    """Dict views and generators do not travel."""
    is_view = not isinstance(argument, (str, bytes, list, tuple, dict)) and hasattr(argument, "__iter__")
    return list(argument) if is_view else argument


class Tool:
    """A tool process that works on a VM of this process."""

    def __init__(self, vm: FakeVm, work: Callable[[FarNode], None]) -> None:
        here, there = _FORK.Pipe()
        self._process = _FORK.Process(target=_run, args=(work, there, here))
        self._process.start()
        there.close()
        self._serving = threading.Thread(target=_serve, args=(vm, here), daemon=True)
        self._serving.start()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def join(self, timeout_s: float) -> bool:
        """Wait for its end; whether it came."""
        self._process.join(timeout_s)
        ended = not self._process.is_alive()
        if not ended:
            self.kill()
            self._process.join()
        self._serving.join()
        return ended

    @property
    def exit_code(self) -> int | None:
        """Of the ended process; negative for a signal."""
        return self._process.exitcode


def _run(work: Callable[[FarNode], None], there: Connection, here: Connection) -> None:
    here.close()
    work(FarNode(there))
    os._exit(0)


def _serve(vm: FakeVm, pipe: Connection) -> None:
    node = FakeNode(vm)
    while True:
        try:
            method, arguments, more = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (True, getattr(node, method)(*arguments, **more))
        except (ConnectionLost, NodeDown) as error:
            answer = (False, (type(error), error.happened, error.next))
        try:
            pipe.send(answer)
        except OSError:
            return
