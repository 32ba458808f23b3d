"""Reading calls on a real node: what they see, and that nothing of them stays."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.errors import NodeUnreachable
from engine.node.connection import Connection
from engine.node.door import NodeFacts, ProcessSeen
from engine.node.vm import Vm
from engine.term import charlist
from tests.engine.node.bare_node import BareNode
from tests.engine.node.watched_order import deafen, settled

MODULES = ["counter", "looper", "lists", "no_such_module_anywhere"]


@pytest.fixture
def vm(node: BareNode) -> Iterator[Vm]:
    vm = node.vm()
    yield vm
    vm.close()


def read_everything(vm: Vm) -> None:
    vm.observe()
    vm.module_md5s()
    vm.module_md5s(MODULES)
    vm.module_files(MODULES)
    vm.applications()
    vm.code_path()
    vm.suspended()
    vm.lingering(MODULES)
    vm.module_users(MODULES)
    vm.held_funs(MODULES)
    vm.connections()


def world(node: BareNode) -> Any:
    return node.eval(
        "[lists:sort(erlang:loaded()), length(processes()), length(erlang:ports()), length(ets:all()),"
        " erlang:system_info(atom_count), nodes()]"
    )


def left_by(node: BareNode, act: Callable[[int], object]) -> list[tuple[Any, Any]]:
    """How the world was before and after each of three rounds of an act; nothing if one of them left it as it was.

    The VM may do something of its own meanwhile; what the act left would show in every round.
    """
    rounds = []
    for number in range(3):
        before = world(node)
        act(number)
        if (after := settled(lambda: world(node), before)) == before:
            return []
        rounds.append((before, after))
    return rounds


def test_reading_everything_a_second_time_leaves_nothing(node: BareNode, vm: Vm) -> None:
    """No module, process, port, table, atom or visible node more than after the first time."""
    read_everything(vm)
    read_everything(vm)  # a bare node loads what it lacks at first use
    assert left_by(node, lambda _: read_everything(vm)) == []
    assert node.eval('catch binary_to_existing_atom(<<"no_such_module_anywhere">>) =:= x') != "true"


def test_a_name_that_the_vm_does_not_know_makes_no_atom(node: BareNode, vm: Vm) -> None:
    """A plan may ask for every module of the target release."""
    for _ in range(2):
        read_everything(vm)

    def ask_for_others(number: int) -> None:
        names = [f"unheard_of_{number}_{other}" for other in range(500)]
        vm.module_md5s(names)
        vm.module_users(names)
        vm.lingering(names)
        vm.module_files(names)

    assert left_by(node, ask_for_others) == []


def test_facts_are_those_of_the_operating_system_process(node: BareNode, vm: Vm) -> None:
    """Pid and start time name one life of the node, the creation one life of its name."""
    facts = vm.observe()
    with open(f"/proc/{facts.os_pid}/stat") as stat:  # noqa: PTH123 - as the kernel gives it
        started = int(stat.read().rpartition(")")[2].split()[19])
    assert facts == NodeFacts(
        name=node.name,
        os_pid=node.os_pid,
        os_start_time=started,
        creation=node.eval("erlang:system_info(creation)"),
        otp_release="25",
        erts_version=bytes(node.eval("list_to_binary(erlang:system_info(version))")).decode(),
        running_version=None,
        boot_tree=bytes(node.eval("list_to_binary(code:root_dir())")).decode(),
    )


def test_all_md5s_are_what_the_modules_themselves_say(node: BareNode, vm: Vm) -> None:
    """Every loaded module is there, and its md5 is that of its own module_info."""
    found = vm.module_md5s()
    assert len(found) == node.eval("length(erlang:loaded())")
    for module in ("lists", "erlang", "probe_sup"):
        assert found[module] == node.eval(f"{module}:module_info(md5)").hex()


def test_suspended_processes_are_seen_also_when_they_hibernate(node: BareNode, vm: Vm) -> None:
    """Two kinds of suspend loop, and the VM's own suspension."""
    assert vm.suspended() == ()
    _, other = node.eval("[A, B | _] = probe_sup:start_counters(5), sys:suspend(A), [A, B]")
    node.spawn("erlang:suspend_process(P)", P=other)
    node.eval(
        "[begin {ok, _} = gen_event:start({local, Name}, [{hibernate_after, 1}]) end || Name <- [asleep, stopped]]"
    )
    node.wait_for("whereis(asleep)", "erlang", "hibernate")
    node.eval("sys:suspend(stopped)")
    node.wait_for("whereis(stopped)", "erlang", "hibernate")
    assert sorted(process.name for process in vm.suspended()) == [
        "counter:init/1",
        "counter:init/1",
        "stopped",
    ]


