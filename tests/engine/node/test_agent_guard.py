"""Kills: each process of the agent at each stage of an update, the tool's connection, the desk.

A process that blocks in its code_change (or holds out against its suspend) keeps the update at a stage for
as long as the test needs; then one of the agent's processes is killed by its pid, and in the end every
process is called: it must answer, and with a state that fits the code.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from engine.errors import NodeUnreachable
from engine.node.door import (
    CallFunction,
    LoadModules,
    StepDone,
    StepKey,
    StepNotDone,
    StillRunning,
)
from engine.node.errors import AgentBusy, ConnectionLost
from engine.node.vm import Vm
from tests.engine.node.bare_node import BareNode
from tests.engine.node.updates import up
from tests.engine.node.watched_order import (
    WatchedOrder,
    asked_of_the_code_server,
    deafen,
    go_on,
    hold_the_switch,
    kill,
    let_go,
    member,
    stage,
    until,
)

COUNT = 60
STEP = StepKey(upgrade_id="guarded", step=1, attempt=1, direction="do")
OTHER = StepKey(upgrade_id="guarded", step=2, attempt=1, direction="do")
THIRD = StepKey(upgrade_id="guarded", step=3, attempt=1, direction="do")


@pytest.fixture
def vm(node: BareNode) -> Iterator[Vm]:
    """The node behind the door, with the agent installed and COUNT counters running."""
    node.eval(f"probe_sup:start_counters({COUNT})")
    vm = node.vm()
    vm.perform(OTHER, CallFunction(module="erlang", function="node", arguments=()))
    yield vm
    vm.close()


LIES_IN = (
    "(fun(To, Is) -> (fun Wait() -> {messages, Lying} = process_info(To, messages),"
    " lists:any(Is, Lying) orelse begin timer:sleep(10), Wait() end end)() end)"
)
"""Called with a process and a test: returns when such a message lies unread in its mailbox."""


def waiting_at_the_desk(node: BareNode) -> int:
    """How many wait for the outcome of the step in hand."""
    return int(node.eval("length(element(5, sys:get_state(relup_agent)))"))


def blocked(node: BareNode) -> Any:
    """One counter blocks in its code_change until it gets `go_on`."""
    return node.eval("P = hd(probe_sup:counters()), ets:insert(trouble, {{up, P}, block}), P")


def versions(node: BareNode) -> set[Any]:
    """What every counter answers: it must answer at all, with the version its state belongs to."""
    answers = node.eval("[counter:read(P) || P <- probe_sup:counters()]")
    return {answer[0] for answer in answers}


def standing_in(node: BareNode, module: str, function: str) -> int:
    """How many counters stand in a function now."""
    found = node.eval(
        "length([P || P <- probe_sup:counters(), {_, {M, F, _}} <- [process_info(P, current_function)],"
        f" M =:= {module}, F =:= {function}])"
    )
    return int(found)


def others_changed(node: BareNode) -> bool:
    return (
        standing_in(node, "gen_server", "loop") == COUNT - 1 and standing_in(node, "counter", "trouble") == 1
    )


@pytest.mark.parametrize("role", ["hand", "guard"])
def test_a_kill_between_the_switch_and_the_last_change_loses_no_process(
    node: BareNode, vm: Vm, role: str
) -> None:
    """Who survives finishes: every process ends on the new code with the new state."""
    late = blocked(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and others_changed(node))
    before = member(node, role)
    kill(node, role)
    until(lambda: member(node, role) != before)
    node.eval("P ! go_on", P=late)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert (report.processes, report.ended) == (COUNT, ())
    assert versions(node) == {"v2"}
    assert vm.suspended() == ()
    assert stage(node) == "none"


def test_who_failed_to_change_is_not_asked_again_by_the_next_hand(node: BareNode, vm: Vm) -> None:
    """A code_change that failed once is the end of the way up, whoever goes on with it."""
    late = blocked(node)
    failed = node.eval("P = lists:last(probe_sup:counters()), ets:insert(trouble, {{up, P}, crash}), P")
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and standing_in(node, "gen_server", "loop") == COUNT - 2)
    before = member(node, "hand")
    kill(node, "hand")
    until(lambda: member(node, "hand") != before)
    node.eval("P ! go_on", P=late)
    report = update.report()
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted, report.ended) == ("code_change_failed", True, ())
    assert node.eval("ets:lookup_element(trouble, {asked, up, P}, 2)", P=failed) == 1
    assert versions(node) == {"v1"}
    assert vm.suspended() == ()


def test_a_killed_keeper_costs_no_process_that_has_not_answered_yet(node: BareNode, vm: Vm) -> None:
    """The record outlives its keeper, and the last answer reaches the next one."""
    late = blocked(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and others_changed(node))
    kill(node, "keeper")
    until(lambda: node.eval("is_pid(whereis(relup_agent_record))") == "true")
    node.eval("P ! go_on", P=late)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert versions(node) == {"v2"}
    assert len(node.eval("probe_sup:counters()")) == COUNT


def test_a_change_answered_to_nobody_ends_its_process(node: BareNode, vm: Vm) -> None:
    """When nobody can know a process's shape it is ended and named, never run on in either code."""
    late = blocked(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and others_changed(node))
    # The keeper is held so that the answer lies in its mailbox when it dies.
    node.eval(
        "K = ets:lookup_element(relup_agent_record, keeper, 2), erlang:suspend_process(K), P ! go_on,"
        f" {LIES_IN}(K, fun({{{{relup_answer, _, change, _, From}}, _}}) -> From =:= P; (_) -> false end),"
        " exit(K, kill)",
        P=late,
    )
    report = update.report()
    assert isinstance(report, StepDone), report
    assert [ended.reason for ended in report.ended] == ["killed"]
    assert versions(node) == {"v2"}
    assert len(node.eval("probe_sup:counters()")) == COUNT - 1


