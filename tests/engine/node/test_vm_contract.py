"""The door's contract, on the real node."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest

from engine.node.door import CallFunction, ModuleFile, Node, StepKey
from tests.engine.node.bare_node import BareNode
from tests.engine.node.contract import COUNTERS, NodeContract
from tests.engine.node.watched_order import deafen, go_on


class RealSubject:
    """A bare node with the agent installed."""

    def __init__(self, bare: BareNode) -> None:
        self._bare = bare
        self._deaf: Any = None
        self.node: Node = bare.vm()
        self.other_folder = str(bare.builds / "v2")
        bare.eval(
            f"probe_sup:start_counters({COUNTERS}), application:start(store), code:ensure_loaded(looper)"
        )
        install = StepKey(upgrade_id="setup", step=0, attempt=1, direction="do")
        self.node.perform(install, CallFunction(module="erlang", function="node", arguments=()))

    def file(self, module: str, version: str) -> ModuleFile:
        if version == "bad":
            return ModuleFile(module=module, file=self.app_file("v1"), md5="00" * 16)
        return self._bare.file(module, version)

    def app_file(self, version: str) -> str:
        return str(self._bare.builds / version / "store.app")

    def plant(self, place: Literal["suspend", "up", "down"]) -> None:
        if place == "suspend":
            self._deaf = deafen(self._bare)
        else:
            self._bare.eval(f"ets:insert(trouble, {{{{{place}, hd(probe_sup:counters())}}, crash}})")

    def give_in(self) -> None:
        if self._deaf is not None:
            go_on(self._bare, self._deaf)

    def spawn_lingering(self, number: int) -> None:
        self._bare.eval(f"[looper:plain() || _ <- lists:seq(1, {number})]")

    def connect(self, client_id: str) -> None:
        if self._bare.eval("ets:whereis(emqx_channel)") == "undefined":
            self._bare.spawn("ets:new(emqx_channel, [named_table, public, bag])")
        self._bare.eval(
            f'[P] = probe_sup:start_counters(1), ets:insert(emqx_channel, {{<<"{client_id}">>, P}})'
        )

    def end(self, client_id: str, reason: str) -> None:
        self._bare.eval(
            f'[{{_, P}}] = ets:take(emqx_channel, <<"{client_id}">>), Ref = monitor(process, P),'
            f" gen_server:stop(P, {reason}, infinity), receive {{'DOWN', Ref, _, _, _}} -> gone end"
        )

    def versions(self) -> set[str]:
        return set(self._bare.eval("[element(1, counter:read(P)) || P <- probe_sup:counters()]"))


@pytest.fixture
def subject(node: BareNode) -> Iterator[RealSubject]:
    """A fresh node for each test."""
    made = RealSubject(node)
    yield made
    made.node.close()


class TestVm(NodeContract):
    """The node over the Erlang distribution."""
