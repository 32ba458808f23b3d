"""RestartApplication, CallFunction, SetCodePath on a real node, and the agent's coming and going."""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from engine.node.door import (
    Application,
    CallFunction,
    CodePathMove,
    LoadModules,
    RestartApplication,
    SetCodePath,
    StepDone,
    StepKey,
    StepNotDone,
    StepOrder,
    StepReport,
)
from engine.node.errors import ProtocolViolation
from engine.node.vm import Vm
from engine.term import Atom, charlist
from tests.engine.node.bare_node import BareNode
from tests.engine.node.watched_order import settled, until

_steps = count(1)


@pytest.fixture
def vm(node: BareNode) -> Iterator[Vm]:
    vm = node.vm()
    yield vm
    vm.close()


def perform(vm: Vm, order: StepOrder) -> StepReport:
    return vm.perform(StepKey(upgrade_id="test", step=next(_steps), attempt=1, direction="do"), order)


def restart(node: BareNode, version: str) -> RestartApplication:
    return RestartApplication(
        application="store",
        modules=(node.file("store", version),),
        remove=(),
        app_file=str(node.builds / version / "store.app"),
        timeout_ms=10_000,
    )


def test_an_application_runs_again_on_its_new_modules_right_there(node: BareNode, vm: Vm) -> None:
    """New code, new version; what was set at run time is kept, a lost start type is said."""
    node.eval("ok = application:start(store, transient), application:set_env(store, size, 7)")
    old = node.eval("whereis(store)")
    report = perform(vm, restart(node, "v2"))
    assert isinstance(report, StepDone), report
    assert node.eval("whereis(store)") != old
    assert vm.applications()["store"] == Application(version="2", running=True)
    assert node.eval("{store:version(), application:get_env(store, size)}") == ("v2", (Atom("ok"), 7))
    assert report.notes == ("store was transient and is temporary until the node restarts",)


def test_an_application_that_does_not_start_is_told_and_can_be_put_back(node: BareNode, vm: Vm) -> None:
    """The failure says the application's reason; the node lives; the old modules start again with env kept."""
    node.eval("ok = application:start(store, permanent), application:set_env(store, size, 7)")
    report = perform(vm, restart(node, "bad"))
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("failed_to_start_app", False)
    assert "planted" in report.detail
    assert report.live == {"store": node.file("store", "bad").md5}
    assert isinstance(perform(vm, restart(node, "v1")), StepDone)
    assert vm.applications()["store"] == Application(version="1", running=True)
    assert node.eval("{store:version(), application:get_env(store, size)}") == ("v1", (Atom("ok"), 7))


def test_what_is_wrong_with_the_files_is_found_before_the_application_stops(
    node: BareNode, vm: Vm, tmp_path: Path
) -> None:
    """A missing beam or .app leaves the application running."""
    node.eval("ok = application:start(store)")
    before = node.eval("whereis(store)")
    torn = tmp_path / "store.app"
    torn.write_text("{application, other, []}.")
    for order in (
        RestartApplication(
            application="store", modules=(node.file("store", "v2"),), remove=(), app_file=str(torn)
        ),
        RestartApplication(
            application="store",
            modules=(node.file("store", "v2").__class__(module="store", file="/none", md5="00" * 16),),
            remove=(),
            app_file=str(node.builds / "v2" / "store.app"),
        ),
    ):
        report = perform(vm, order)
        assert isinstance(report, StepNotDone)
        assert report.reverted
        assert node.eval("whereis(store)") == before


def lingerers(node: BareNode, vm: Vm, number: int) -> None:
    """Processes that stay in old code of looper, version 1, while version 2 is live."""
    node.eval(f"[looper:plain() || _ <- lists:seq(1, {number})]")
    assert isinstance(perform(vm, LoadModules(modules=(node.file("looper", "v2"),))), StepDone)


