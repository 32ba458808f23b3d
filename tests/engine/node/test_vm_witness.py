"""How clients' connections end while an upgrade is at work is known, with the client, whoever forgets it."""

from collections.abc import Iterator
from itertools import count

import pytest

from engine.node.door import (
    CallFunction,
    Ended,
    LoadModules,
    RestartApplication,
    StepDone,
    StepKey,
    StepReport,
)
from engine.node.vm import Vm
from tests.engine.node.bare_node import BareNode
from tests.engine.node.updates import up
from tests.engine.node.watched_order import WatchedOrder, deafen, go_on, stage, until

CLIENTS = 5
NOTHING = CallFunction(module="erlang", function="node", arguments=())
FORGETTING = (
    "ets:new(emqx_channel, [named_table, public, bag]), register(cm, self()),"
    " (fun Forget() -> receive {watch, From, P} -> monitor(process, P), From ! watched, Forget();"
    " {'DOWN', _, _, P, _} -> ets:match_delete(emqx_channel, {'_', P}), Forget() end end)()"
)
"""A connection manager: it forgets a client when its connection has died."""
_steps = count(1)


def key() -> StepKey:
    return StepKey(upgrade_id="witness", step=next(_steps), attempt=1, direction="do")


@pytest.fixture
def vm(node: BareNode) -> Iterator[Vm]:
    """The node behind the door; each of CLIENTS counters is the connection of a client: c-1, c-2, …"""
    node.eval(f"spawn(fun() -> {FORGETTING} end)")
    until(lambda: node.eval("ets:whereis(emqx_channel)") != "undefined" and node.eval("is_pid(whereis(cm))"))
    node.eval(
        f"lists:zipwith(fun(N, P) -> Id = list_to_binary([$c, $- | integer_to_list(N)]),"
        f" ets:insert(emqx_channel, {{Id, P}}), cm ! {{watch, self(), P}}, receive watched -> ok end end,"
        f" lists:seq(1, {CLIENTS}), probe_sup:start_counters({CLIENTS}))"
    )
    vm = node.vm()
    yield vm
    vm.close()


def ended(report: StepReport) -> list[tuple[str | None, str]]:
    """Client ids and reasons, in the order of the client ids."""
    return sorted((process.client_id, process.reason) for process in report.ended)


def nth(number: int) -> str:
    """An Erlang expression for the connection of a client."""
    return f'hd(ets:lookup_element(emqx_channel, <<"c-{number}">>, 2))'


def test_a_client_that_crashes_while_others_are_updated_is_told_with_its_name(node: BareNode, vm: Vm) -> None:
    """The connection manager has forgotten it by the time the step ends."""
    held = deafen(node)
    update = WatchedOrder(vm, key(), up(node))
    until(lambda: stage(node) == "suspending")
    node.eval(f"exit({nth(3)}, badmatch)")
    until(lambda: len(node.eval("ets:tab2list(emqx_channel)")) == CLIENTS - 1)
    go_on(node, held)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert ended(report) == [("c-3", "badmatch")]
    assert vm.ended() == ()


def test_who_is_stopped_with_its_application_is_told_so(node: BareNode, vm: Vm) -> None:
    """Its supervisor's `shutdown` says no more than a client's own leaving would."""
    node.eval('application:start(store), ets:insert(emqx_channel, {<<"shelf">>, whereis(store)})')
    restart = RestartApplication(
        application="store",
        modules=(node.file("store", "v2"),),
        remove=(),
        app_file=str(node.builds / "v2" / "store.app"),
    )
    report = vm.perform(key(), restart)
    assert isinstance(report, StepDone), report
    assert ended(report) == [("shelf", "stopped: store was restarted")]


def test_who_is_killed_by_a_purge_is_told_once_and_in_the_purges_words(node: BareNode, vm: Vm) -> None:
    """The kill is seen as a death too, and the report says why it was done."""
    loopers = "[looper:plain() || _ <- [1, 2]]"
    node.eval(f'code:ensure_loaded(looper), [ets:insert(emqx_channel, {{<<"loop">>, P}}) || P <- {loopers}]')
    first = LoadModules(modules=(node.file("looper", "v2"),))
    assert isinstance(vm.perform(key(), first), StepDone)
    second = LoadModules(modules=(node.file("looper", "v1"),), blocker_timeout_ms=100, kill_blockers=True)
    report = vm.perform(key(), second)
    assert ended(report) == 2 * [("loop", "killed: it ran old code of looper")]
    assert {told.pid for told in vm.perform(key(), NOTHING).ended} <= {told.pid for told in report.ended}


def test_a_witness_that_was_killed_is_followed_by_another(node: BareNode, vm: Vm) -> None:
    """With the next step; what ended between the two is not known, and nothing waits for it."""
    vm.perform(key(), NOTHING)
    node.eval("exit(whereis(relup_agent_witness), kill)")
    assert vm.ended() == ()
    vm.perform(key(), NOTHING)
    node.eval(f"exit({nth(1)}, badmatch)")
    until(lambda: bool(vm.ended()))
    told: Ended = vm.ended()[0]
    assert (told.client_id, told.reason) == ("c-1", "badmatch")


def test_nothing_of_it_stays_when_the_agent_is_dismissed(node: BareNode, vm: Vm) -> None:
    """Neither process nor table nor monitor."""
    monitors = f"length(element(2, process_info({nth(1)}, monitored_by)))"
    before = node.eval(monitors)
    vm.perform(key(), NOTHING)
    assert node.eval(monitors) == before + 1
    vm.dismiss()
    assert node.eval("{whereis(relup_agent_witness), ets:whereis(relup_agent_witness)}") == (
        "undefined",
        "undefined",
    )
    assert node.eval(monitors) == before


def test_it_leaves_with_a_desk_that_nobody_follows(node: BareNode, vm: Vm) -> None:
    """A killed desk leaves it for the step that may come; without one it goes."""
    vm.perform(key(), NOTHING)
    node.eval("exit(whereis(relup_agent), kill)")
    until(lambda: node.eval("whereis(relup_agent)") == "undefined")
    node.eval("relup_agent_witness ! is_desk_there")
    until(lambda: node.eval("whereis(relup_agent_witness)") == "undefined")