@pytest.mark.parametrize("role", ["hand", "guard", "keeper"])
def test_a_kill_while_processes_are_being_suspended_leaves_nobody_suspended(
    node: BareNode, vm: Vm, role: str
) -> None:
    """Before the switch everybody is resumed on the old code, or the step goes on; nobody stays behind."""
    deaf = deafen(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "suspending")
    kill(node, role)
    go_on(node, deaf)
    report = update.report()
    if role == "hand":
        assert isinstance(report, StepNotDone)
        assert (report.name, report.reverted) == ("worker_lost", True)
        assert versions(node) == {"v1"}
    else:
        assert isinstance(report, StepDone), report
        assert versions(node) == {"v2"}
    assert vm.suspended() == ()


@pytest.mark.parametrize("role", ["hand", "guard", "keeper"])
def test_a_kill_on_the_way_back_ends_on_the_old_release(node: BareNode, vm: Vm, role: str) -> None:
    """A hop that is being taken down goes on being taken down, whoever dies."""
    node.eval(
        "[A, B | _] = probe_sup:counters(), ets:insert(trouble, [{{up, A}, crash}, {{down, B}, block}])"
    )
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "reverting")
    until(lambda: standing_in(node, "counter", "trouble") == 1)
    kill(node, role)
    until(lambda: node.eval("is_pid(whereis(relup_agent_record))") == "true")
    node.eval("[_, B | _] = probe_sup:counters(), B ! go_on")
    report = update.report()
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("code_change_failed", True)
    assert versions(node) == {"v1"}
    assert len(node.eval("probe_sup:counters()")) == COUNT
    assert vm.suspended() == ()


def test_the_update_ends_by_itself_when_the_desk_dies(node: BareNode, vm: Vm) -> None:
    """The registered process takes requests only: without it the section ends as it would have."""
    late = blocked(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and others_changed(node))
    node.eval("exit(whereis(relup_agent), kill)")
    assert isinstance(update.report(), ConnectionLost)
    with pytest.raises(AgentBusy):  # a new desk finds the section that runs
        vm.perform(THIRD, CallFunction(module="erlang", function="node", arguments=()))
    assert isinstance(vm.outcome(STEP), StillRunning)
    node.eval("P ! go_on", P=late)
    until(lambda: isinstance(vm.outcome(STEP), StepDone))
    assert versions(node) == {"v2"}