def restart_with_looper(node: BareNode, *, kill_blockers: bool = False) -> RestartApplication:
    return RestartApplication(
        application="store",
        modules=(node.file("store", "v2"), node.file("looper", "v1")),
        remove=(),
        app_file=str(node.builds / "v2" / "store.app"),
        blocker_timeout_ms=200,
        kill_blockers=kill_blockers,
    )


def test_whoever_lingers_in_old_code_is_found_before_the_application_stops(node: BareNode, vm: Vm) -> None:
    """What cannot be loaded anyway costs no outage; the patience is the one that was asked for."""
    node.eval("ok = application:start(store)")
    before = node.eval("whereis(store)")
    lingerers(node, vm, 3)
    start = time.monotonic()
    report = perform(vm, restart_with_looper(node))
    assert time.monotonic() - start < 9, "the default would be ten seconds"
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("lingering_processes", True)
    assert "3 processes still run old code of looper" in report.detail
    assert node.eval("whereis(store)") == before


def test_killing_blockers_counts_for_a_restart_too(node: BareNode, vm: Vm) -> None:
    """They are ended and named, and the application runs on its new modules."""
    node.eval("ok = application:start(store)")
    lingerers(node, vm, 3)
    report = perform(vm, restart_with_looper(node, kill_blockers=True))
    assert isinstance(report, StepDone), report
    assert len(report.ended) == 3
    assert vm.applications()["store"] == Application(version="2", running=True)


def test_processes_of_the_application_itself_do_not_hold_its_restart_up(node: BareNode, vm: Vm) -> None:
    """They end with it."""
    node.eval("ok = application:start(store)")
    lingerers(node, vm, 3)
    node.eval(
        "[group_leader(application_controller:get_master(store), P)"
        " || P <- processes(), {_, {looper, stay, 0}} <- [process_info(P, current_function)]]"
    )
    report = perform(vm, restart_with_looper(node))
    assert isinstance(report, StepDone), report
    assert report.ended == ()


def test_kernel_stdlib_and_compiler_are_never_restarted(node: BareNode, vm: Vm) -> None:
    """A hop that asks for it is refused by the VM's side too."""
    for name in ("kernel", "stdlib", "compiler"):
        order = RestartApplication(application=name, modules=(), remove=(), app_file="/none")
        report = perform(vm, order)
        assert isinstance(report, StepNotDone)
        assert (report.name, report.reverted) == ("restart_refused", True)


def test_a_call_returns_its_value_as_text(node: BareNode, vm: Vm) -> None:
    """Arguments go through as terms, the value comes back as the VM prints it."""
    order = CallFunction(module="lists", function="reverse", arguments=([1, Atom("two"), charlist("xy")],))
    report = perform(vm, order)
    assert isinstance(report, StepDone)
    assert report.returned == '["xy",two,1]'


def test_a_call_that_raises_says_class_reason_and_place(node: BareNode, vm: Vm) -> None:
    """A crash in a callback is a failed step, not a crashed agent."""
    report = perform(vm, CallFunction(module="erlang", function="hd", arguments=([],)))
    assert isinstance(report, StepNotDone)
    assert (report.name, report.reverted) == ("call_failed", False)
    assert report.detail.startswith("error badarg at ")
    missing = perform(vm, CallFunction(module="no_such", function="f", arguments=(1,)))
    assert isinstance(missing, StepNotDone)
    assert "undef" in missing.detail


def test_a_call_that_takes_too_long_is_ended(node: BareNode, vm: Vm) -> None:
    """The process of a call that is over its time is killed."""
    order = CallFunction(module="timer", function="sleep", arguments=(60_000,), timeout_ms=200)
    report = perform(vm, order)
    assert isinstance(report, StepNotDone)
    assert report.name == "call_timed_out"
    asleep = "[P || P <- processes(), {_, {timer, sleep, _}} <- [process_info(P, current_function)]]"
    until(lambda: node.eval(asleep) == [])


