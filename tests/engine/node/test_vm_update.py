"""ChangeCode on a real node: suspend, switch, change, resume, and every way back."""

import time
from collections.abc import Iterator
from itertools import count

import pytest

from engine.node.door import CallFunction, ChangeCode, StepDone, StepKey, StepNotDone, StepProgress
from engine.node.vm import Vm
from engine.term import Atom
from tests.engine.node.bare_node import BareNode
from tests.engine.node.updates import down, up
from tests.engine.node.watched_order import WatchedOrder, deafen, go_on, stage, until

_steps = count(1)


def key(direction: str = "do") -> StepKey:
    return StepKey(upgrade_id="test", step=next(_steps), attempt=1, direction=direction)  # type: ignore[arg-type]


@pytest.fixture
def vm(node: BareNode) -> Iterator[Vm]:
    """The node behind the door, its agent installed already, so that no test waits for that."""
    vm = node.vm()
    vm.perform(key(), CallFunction(module="erlang", function="node", arguments=()))
    yield vm
    vm.close()


def answers(node: BareNode) -> list[tuple[object, ...]]:
    return list(node.eval("[counter:read(P) || P <- lists:sort(probe_sup:counters())]"))


def versions(node: BareNode) -> set[object]:
    return {answer[0] for answer in answers(node)}


V1 = [(Atom("v1"), n) for n in range(1, 201)]
V2 = [(Atom("v2"), n, Atom("grown")) for n in range(1, 201)]


def test_two_hundred_processes_get_the_new_state_and_answer_with_it(node: BareNode, vm: Vm) -> None:
    """After an update every process runs the new code with the state its code_change made."""
    node.eval("probe_sup:start_counters(200)")
    other = node.eval("other_sup:adopt(7)")
    report = vm.perform(key(), up(node))
    assert isinstance(report, StepDone), report
    assert report.processes == 201
    assert answers(node) == V2
    assert node.eval("counter:read(P)", P=other) == (Atom("v2"), 7, Atom("grown"))
    assert 0 < report.worst_suspend_us < 10_000_000
    assert len(report.slowest) == 10
    assert vm.suspended() == ()
    assert vm.module_md5s(["counter"]) == {"counter": node.file("counter", "v2").md5}


def test_an_update_is_taken_down_again(node: BareNode, vm: Vm) -> None:
    """Direction down brings the old state and the old code back to every process."""
    node.eval("probe_sup:start_counters(200)")
    assert isinstance(vm.perform(key(), up(node)), StepDone)
    report = vm.perform(key("undo"), down(node))
    assert isinstance(report, StepDone), report
    assert report.processes == 200
    assert answers(node) == V1
    assert vm.module_md5s(["counter"]) == {"counter": node.file("counter", "v1").md5}


@pytest.mark.parametrize("trouble", ["crash", "exit", "throw", "error", "wrong"])
def test_one_failing_code_change_of_two_hundred_takes_all_back(node: BareNode, vm: Vm, trouble: str) -> None:
    """Whatever a code_change does wrong, all processes end with the old state on the old code."""
    node.eval("probe_sup:start_counters(200)")
    node.eval(f"ets:insert(trouble, {{{{up, lists:nth(117, probe_sup:counters())}}, {trouble}}})")
    report = vm.perform(key(), up(node))
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted, report.ended) == ("code_change_failed", True, ())
    assert "planted" in report.detail
    assert report.live == {"counter": node.file("counter", "v1").md5}
    assert answers(node) == V1
    assert vm.suspended() == ()


def test_a_code_change_that_never_comes_back_ends_its_process_and_takes_the_others_back(
    node: BareNode, vm: Vm
) -> None:
    """A hung process fits neither code, so it is ended and named; all others run the old code again."""
    node.eval("probe_sup:start_counters(200)")
    node.eval("ets:insert(trouble, {{up, lists:nth(5, probe_sup:counters())}, block})")
    report = vm.perform(key(), up(node, change_timeout_ms=5_000))
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted) == ("code_change_failed", True)
    assert [ended.reason for ended in report.ended] == ["killed"]
    assert len(answers(node)) == 199
    assert versions(node) == {"v1"}