def test_every_behaviour_is_asked_whether_it_sleeps_suspended(node: BareNode, vm: Vm) -> None:
    """A server and a state machine are known by what their modules export; asleep they look like any other."""
    node.eval(
        "{ok, _} = gen_server:start({local, server}, counter, 1, [{hibernate_after, 1}]),"
        " {ok, _} = gen_statem:start({local, machine}, turnstile, [], [])"
    )
    for name in ("server", "machine"):
        node.wait_for(f"whereis({name})", "erlang", "hibernate")
        node.eval(f"sys:suspend({name})")
        node.wait_for(f"whereis({name})", "erlang", "hibernate")
    assert sorted(process.name for process in vm.suspended()) == ["machine", "server"]


def test_who_hibernates_and_knows_no_system_message_is_left_asleep(node: BareNode, vm: Vm) -> None:
    """A plan changes nothing: a loop that ends at a message which is none of its own gets none."""
    node.eval("register(strict, strict:start(asleep))")
    node.wait_for("whereis(strict)", "erlang", "hibernate")
    assert vm.suspended() == ()
    assert node.eval("is_pid(whereis(strict))") == "true"


def test_processes_without_a_supervisor_are_seen_as_such(node: BareNode, vm: Vm) -> None:
    """Supervised ones are counted, whatever their supervisor is; the others are named."""
    node.eval("probe_sup:start_counters(4), other_sup:adopt(1)")
    stray = node.eval(
        "{ok, P} = gen_server:start({local, stray}, counter, 1, []), list_to_binary(pid_to_list(P))"
    )
    users = vm.module_users(["counter", "probe_sup", "looper"])
    assert users["counter"].supervised == 5
    assert users["counter"].unsupervised == (ProcessSeen(pid=stray.decode(), name="stray", module="counter"),)
    assert users["probe_sup"].supervised == 3
    assert users["looper"].supervised == 0


def test_a_gen_event_is_asked_for_its_handlers(node: BareNode, vm: Vm) -> None:
    """`dynamic` modules are those the event manager has installed now."""
    assert vm.module_users(["listener"])["listener"].supervised == 0
    node.eval("ok = gen_event:add_handler(probe_events, listener, [])")
    assert vm.module_users(["listener"])["listener"].supervised == 1


def test_who_would_list_others_and_does_not_answer_is_told(node: BareNode, vm: Vm) -> None:
    """A supervisor, and an event manager, whose handlers are its own to name; all others are listed as ever."""
    node.eval("probe_sup:start_counters(3), ok = gen_event:add_handler(probe_events, listener, [])")
    assert vm.module_users(["counter"])["counter"].silent == ()
    for name in ("other_sup", "probe_events"):
        deafen(node, name)
    found = vm.module_users(["counter"])["counter"]
    assert found.supervised == 3
    assert sorted(process.name for process in found.silent) == ["other_sup", "probe_events"]
    node.eval("[Name ! go_on || Name <- [other_sup, probe_events]]")
    assert vm.module_users(["counter"])["counter"].silent == ()


def test_a_supervisor_whose_children_die_meanwhile_is_walked_on(node: BareNode, vm: Vm) -> None:
    """The walk does not stumble over children that end under it."""
    node.eval(
        "probe_sup:start_counters(500), spawn(fun() -> [exit(P, kill) || P <- probe_sup:counters()] end)"
    )
    assert 0 <= vm.module_users(["counter"])["counter"].supervised <= 500


def test_client_ids_come_from_the_channel_table(node: BareNode, vm: Vm) -> None:
    """Where EMQX's connection manager knows a process, a named process carries its client."""
    node.spawn("ets:new(emqx_channel, [named_table, public, bag])")
    node.eval(
        '[P | _] = probe_sup:start_counters(1), ets:insert(emqx_channel, {<<"thermostat">>, P}), sys:suspend(P)'
    )
    assert [process.client_id for process in vm.suspended()] == ["thermostat"]


def test_after_a_lost_connection_the_next_question_opens_another(node: BareNode) -> None:
    """The door heals itself: what was under way is lost, what comes after is not."""
    opened: list[Connection] = []

    def connect() -> Connection:
        opened.append(node.connect())
        return opened[-1]

    vm = Vm(connect)
    facts = vm.observe()
    opened[0].close()
    with pytest.raises(NodeUnreachable):
        vm.observe()
    assert vm.observe() == facts
    assert len(opened) == 2
    vm.close()


def test_the_md5s_of_all_modules_are_quick(node: BareNode, vm: Vm) -> None:
    """One question, evaluated in the VM: 2,500 modules take well under a second."""
    node.eval(
        '[begin {ok, M, B} = compile:forms([{attribute, 1, module, list_to_atom("q" ++ integer_to_list(N))}]),'
        ' code:load_binary(M, "", B) end || N <- lists:seq(1, 2500)]'
    )
    assert any(_took_s(lambda: len(vm.module_md5s()) > 2500) < 2 for _ in range(5))


