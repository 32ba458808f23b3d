"""Processes born while a module is updated, and those that nobody lists: found, stopped, changed, or told."""

from collections.abc import Iterator
from itertools import count

import msgspec
import pytest

from engine.node.door import CallFunction, StepDone, StepKey, StepNotDone
from engine.node.vm import Vm
from engine.term import Atom
from tests.engine.node.bare_node import BareNode
from tests.engine.node.updates import answers, down, up
from tests.engine.node.watched_order import (
    WatchedOrder,
    deafen,
    go_on,
    hold_the_switch,
    let_go,
    stage,
    until,
)

COUNT = 40
_steps = count(1)


def key() -> StepKey:
    return StepKey(upgrade_id="newcomers", step=next(_steps), attempt=1, direction="do")


@pytest.fixture
def vm(node: BareNode) -> Iterator[Vm]:
    """The node behind the door, with the agent installed and COUNT counters running."""
    node.eval(f"probe_sup:start_counters({COUNT})")
    vm = node.vm()
    vm.perform(key(), CallFunction(module="erlang", function="node", arguments=()))
    yield vm
    vm.close()


def waits_to_be_started(node: BareNode) -> bool:
    """A request lies unread at one of the supervisors."""
    return bool(
        node.eval(
            "Top = whereis(probe_sup), {links, Below} = process_info(Top, links),"
            " [P || P <- [Top | Below], {_, Lying} <- [process_info(P, message_queue_len)], Lying > 0]"
        )
    )


def test_who_is_born_while_the_others_are_stopped_is_updated_too(node: BareNode, vm: Vm) -> None:
    """A connection that is accepted between the listing and the switch has the old state and gets the new one."""
    deaf = deafen(node)
    update = WatchedOrder(vm, key(), up(node))
    until(lambda: stage(node) == "suspending")
    node.eval("probe_sup:start_counters(5)")
    go_on(node, deaf)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert (report.processes, report.ended, report.notes) == (COUNT + 5, (), ())
    assert answers(node) == {(Atom("v2"), Atom("grown"))}
    assert vm.suspended() == ()


def test_a_newcomer_that_dies_in_its_code_change_is_named(node: BareNode, vm: Vm) -> None:
    """Those who joined late are watched as the others are."""
    deaf = deafen(node)
    update = WatchedOrder(vm, key(), up(node))
    until(lambda: stage(node) == "suspending")
    dying = node.eval(
        "Before = probe_sup:counters(), probe_sup:start_counters(5),"
        " P = lists:nth(3, probe_sup:counters() -- Before), ets:insert(trouble, {{up, P}, die}),"
        " list_to_binary(pid_to_list(P))"
    )
    go_on(node, deaf)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert [(ended.pid, ended.reason) for ended in report.ended] == [(dying.decode(), "killed")]
    assert report.processes == COUNT + 4
    assert answers(node) == {(Atom("v2"), Atom("grown"))}


def test_nobody_is_born_between_the_last_look_and_the_switch(node: BareNode, vm: Vm) -> None:
    """Those who start the module's processes stand still until the code is switched, and then go on."""
    deaf = deafen(node)
    update = WatchedOrder(vm, key(), up(node))
    hold_the_switch(node, deaf)
    node.eval("spawn(fun() -> probe_sup:start_counters(1) end)")
    until(lambda: waits_to_be_started(node))
    let_go(node)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert (report.processes, report.notes) == (COUNT, ())
    until(lambda: len(node.eval("probe_sup:counters()")) == COUNT + 1)
    assert answers(node) == {(Atom("v2"), Atom("grown")), (Atom("v2"), Atom("fresh"))}
    assert vm.suspended() == ()


def test_who_is_born_there_all_the_same_is_told(node: BareNode, vm: Vm) -> None:
    """A process that no supervisor starts cannot be held up; the report names it."""
    deaf = deafen(node)
    update = WatchedOrder(vm, key(), up(node))
    hold_the_switch(node, deaf)
    node.eval("gen_server:start(counter, 7, [])")
    let_go(node)
    report = update.report()
    assert isinstance(report, StepDone), report
    (note,) = report.notes
    assert note.startswith("1 process was started while its code was switched and was not updated: <")


def test_a_supervisor_that_knows_no_system_message_is_not_asked_to_stand_still(
    node: BareNode, vm: Vm
) -> None:
    """It lists its children and may end at anything else, and they with it; nobody is held up by it."""
    node.eval(
        "{ok, _} = supervisor:start_child(probe_sup,"
        " #{id => strict, type => supervisor, start => {strict, start_link, []}, restart => temporary})"
    )
    report = vm.perform(key(), up(node))
    assert isinstance(report, StepDone), report
    assert (report.processes, report.ended) == (COUNT + 1, ())