def test_without_a_way_back_for_all_the_failing_process_ends_and_the_others_stay_new(
    node: BareNode, vm: Vm
) -> None:
    """When one cannot go up and another cannot go down, nobody runs a state of the other shape."""
    node.eval("probe_sup:start_counters(200)")
    node.eval("ets:insert(trouble, {{up, lists:nth(5, probe_sup:counters())}, crash})")
    node.eval("ets:insert(trouble, {{down, lists:nth(9, probe_sup:counters())}, crash})")
    report = vm.perform(key(), up(node))
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted) == ("code_change_failed", False)
    assert len(report.ended) == 1
    assert report.live == {"counter": node.file("counter", "v2").md5}
    assert versions(node) == {"v2"}
    assert len(answers(node)) == 199


def test_without_the_old_file_a_failing_process_ends_and_the_new_code_stays(node: BareNode, vm: Vm) -> None:
    """`old` None means no way back: said so, with the failing process named as ended."""
    node.eval("probe_sup:start_counters(20)")
    node.eval("ets:insert(trouble, {{up, hd(probe_sup:counters())}, error})")
    report = vm.perform(key(), up(node, old=None))
    assert isinstance(report, StepNotDone), report
    assert (report.reverted, len(report.ended)) == (False, 1)
    assert len(answers(node)) == 19


def test_a_process_that_does_not_stop_in_time_leaves_everything_as_it_was(node: BareNode, vm: Vm) -> None:
    """On suspend timeout nothing is loaded, all run on, and the late one is resumed too."""
    node.eval("probe_sup:start_counters(200)")
    late = deafen(node, "lists:nth(3, probe_sup:counters())")
    report = vm.perform(key(), up(node, suspend_timeout_ms=300))
    go_on(node, late)
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted) == ("suspend_timeout", True)
    assert report.live == {"counter": node.file("counter", "v1").md5}
    assert node.eval("element(1, counter:read(P))", P=late) == "v1"
    assert answers(node) == V1
    assert vm.suspended() == ()


def refused_after_s(node: BareNode, vm: Vm, order: ChangeCode) -> float:
    """How long the processes were being suspended, before it was given up."""
    update = WatchedOrder(vm, key(), order)
    until(lambda: stage(node) == "suspending")
    began = time.monotonic()
    until(lambda: stage(node) != "suspending")
    took_s = time.monotonic() - began
    report = update.report()
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted) == ("suspend_timeout", True)
    return took_s


def test_the_deadline_of_the_suspends_covers_the_asking(node: BareNode, vm: Vm) -> None:
    """Nobody stands still longer because there are many, all busy, who are asked one portion after the other.

    Asking 40,000 in portions of 64 that are waited for 2 ms each takes 1.25 s or longer, however fast the machine;
    one that has other things to do meanwhile is given more tries.
    """
    node.eval("probe_sup:start_counters(40000)")
    order = up(node, suspend_timeout_ms=100)
    node.eval("[counter:hold(P, infinity) || P <- probe_sup:counters()]")
    assert any(refused_after_s(node, vm, order) < 1.2 for _ in range(5))


def test_who_leaves_between_the_listing_and_the_first_question_is_none_that_the_update_ended(
    node: BareNode, vm: Vm
) -> None:
    """It was gone before it was watched: nobody knows why, and nothing had been asked of it."""
    node.eval("probe_sup:start_counters(20)")
    order = up(node)
    # The walk meets them, then waits for a supervisor of another application, which answers when they are gone.
    deaf = deafen(node, "kernel_safe_sup")
    update = WatchedOrder(vm, key(), order)
    until(lambda: node.eval("process_info(whereis(kernel_safe_sup), message_queue_len)")[1] > 0)
    node.eval(
        "[begin R = monitor(process, P), exit(P, kill), receive {'DOWN', R, _, _, _} -> ok end end"
        " || P <- lists:sublist(probe_sup:counters(), 2)]"
    )
    go_on(node, deaf)
    report = update.report()
    assert isinstance(report, StepDone), report
    assert (report.processes, report.ended) == (18, ())
    assert versions(node) == {"v2"}


