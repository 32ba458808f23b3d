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


def settled(read: Callable[[], Any], wanted: Any) -> Any:
    """What is read when it has become what is wanted; else what it still is after a while."""
    deadline = time.monotonic() + 20
    while (found := read()) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


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
    """End one of them; it is gone when this returns, and what it owned is another's."""
    node.eval(
        "R = monitor(process, P), exit(P, kill), receive {'DOWN', R, process, P, _} -> ok end",
        P=member(node, role),
    )


def deafen(node: BareNode, process: str = "hd(probe_sup:counters())") -> Any:
    """That process hears nothing more, no suspend either, until it gets `go_on`; its pid or name."""
    return node.eval(
        f"P = {process}, Us = self(), spawn(fun() -> sys:replace_state(P, fun(S) ->"
        " Us ! deaf, receive go_on -> S end end, infinity) end), receive deaf -> P end"
    )


def go_on(node: BareNode, process: Any) -> None:
    """Whoever was blocked or deafened goes on."""
    node.eval("P ! go_on", P=process)


def hold_the_switch(node: BareNode, deaf: Any) -> None:
    """The switch of an update that has begun waits in front of the code server, until `let_go`.

    Args:
        deaf: Who held the update up so far; it goes on.
    """
    until(lambda: stage(node) == "suspending")
    node.eval(
        "code:ensure_loaded(timer), Us = self(), spawn(fun() -> register(holder, self()),"
        " erlang:suspend_process(whereis(code_server)), Us ! held, receive let_go -> ok end end),"
        " receive held -> P ! go_on end",
        P=deaf,
    )
    until(lambda: stage(node) == "switching" and asked_of_the_code_server(node) == 1)


def asked_of_the_code_server(node: BareNode) -> int:
    """How many requests it has not taken up yet."""
    return int(node.eval("length([R || R <- element(2, process_info(whereis(code_server), messages))])"))


def let_go(node: BareNode) -> None:
    """The code server goes on."""
    node.eval("holder ! let_go")
