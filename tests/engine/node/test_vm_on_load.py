"""Functions that modules run while they are loaded, on a real node: slow ones, and such as do not return."""

import time
from collections.abc import Iterator
from itertools import count

import pytest

from engine.node.door import LoadModules, RestartApplication, StepDone, StepKey, StepNotDone
from engine.node.vm import Vm
from engine.term import charlist
from tests.engine.node.bare_node import BareNode
from tests.engine.node.updates import up
from tests.engine.node.watched_order import WatchedOrder, kill, let_go, stage, until

COUNT = 20
_steps = count(1)


def key() -> StepKey:
    return StepKey(upgrade_id="on_load", step=next(_steps), attempt=1, direction="do")


@pytest.fixture
def vm(node: BareNode) -> Iterator[Vm]:
    """The node behind the door, with version 1 of all live and COUNT counters running."""
    node.eval(f"[code:ensure_loaded(M) || M <- [onload, looper]], probe_sup:start_counters({COUNT})")
    vm = node.vm()
    yield vm
    vm.close()


def versions(node: BareNode) -> set[object]:
    return set(node.eval("[element(1, counter:read(P)) || P <- probe_sup:counters()]"))


def pending(node: BareNode) -> int:
    """How many on_load functions run now."""
    return int(node.eval("{monitors, Seen} = process_info(whereis(code_server), monitors), length(Seen)"))


def load_for_ever(node: BareNode, module: str) -> None:
    """Somebody loads another module; its on_load runs, under its name, and does not return."""
    node.eval(
        """Texts = ["-module(" ++ Module ++ ").", "-on_load(go/0).", "-export([hold/0]).",
            "go() -> register(" ++ Module ++ ", self()), hold().", "hold() -> receive after infinity -> ok end."],
        Forms = [begin
            {ok, Tokens, _} = erl_scan:string(Text), {ok, Form} = erl_parse:parse_form(Tokens), Form
        end || Text <- Texts],
        {ok, M, Beam} = compile:forms(Forms), spawn(fun() -> code:load_binary(M, "", Beam) end)""",
        Module=charlist(module),
    )
    node.wait_for(f"whereis({module})", module, "hold")


def test_an_on_load_that_does_not_return_is_ended_and_nothing_was_switched(node: BareNode, vm: Vm) -> None:
    """The code server has no deadline for it; the step has, says what happened, and the old code runs."""
    files = node.file("looper", "v2"), node.file("onload", "hangs")
    report = WatchedOrder(vm, key(), LoadModules(modules=files, on_load_timeout_ms=300)).report()
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted) == ("load_failed", True)
    assert "onload is not loaded: its on_load function ran for " in report.detail
    assert "did not return in the time it has, and was ended" in report.detail
    assert report.live["looper"] == node.file("looper", "v1").md5
    assert (node.eval("onload:version()"), pending(node)) == ("v1", 0)
    assert isinstance(vm.perform(key(), LoadModules(modules=(node.file("onload", "v2"),))), StepDone)


def running(node: BareNode, module: str) -> list[object]:
    """The processes that have the module in their stack."""
    return list(
        node.eval(
            f"[P || P <- processes(), {{_, Stack}} <- [process_info(P, current_stacktrace)],"
            f" lists:keymember({module}, 1, Stack)]"
        )
    )


def test_the_on_load_of_another_module_is_not_ended(node: BareNode, vm: Vm) -> None:
    """Not one that came while the step loads, also when it is the only one left and no answer has come yet."""
    files = node.file("onload", "hangs"), node.file("counter", "slow")
    watched = WatchedOrder(vm, key(), LoadModules(modules=files, on_load_timeout_ms=6_000))
    until(lambda: pending(node) == 1)
    load_for_ever(node, "bystander")
    until(lambda: len(running(node, "onload")) == 1)
    node.eval(
        "Us = self(), spawn(fun() -> register(holder, self()), erlang:suspend_process(whereis(code_server)),"
        " Us ! held, receive let_go -> ok end end), receive held -> ok end"
    )
    until(lambda: running(node, "onload") == [])
    time.sleep(0.1)
    let_go(node)
    report = watched.report()
    assert isinstance(report, StepNotDone), report
    assert pending(node) == 1
    assert node.eval("is_pid(whereis(bystander))") == "true"


def test_an_on_load_that_does_not_show_in_its_stack_is_ended_too(node: BareNode, vm: Vm) -> None:
    """Most call another function as their last deed; it is the one that came with the step."""
    load_for_ever(node, "bystander")
    order = LoadModules(modules=(node.file("onload", "waits"),), on_load_timeout_ms=300)
    report = WatchedOrder(vm, key(), order).report()
    assert isinstance(report, StepNotDone), report
    assert "did not return in the time it has" in report.detail
    assert pending(node) == 1
    assert node.eval("is_pid(whereis(bystander))") == "true"


def test_nobody_stands_still_while_an_on_load_runs(node: BareNode, vm: Vm) -> None:
    """Who calls the module's old code goes on all the while, so its time is none of the longest switch."""
    node.spawn(
        "ets:new(gaps, [named_table, public]), register(ticker, spawn(fun() ->"
        " (fun Tick(Before, Worst) -> v1 = onload:version(), Now = erlang:monotonic_time(millisecond),"
        " ets:insert(gaps, {worst, max(Worst, Now - Before)}), timer:sleep(1), Tick(Now, max(Worst, Now - Before))"
        " end)(erlang:monotonic_time(millisecond), 0) end))"
    )
    report = vm.perform(key(), LoadModules(modules=(node.file("onload", "slow"),)))
    assert isinstance(report, StepDone), report
    assert node.eval("ets:lookup_element(gaps, worst, 2)") < 500
    assert report.worst_stall_us < 500_000


def test_an_application_runs_again_on_the_old_code_when_an_on_load_does_not_return(
    node: BareNode, vm: Vm
) -> None:
    """It is stopped for no longer than the time that an on_load has."""
    node.eval("ok = application:start(store)")
    order = RestartApplication(
        application="store",
        modules=(node.file("store", "v2"), node.file("onload", "hangs")),
        remove=(),
        app_file=str(node.builds / "v2" / "store.app"),
        on_load_timeout_ms=300,
    )
    report = vm.perform(key(), order)
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted) == ("load_failed", True)
    assert vm.applications()["store"].running
    assert node.eval("store:version()") == "v1"


def test_an_update_whose_on_load_does_not_return_resumes_everybody(node: BareNode, vm: Vm) -> None:
    """They stand still for no longer than a code_change may take, and go on in the code they had."""
    report = vm.perform(key(), up(node, to="hangs", change_timeout_ms=300))
    assert isinstance(report, StepNotDone), report
    assert (report.name, report.reverted) == ("load_failed", True)
    assert "did not return in the time it has" in report.detail
    assert (versions(node), vm.suspended()) == ({"v1"}, ())


def test_a_worker_that_dies_while_an_on_load_runs_is_followed_by_one_that_waits_for_it(
    node: BareNode, vm: Vm
) -> None:
    """The code server goes on with the load: whoever took it for not done would leave old states in new code."""
    watched = WatchedOrder(vm, key(), up(node, to="slow"))
    until(lambda: stage(node) == "switching" and pending(node) == 1)
    kill(node, "hand")
    report = watched.report()
    assert isinstance(report, StepDone), report
    assert report.processes == COUNT
    assert versions(node) == {"v2"}