def test_the_outcome_is_there_after_the_connection_broke(node: BareNode, vm: Vm) -> None:
    """A lost tool changes nothing in the VM; a later one asks by the key and gets the report."""
    late = blocked(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and others_changed(node))
    vm.close()
    assert isinstance(update.report(), NodeUnreachable)
    later = node.vm()
    running = later.outcome(STEP)
    assert isinstance(running, StillRunning)
    assert running.stage == "changing"
    node.eval("P ! go_on", P=late)
    until(lambda: isinstance(later.outcome(STEP), StepDone))
    assert versions(node) == {"v2"}
    later.close()


def test_a_second_step_is_told_that_the_agent_is_busy(node: BareNode, vm: Vm) -> None:
    """One critical section at a time: another key is refused with the step and stage in hand."""
    late = blocked(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and others_changed(node))
    second = node.vm()
    with pytest.raises(AgentBusy, match=r"at step 1 .do. of upgrade guarded: changing"):
        second.perform(THIRD, LoadModules(modules=()))
    node.eval("P ! go_on", P=late)
    assert isinstance(update.report(), StepDone)
    second.close()


def test_the_same_key_waits_for_the_step_in_hand(node: BareNode, vm: Vm) -> None:
    """A repeated key while it runs gets the one outcome, and nothing runs twice."""
    late = blocked(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and others_changed(node))
    second = node.vm()
    again = WatchedOrder(second, STEP, up(node))
    until(lambda: waiting_at_the_desk(node) == 2)
    node.eval("P ! go_on", P=late)
    assert isinstance(update.report(), StepDone)
    assert again.report() == update.report()
    second.close()


def test_a_process_whose_change_failed_stands_still_until_its_code_is_back(node: BareNode, vm: Vm) -> None:
    """While others are still changing, the failed one must not run the new code with its old state."""
    failed, late = node.eval(
        "[A, B | _] = probe_sup:counters(), ets:insert(trouble, [{{up, A}, crash}, {{up, B}, block}]), [A, B]"
    )
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and standing_in(node, "gen_server", "loop") == COUNT - 2)
    assert node.eval("process_info(P, current_function)", P=failed) == (
        "current_function",
        ("sys", "suspend_loop", 6),
    )
    node.eval("P ! go_on", P=late)
    report = update.report()
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted, report.ended) == ("code_change_failed", True, ())
    assert versions(node) == {"v1"}


@pytest.mark.parametrize("role", ["hand", "guard", "keeper"])
def test_a_kill_inside_the_switch_waits_for_what_was_asked_of_the_code_server(
    node: BareNode, vm: Vm, role: str
) -> None:
    """A switch that still lies in the code server's mailbox comes before the decision, not after it."""
    deaf = deafen(node)
    update = WatchedOrder(vm, STEP, up(node))
    hold_the_switch(node, deaf)
    kill(node, role)
    if role == "hand":  # the next one asks, too, before it decides
        until(lambda: asked_of_the_code_server(node) == 2)
    let_go(node)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert (report.processes, report.ended) == (COUNT, ())
    assert versions(node) == {"v2"}
    assert vm.suspended() == ()


def test_an_exception_in_the_worker_leaves_nobody_suspended(node: BareNode, vm: Vm) -> None:
    """A worker that raises while processes stand still is followed by one that takes the step back."""
    deaf = deafen(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "suspending")
    node.eval("ets:delete(relup_agent_record, ready)")
    go_on(node, deaf)
    report = update.report()
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("worker_lost", True)
    assert vm.suspended() == ()
    assert versions(node) == {"v1"}
    assert len(node.eval("probe_sup:counters()")) == COUNT


def test_when_every_worker_raises_the_last_one_lets_go_of_those_who_fit_the_code(
    node: BareNode, vm: Vm
) -> None:
    """Who has the new state runs on, who has not is ended and named, and nobody stays suspended."""
    failed, _ = node.eval(
        "[A, B | _] = probe_sup:counters(), ets:insert(trouble, [{{up, A}, crash}, {{up, B}, block}]), [A, B]"
    )
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and standing_in(node, "gen_server", "loop") == COUNT - 2)
    node.eval("ets:insert(relup_agent_record, {stage, nowhere})")
    kill(node, "hand")
    report = update.report()
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("agent_failed", False)
    assert "function_clause" in report.detail
    assert [ended.reason for ended in report.ended] == ["killed", "killed"]
    assert node.eval("is_process_alive(P)", P=failed) == "false"
    assert vm.suspended() == ()
    assert versions(node) == {"v2"}
    assert len(node.eval("probe_sup:counters()")) == COUNT - 2


