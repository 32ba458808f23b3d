"""An order that runs in a thread of its own, and what a test sees of the agent meanwhile."""

import threading
import time
from collections.abc import Callable
from typing import Any

from engine.errors import NodeUnreachable
from engine.node.door import StepKey, StepOrder
from engine.node.errors import AgentBusy
from engine.node.vm import Vm
from tests.engine.node.bare_node import BareNode


class WatchedOrder:
    """Begun at once."""

    def __init__(self, vm: Vm, key: StepKey, order: StepOrder) -> None:
        self._answer: Any = None
        self._thread = threading.Thread(target=self._run, args=(vm, key, order), daemon=True)
        self._thread.start()

    def _run(self, vm: Vm, key: StepKey, order: StepOrder) -> None:
        try:
            self._answer = vm.perform(key, order)
        except (NodeUnreachable, AgentBusy) as error:
            self._answer = error

    def report(self) -> Any:
        """How it ended, when it has; the error when there is no report."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "the order ended"
        return self._answer


def until(true: Callable[[], bool]) -> None:
    """Return when it is true."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it became true in time"
        time.sleep(0.01)


def stage(node: BareNode) -> Any:
    """Where the agent's section is; `none` without one."""
    return node.eval(
        "case ets:whereis(relup_agent_record) of undefined -> none;"
        " _ -> ets:lookup_element(relup_agent_record, stage, 2) end"
    )


def member(node: BareNode, role: str) -> Any:
    """The pid of hand, guard or keeper."""
    return node.eval(f"ets:lookup_element(relup_agent_record, {role}, 2)")


def kill(node: BareNode, role: str) -> None:
    """End one of them."""
    node.eval("exit(P, kill)", P=member(node, role))