def _took_s(act: Callable[[], bool]) -> float:
    start = time.monotonic()
    assert act()
    return time.monotonic() - start


def test_funs_that_a_purge_does_not_see_are_found_where_they_lie(node: BareNode, vm: Vm) -> None:
    """In a table, a persistent term, a process dictionary, a service's state; old ones are told apart."""
    node.spawn("ets:new(hooks, [named_table, public]), put(k, counter:closure())")
    node.eval(
        "ets:insert(hooks, [{N, #{deep => [counter:closure()]}} || N <- [1, 2]]),"
        " persistent_term:put(kept, {counter:closure(), fun counter:read/1}),"
        " {ok, P} = gen_server:start({local, service}, counter, [counter:closure()], [])"
    )
    found = vm.held_funs(["counter", "looper"], budget_ms=60_000)
    assert not found.time_ran_out
    places = {(held.where.split(" <")[0], held.is_old, held.count) for held in found.found}
    assert places == {
        ("ETS table hooks", False, 2),
        ("persistent term kept", False, 1),
        ("process dictionary of", False, 1),
        ("state of service", False, 1),
    }
    new = node.file("counter", "v2")
    node.eval("{module, _} = code:load_abs(filename:rootname(File))", File=charlist(new.file))
    assert {held.is_old for held in vm.held_funs(["counter"], budget_ms=60_000).found} == {True}
    assert vm.held_funs(["looper"], budget_ms=60_000).found == ()


def test_the_search_for_funs_passes_large_values_over(node: BareNode, vm: Vm) -> None:
    """Writing them out would cost the broker their size in memory once more."""
    node.spawn("ets:new(rows, [named_table, public])")
    node.eval(
        "{module, _} = code:ensure_loaded(counter), Large = binary:copy(<<0>>, 2000000),"
        " ets:insert(rows, [{large, Large, counter:closure()}, {small, counter:closure()}]),"
        " persistent_term:put(large, {Large, counter:closure()})"
    )
    found = vm.held_funs(["counter"], budget_ms=60_000)
    assert [(held.where, held.count) for held in found.found] == [("ETS table rows", 1)]


def test_the_search_for_funs_ends_when_its_time_is_over(node: BareNode, vm: Vm) -> None:
    """A plan does not wait for a complete answer that cannot be had; it says so."""
    assert vm.held_funs(["counter"], budget_ms=-1).time_ran_out


def counters(node: BareNode, cm: str, stats: str) -> None:
    """EMQX's two counters of connections, with these bodies."""
    node.eval(
        """[begin
            Forms = [begin
                {ok, Tokens, _} = erl_scan:string(Text), {ok, Form} = erl_parse:parse_form(Tokens), Form
            end || Text <- Texts],
            {ok, M, Beam} = compile:forms(Forms), {module, M} = code:load_binary(M, "", Beam)
        end || Texts <- [
            ["-module(emqx_cm).", "-export([get_connected_client_count/0]).",
                "get_connected_client_count() -> " ++ Cm ++ "."],
            ["-module(emqx_stats).", "-export([getstat/1]).", "getstat(_) -> " ++ Stats ++ "."]
        ]]""",
        Cm=charlist(cm),
        Stats=charlist(stats),
    )


def test_a_counter_of_connections_that_raises_is_one_that_is_not_there(node: BareNode, vm: Vm) -> None:
    """EMQX's tables go and come with its applications; a count that is only told stops no upgrade."""
    assert vm.connections() is None
    for cm, stats, count in (
        ("3", "5", 3),
        ("error(badarg)", "5", 5),
        ("error(badarg)", "exit(noproc)", None),
    ):
        counters(node, cm, stats)
        assert vm.connections() == count


def test_a_channel_table_that_cannot_be_read_costs_the_client_ids_only(node: BareNode, vm: Vm) -> None:
    """Who a process serves is told where it can be."""
    node.spawn("ets:new(emqx_channel, [named_table, private])")
    node.eval("[P | _] = probe_sup:start_counters(1), sys:suspend(P)")
    assert [process.client_id for process in vm.suspended()] == [None]


def test_who_merely_calls_a_module_does_not_run_it(node: BareNode, vm: Vm) -> None:
    """A stray is a process whose outermost frame is in the module; a caller will be back."""
    node.eval("register(caller, spawn(fun() -> {looper:loop(self(), 1), back} end))")
    node.wait_for("whereis(caller)", "looper", "loop")
    assert vm.module_users(["looper"])["looper"].unsupervised == ()
    node.eval("register(stray, looper:plain())")
    node.wait_for("whereis(stray)", "looper", "stay")
    assert len(vm.module_users(["looper"])["looper"].unsupervised) == 1