def test_the_way_back_takes_those_along_who_were_born_in_the_new_code(node: BareNode, vm: Vm) -> None:
    """An update that fails late has newcomers with the new state; they go down with the others."""
    node.eval(
        "[A, B | _] = probe_sup:counters(), register(late, B),"
        " ets:insert(trouble, [{{up, A}, crash}, {{up, B}, block}])"
    )
    update = WatchedOrder(vm, key(), up(node))
    until(
        lambda: (
            stage(node) == "changing"
            and node.eval("element(1, element(2, process_info(whereis(late), current_function)))")
            == "counter"
        )
    )
    node.eval("probe_sup:start_counters(3), late ! go_on")
    report = update.report()
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted, report.ended) == ("code_change_failed", True, ())
    assert len(node.eval("probe_sup:counters()")) == COUNT + 3
    assert answers(node) == {(Atom("v1"),)}
    assert vm.suspended() == ()


def test_a_rollback_takes_newcomers_down_too(node: BareNode, vm: Vm) -> None:
    """Who is born in the new code while the others are stopped has the new state, and goes back with them."""
    assert isinstance(vm.perform(key(), up(node)), StepDone)
    deaf = deafen(node)
    update = WatchedOrder(vm, key(), down(node))
    until(lambda: stage(node) == "suspending")
    node.eval("probe_sup:start_counters(5)")
    go_on(node, deaf)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert (report.processes, report.ended) == (COUNT + 5, ())
    assert answers(node) == {(Atom("v1"),)}
    assert vm.suspended() == ()


def test_a_supervisor_that_does_not_answer_refuses_an_update(node: BareNode, vm: Vm) -> None:
    """It may have processes that nobody would update: nothing is suspended, nothing is switched."""
    node.eval("other_sup:adopt(1), sys:suspend(other_sup)")
    report = vm.perform(key(), up(node))
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("supervisors_silent", True)
    assert "other_sup" in report.detail
    assert answers(node) == {(Atom("v1"),)}


def test_a_supervisor_that_does_not_answer_does_not_stop_a_rollback(node: BareNode, vm: Vm) -> None:
    """Its processes are found by what they run, and go down with the others; the report says so."""
    child = node.eval("other_sup:adopt(1)")
    assert isinstance(vm.perform(key(), up(node)), StepDone)
    node.eval("sys:suspend(other_sup)")
    report = vm.perform(key(), down(node))
    assert isinstance(report, StepDone), report
    assert report.processes == COUNT + 1
    (note,) = report.notes
    assert "other_sup; 1 processes below them were found by what they run" in note
    assert node.eval("counter:read(P)", P=child) == (Atom("v1"), 1)
    assert answers(node) == {(Atom("v1"),)}


def test_a_newcomer_that_is_stuck_in_its_init_is_named_and_all_go_on(node: BareNode, vm: Vm) -> None:
    """The update takes no longer than its deadline, changes nothing, and holds up neither it nor its supervisor."""
    order = msgspec.structs.replace(up(node), suspend_timeout_ms=6_000)
    node.eval("ets:insert(trouble, {{born, 1}, block})")
    deaf = deafen(node)
    update = WatchedOrder(vm, key(), order)
    until(lambda: stage(node) == "suspending")
    node.eval("spawn(fun() -> probe_sup:start_counters(1) end)")
    stuck = node.eval(
        "(fun Find() -> case [P || P <- processes(), {_, {timer, sleep, 1}} <- [process_info(P, current_function)],"
        " {_, D} <- [process_info(P, dictionary)], {_, {counter, init, 1}} <- [lists:keyfind('$initial_call', 1, D)],"
        " {_, S} <- [process_info(P, current_stacktrace)], lists:keymember(born, 2, S)] of [P] -> P;"
        " _ -> timer:sleep(5), Find() end end)()"
    )
    go_on(node, deaf)
    report = update.report()
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted, report.ended) == ("suspend_timeout", True, ())
    pid = node.eval("list_to_binary(pid_to_list(P))", P=stuck).decode()
    assert report.detail == (
        f"1 processes that were started meanwhile did not stop in time: {pid} counter:init/1"
    )
    assert vm.suspended() == ()
    node.eval("ets:delete(trouble, {born, 1})")
    until(lambda: len(node.eval("probe_sup:counters()")) == COUNT + 1)
    assert answers(node) == {(Atom("v1"),)}
    assert vm.suspended() == ()
    report = vm.perform(key(), up(node))
    assert isinstance(report, StepDone), report
    assert answers(node) == {(Atom("v2"), Atom("grown"))}