def test_an_application_is_pointed_to_another_tree_in_its_place_of_the_code_path(
    node: BareNode, vm: Vm, tmp_path: Path
) -> None:
    """Patches before it stay before it; the way back restores the path exactly."""
    patches, old, new, extra = (tmp_path / name for name in ("patches", "a-1/ebin", "a-2/ebin", "b-1/ebin"))
    for folder in (patches, old, new, extra):
        folder.mkdir(parents=True)
    node.eval(
        "code:add_patha(Old), code:add_patha(Patches)", Old=charlist(str(old)), Patches=charlist(str(patches))
    )
    before = vm.code_path()
    there = (
        CodePathMove(application="a", old=str(old), new=str(new)),
        CodePathMove(application="b", old=None, new=str(extra)),
    )
    assert isinstance(perform(vm, SetCodePath(moves=there)), StepDone)
    moved = vm.code_path()
    assert moved[:2] == (str(patches), str(new))
    assert moved[-1] == str(extra)
    assert str(old) not in moved
    assert isinstance(perform(vm, SetCodePath(moves=there)), StepDone)
    assert vm.code_path() == moved
    back = (
        CodePathMove(application="b", old=str(extra), new=None),
        CodePathMove(application="a", old=str(new), new=str(old)),
    )
    assert isinstance(perform(vm, SetCodePath(moves=back)), StepDone)
    assert vm.code_path() == before


def test_a_dismissed_agent_leaves_no_module_process_or_table(node: BareNode, vm: Vm) -> None:
    """After the upgrade the VM has what it had: modules, processes, ports, tables."""
    for _ in range(2):  # a bare node loads what it lacks at first use
        perform(vm, CallFunction(module="erlang", function="node", arguments=()))
        vm.dismiss()
    rounds = [in_and_out(node, vm) for _ in range(3)]
    assert any(before == after for before, after in rounds), rounds


def in_and_out(node: BareNode, vm: Vm) -> tuple[object, object]:
    """What the VM had before and after an agent. The VM may do something of its own meanwhile."""
    before = counts(node)
    perform(vm, CallFunction(module="erlang", function="node", arguments=()))
    assert node.eval("is_pid(whereis(relup_agent))") == "true"
    vm.dismiss()
    vm.dismiss()
    assert node.eval("whereis(relup_agent)") == "undefined"
    return before, settled(lambda: counts(node), before)


def counts(node: BareNode) -> object:
    return node.eval(
        "[lists:sort(erlang:loaded()), length(processes()), length(erlang:ports()), length(ets:all()),"
        " erlang:system_info(atom_count)]"
    )


def test_an_agent_of_another_protocol_is_refused(node: BareNode, vm: Vm) -> None:
    """What answers in a language we do not know is not driven on."""
    node.eval(
        "register(relup_agent, spawn(fun Loop() -> receive"
        " {'$gen_call', From, _} -> gen_server:reply(From, {refused, {protocol, 2}}), Loop() end end))"
    )
    with pytest.raises(ProtocolViolation, match="speaks protocol 2, this relup speaks 1"):
        perform(vm, CallFunction(module="erlang", function="node", arguments=()))


def test_an_idle_agent_of_another_relup_makes_room(node: BareNode, vm: Vm) -> None:
    """Same protocol, other source: it is dismissed and ours stands at the desk."""
    node.eval(
        "register(relup_agent, spawn(fun Loop() -> receive"
        " {'$gen_call', From, {1, hello}} -> gen_server:reply(From, {agent, other_agent, none, []}), Loop();"
        " {'$gen_call', From, {1, dismiss}} -> gen_server:reply(From, dismissed) end end))"
    )
    assert isinstance(perform(vm, CallFunction(module="erlang", function="node", arguments=())), StepDone)


def test_an_agent_whose_client_is_gone_ends_itself_when_nothing_is_open(node: BareNode, vm: Vm) -> None:
    """Ten idle minutes (here: the same message) and it takes itself out of the VM."""
    perform(vm, CallFunction(module="erlang", function="node", arguments=()))
    node.eval("relup_agent ! timeout")
    until(lambda: not [module for module in vm.module_md5s() if module.startswith("relup_agent")])
    until(lambda: node.eval("whereis(relup_agent)") == "undefined")