def test_a_process_that_dies_in_its_code_change_is_named_and_the_others_go_on(node: BareNode, vm: Vm) -> None:
    """Death during the step is no failure of the step: it is reported with its reason."""
    node.eval("probe_sup:start_counters(20)")
    node.eval("ets:insert(trouble, {{up, hd(probe_sup:counters())}, die})")
    report = vm.perform(key(), up(node))
    assert isinstance(report, StepDone), report
    assert [(ended.name, ended.reason) for ended in report.ended] == [("counter", "killed")]
    assert len(answers(node)) == 19


def test_an_update_tells_how_far_it_is_while_its_processes_change(node: BareNode, vm: Vm) -> None:
    """Not only at its end: tens of thousands take a while, and who waits sees them go by."""
    node.eval("code:ensure_loaded(timer), probe_sup:start_counters(4000)")
    node.eval("ets:insert(trouble, [{{up, P}, slow} || P <- probe_sup:counters()])")
    heard: list[StepProgress] = []
    report = vm.perform(key(), up(node), on_progress=heard.append)
    assert isinstance(report, StepDone), report
    assert {(one.total, one.unit) for one in heard} == {(4000, "processes")}
    done = [one.done for one in heard]
    assert done == sorted(done)
    assert done[-1] == 4000
    assert any(0 < count < 4000 for count in done)


def test_whoever_dies_in_the_code_change_is_named_by_its_own_pid(node: BareNode, vm: Vm) -> None:
    """The report tells deaths apart: the first, the last, and some between them, and nobody else."""
    node.eval("probe_sup:start_counters(200)")
    dying = node.eval(
        "Pids = lists:sort(probe_sup:counters()), Dying = [lists:nth(N, Pids) || N <- [1, 2, 99, 100, 101, 200]],"
        " ets:insert(trouble, [{{up, P}, die} || P <- Dying]), [list_to_binary(pid_to_list(P)) || P <- Dying]"
    )
    report = vm.perform(key(), up(node))
    assert isinstance(report, StepDone), report
    assert sorted(ended.pid for ended in report.ended) == sorted(pid.decode() for pid in dying)
    assert answers(node) == [row for row in V2 if row[1] not in (1, 2, 99, 100, 101, 200)]


def test_a_down_that_fails_leaves_the_new_code_and_the_new_states(node: BareNode, vm: Vm) -> None:
    """When one process cannot be taken down, those that were go up again."""
    node.eval("probe_sup:start_counters(200)")
    assert isinstance(vm.perform(key(), up(node)), StepDone)
    node.eval("ets:insert(trouble, {{down, lists:nth(9, probe_sup:counters())}, crash})")
    report = vm.perform(key("undo"), down(node))
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted, report.ended) == ("code_change_failed", True, ())
    assert answers(node) == V2


def test_a_module_that_is_live_already_changes_no_state(node: BareNode, vm: Vm) -> None:
    """A second update to the same code must not convert states twice."""
    node.eval("probe_sup:start_counters(3)")
    assert isinstance(vm.perform(key(), up(node)), StepDone)
    report = vm.perform(key(), up(node))
    assert isinstance(report, StepDone)
    assert (report.skipped, report.processes) == (1, 0)


def test_a_repeated_key_returns_the_stored_outcome(node: BareNode, vm: Vm) -> None:
    """A step is never run twice under one key, whatever is asked under it."""
    node.eval("probe_sup:start_counters(3)")
    once = key()
    first = vm.perform(once, up(node))
    assert isinstance(first, StepDone)
    assert vm.perform(once, down(node)) == first
    assert vm.outcome(once) == first
    assert versions(node) == {"v2"}


def test_the_code_that_was_replaced_is_purged_afterwards(node: BareNode, vm: Vm) -> None:
    """Up, down and taken back: nothing of it stays in the VM, and a later hop has nothing to wait for."""
    node.eval("probe_sup:start_counters(20)")
    assert isinstance(vm.perform(key(), up(node)), StepDone)
    until(lambda: node.eval("erlang:check_old_code(counter)") == "false")
    assert isinstance(vm.perform(key("undo"), down(node)), StepDone)
    until(lambda: node.eval("erlang:check_old_code(counter)") == "false")
    node.eval("ets:insert(trouble, {{up, hd(probe_sup:counters())}, error})")
    assert isinstance(vm.perform(key(), up(node)), StepNotDone)
    until(lambda: node.eval("erlang:check_old_code(counter)") == "false")
    assert versions(node) == {"v1"}
    assert len(answers(node)) == 20