def test_a_call_whose_worker_dies_is_not_told_as_undone(node: BareNode, vm: Vm) -> None:
    """The function may have done its work, or may still be at it: nobody may count on the opposite."""
    call = CallFunction(module="timer", function="sleep", arguments=(600_000,), timeout_ms=600_000)
    order = WatchedOrder(vm, STEP, call)
    until(
        lambda: (
            node.eval(
                "[P || P <- processes(), {_, {timer, sleep, 1}} <- [process_info(P, current_function)]] =/= []"
            )
            == "true"
        )
    )
    kill(node, "hand")
    report = order.report()
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("call_failed", False)


def test_who_dies_before_its_answer_is_written_down_stays_dead(node: BareNode, vm: Vm) -> None:
    """The answer of a dead process does not bring it back: nobody waits for its change, and all others change."""
    last, late = deafen(node), deafen(node, "lists:nth(2, probe_sup:counters())")
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "suspending")
    # The keeper is held so that the answer lies in its mailbox when the process dies, and the hand hears of it.
    node.eval(
        "K = ets:lookup_element(relup_agent_record, keeper, 2), erlang:suspend_process(K), P ! go_on,"
        f" {LIES_IN}(K, fun({{{{relup_answer, _, suspend, _, From}}, _}}) -> From =:= P; (_) -> false end),"
        " exit(P, kill), (fun Wait() -> case ets:match(relup_agent_record, {{ended, '_'}, '$1'}) of [_] -> ok;"
        " _ -> timer:sleep(10), Wait() end end)(), erlang:resume_process(K)",
        P=late,
    )
    go_on(node, last)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert [ended.reason for ended in report.ended] == ["killed"]
    assert report.processes == COUNT - 1
    assert versions(node) == {"v2"}
    assert vm.suspended() == ()


def test_a_hand_whose_keeper_dies_before_hearing_of_it_goes_on(node: BareNode, vm: Vm) -> None:
    """The next keeper hears of it too; else everybody would stand still for ever."""
    late = blocked(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and others_changed(node))
    # The keeper is held so that it dies with the new hand's word unread.
    node.eval(
        "K = ets:lookup_element(relup_agent_record, keeper, 2), erlang:suspend_process(K),"
        " exit(ets:lookup_element(relup_agent_record, hand, 2), kill),"
        f" {LIES_IN}(K, fun({{relup_hand, _}}) -> true; (_) -> false end), exit(K, kill)"
    )
    node.eval("P ! go_on", P=late)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert report.ended == ()
    assert versions(node) == {"v2"}
    assert vm.suspended() == ()


def test_nobody_is_connected_to_for_the_sake_of_progress(node: BareNode, vm: Vm) -> None:
    """A tool that has died is not looked for: it may take seconds, in which processes may stand still."""
    failed, late = node.eval(
        "[A, B | _] = probe_sup:counters(), ets:insert(trouble, [{{up, A}, crash}, {{up, B}, block}]), [A, B]"
    )
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and standing_in(node, "gen_server", "loop") == COUNT - 2)
    node.eval(
        "register(connects, spawn(fun() ->"
        " (fun Count(N) -> receive {trace, _, _, {auto_connect, _, _}} -> Count(N + 1); {trace, _, _, _} -> Count(N);"
        " {said, To} -> To ! {connects, N} end end)(0) end)),"
        " erlang:trace(whereis(net_kernel), true, ['receive', {tracer, whereis(connects)}])"
    )
    vm.close()
    update.report()
    until(lambda: node.eval("length(nodes(hidden))") == 1)
    node.eval("P ! go_on", P=late)
    until(lambda: stage(node) == "none")
    assert node.eval("connects ! {said, self()}, receive {connects, N} -> N end") == 0
    assert node.eval("is_process_alive(P)", P=failed) == "true"
    assert versions(node) == {"v1"}


def test_who_crashes_in_the_new_code_before_the_report_is_named(node: BareNode, vm: Vm) -> None:
    """Also when nobody is waited for any more: what the hop has ended is told."""
    late = blocked(node)
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and others_changed(node))
    # The hand is held so that the last answer and the crash are there when it looks.
    crashed = node.eval(
        "H = ets:lookup_element(relup_agent_record, hand, 2), erlang:suspend_process(H), P ! go_on,"
        f" {LIES_IN}(H, fun(paid) -> true; (_) -> false end),"
        " C = lists:last(probe_sup:counters()), catch gen_server:call(C, nonsense),"
        f" {LIES_IN}(H, fun({{'DOWN', _, _, Died, _}}) -> Died =:= C; (_) -> false end),"
        " erlang:resume_process(H), list_to_binary(pid_to_list(C))",
        P=late,
    )
    report = update.report()
    assert isinstance(report, StepDone), report
    (ended,) = report.ended
    assert ended.pid == crashed.decode()
    assert "function_clause" in ended.reason
    assert report.processes == COUNT - 1


def test_a_blocker_that_was_killed_is_named_also_when_the_hand_dies_after_it(node: BareNode, vm: Vm) -> None:
    """The next hand finds nobody to kill, but the report has to tell what the hop has cost."""
    order = msgspec.structs.replace(up(node), kill_blockers=True, blocker_timeout_ms=100)
    node.eval("counter:hold(hd(probe_sup:counters()), infinity)")
    node.wait_for("hd(probe_sup:counters())", "timer", "sleep")
    killed = node.eval(
        "{module, counter} = c:l(counter), list_to_binary(pid_to_list(hd(probe_sup:counters())))"
    )
    # The walk to the others waits for it.
    deaf = deafen(node, "kernel_safe_sup")
    update = WatchedOrder(vm, STEP, order)
    until(lambda: len(node.eval("probe_sup:counters()")) == COUNT - 1)
    until(lambda: node.eval("ets:lookup(relup_agent_record, killed)") != [])
    kill(node, "hand")
    go_on(node, deaf)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert [(ended.pid, ended.reason) for ended in report.ended] == [
        (killed.decode(), "killed: it ran old code of counter")
    ]
    assert versions(node) == {"v2"}


def test_a_newcomer_that_a_dead_hand_had_written_down_and_not_stopped_goes_down_too(
    node: BareNode, vm: Vm
) -> None:
    """The next hand does not take it for one that stands still: it would run the old code with the new state."""
    assert isinstance(vm.perform(STEP, up(node)), StepDone)
    late = node.eval("P = hd(probe_sup:counters()), ets:insert(trouble, {{down, P}, block}), P")
    order = msgspec.structs.replace(
        up(node), module=node.file("counter", "v1"), old=node.file("counter", "v2"), direction="down"
    )
    rollback = WatchedOrder(vm, THIRD, order)
    until(lambda: stage(node) == "downing" and standing_in(node, "counter", "trouble") == 1)
    node.eval(
        "[P] = probe_sup:start_counters(1), [Rows] = [M || M <- erlang:loaded(),"
        ' lists:prefix("relup_agent_rows", atom_to_list(M))], H = ets:lookup_element(relup_agent_record, hand, 2),'
        " erlang:suspend_process(H), Rows:more([P], new, ets:lookup_element(relup_agent_record, rows, 2)),"
        " exit(H, kill)"
    )
    node.eval("P ! go_on", P=late)
    report = rollback.report()
    assert isinstance(report, StepDone), report
    assert (report.processes, report.ended) == (COUNT + 1, ())
    assert versions(node) == {"v1"}
    assert vm.suspended() == ()


def test_the_reason_of_a_death_is_told_also_by_a_later_hand(node: BareNode, vm: Vm) -> None:
    """All that a later hand can see is that there is no such process; what the first one saw is kept."""
    late = blocked(node)
    dead = node.eval("P = lists:last(probe_sup:counters()), ets:insert(trouble, {{up, P}, die}), P")
    update = WatchedOrder(vm, STEP, up(node))
    until(lambda: stage(node) == "changing" and node.eval("is_process_alive(P)", P=dead) == "false")
    until(lambda: node.eval("ets:match(relup_agent_record, {{ended, '_'}, '$1'})") != [])
    before = member(node, "hand")
    kill(node, "hand")
    until(lambda: member(node, "hand") != before)
    node.eval("P ! go_on", P=late)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert [ended.reason for ended in report.ended] == ["killed"]
    assert versions(node) == {"v2"}
