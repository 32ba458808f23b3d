"""The client against a real node: calls, deadlines, lost connections, messages, and what stays behind."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.node.connection import Connection
from engine.node.errors import (
    CallTimedOut,
    ConnectionLost,
    HandshakeRefused,
    NodeDown,
    RemoteException,
    WrongCookie,
)
from engine.term import Atom, Pid, Reference, Term, charlist
from tests.engine.node.plain import COOKIE, PlainNode

PlainNodes = Callable[..., PlainNode]

LONG_S = 60.0
"""A deadline that nothing here is meant to reach."""


WAITING = "Us ! waiting, receive go_on -> ok after 60000 -> ok end"
"""What a call may do that ends when it is told to; `Us` is bound to whom it tells that it has begun."""


def evaluated(
    connection: Connection, expressions: str, *, on_message: Callable[[Term], None] | None = None
) -> Term:
    """The value of Erlang expressions, evaluated in the node; they know our first pid as `Us`."""
    tokens = connection.call("erl_scan", "string", [charlist(f"{expressions}.")], timeout_s=LONG_S)
    assert isinstance(tokens, tuple)
    parsed = connection.call("erl_parse", "parse_exprs", [tokens[1]], timeout_s=LONG_S)
    assert isinstance(parsed, tuple)
    arguments = [parsed[1], [(Atom("Us"), connection.pid)]]
    value = connection.call("erl_eval", "exprs", arguments, timeout_s=LONG_S, on_message=on_message)
    assert isinstance(value, tuple)
    return value[1]


def test_a_call_returns_what_the_function_returns(connection: Connection, shared_node: PlainNode) -> None:
    """The value of the function in the node comes back as a Python value."""
    assert connection.call("erlang", "node", timeout_s=LONG_S) == shared_node.name
    assert connection.call("lists", "seq", [1, 5], timeout_s=LONG_S) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["error", "exit", "throw"])
def test_an_exception_comes_with_class_and_reason(connection: Connection, kind: str) -> None:
    """error, exit and throw of the function are told apart and carry their term."""
    reason = (Atom("planned"), 7)
    with pytest.raises(RemoteException) as caught:
        connection.call("erlang", kind, [reason], timeout_s=LONG_S)
    assert (caught.value.kind, caught.value.reason) == (kind, reason)
    assert connection.call("erlang", "abs", [-1], timeout_s=LONG_S) == 1


def test_an_unknown_function_is_an_error_with_its_stack(connection: Connection) -> None:
    """undef names the function in the first entry of the stack."""
    with pytest.raises(RemoteException, match=r"no_module:no_function/1 .* error: undef") as caught:
        connection.call("no_module", "no_function", [1], timeout_s=LONG_S)
    assert isinstance(caught.value.stack, list)
    assert caught.value.stack[0][:3] == ("no_module", "no_function", [1])


def test_a_value_that_looks_like_an_error_is_a_value(connection: Connection) -> None:
    """A returned {badrpc, …} or {error, …} is not mistaken for a failure of the call."""
    term = (Atom("badrpc"), (Atom("EXIT"), Atom("x")))
    assert connection.call("erlang", "hd", [[term]], timeout_s=LONG_S) == term


def test_a_process_that_is_killed_is_an_exit(connection: Connection) -> None:
    """A call whose process is killed in the node does not wait for its deadline."""
    expressions = "exit(self(), kill), receive never -> ok end"
    with pytest.raises(RemoteException) as caught:
        evaluated(connection, expressions)
    assert (caught.value.kind, caught.value.reason) == ("exit", Atom("killed"))


def test_large_binaries_travel_both_ways(connection: Connection) -> None:
    """Many megabytes go out and come back unchanged in one call."""
    large = bytes(range(256)) * 32_768
    assert connection.call("erlang", "hd", [[large]], timeout_s=LONG_S) == large


def test_the_deadline_of_a_call_is_kept(connection: Connection) -> None:
    """A function that takes longer ends in CallTimedOut, says so, and the connection goes on."""
    begun = time.monotonic()
    with pytest.raises(CallTimedOut, match="unknown"):
        connection.call("timer", "sleep", [60_000], timeout_s=0.3)
    assert time.monotonic() - begun < 30
    assert connection.call("erlang", "abs", [-1], timeout_s=LONG_S) == 1


def test_calls_of_several_threads_do_not_mix(connection: Connection) -> None:
    """Ten threads, two hundred calls each: everybody gets the answers to its own questions."""
    wrong: list[object] = []

    def ask(thread: int) -> None:
        for number in range(200):
            question = (thread, number)
            answer = connection.call("erlang", "hd", [[question]], timeout_s=LONG_S)
            if answer != question:
                wrong.append((question, answer))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_short_call_does_not_wait_for_a_long_one(connection: Connection) -> None:
    """While one thread waits for its answer, another is served by the same connection."""
    begun: queue.Queue[Term] = queue.Queue()
    register = f"register(long_call, self()), {WAITING}"
    long = threading.Thread(target=evaluated, args=(connection, register), kwargs={"on_message": begun.put})
    long.start()
    assert begun.get(timeout=LONG_S) == "waiting"
    connection.call("erlang", "node", timeout_s=LONG_S)
    assert long.is_alive()
    connection.send("long_call", Atom("go_on"))
    long.join()


def test_kill_9_is_seen_at_once(plain_node: PlainNodes) -> None:
    """The death of the node ends a waiting call long before its deadline, with an unknown outcome."""
    node = plain_node()
    with node.connect() as connection:
        begun = time.monotonic()
        with pytest.raises(ConnectionLost, match="unknown outcome"):
            evaluated(connection, WAITING, on_message=lambda _: node.kill())
        assert time.monotonic() - begun < LONG_S / 2
        with pytest.raises(ConnectionLost):
            connection.call("erlang", "node", timeout_s=LONG_S)
        with pytest.raises(ConnectionLost):
            connection.send(connection.pid, 1)


def test_the_death_of_an_idle_node_is_seen(plain_node: PlainNodes) -> None:
    """A mailbox that nobody reads just then learns it as well."""
    node = plain_node()
    with node.connect() as connection:
        node.kill()
        node.process.wait()
        with pytest.raises(ConnectionLost):
            connection.inbox.receive(timeout_s=LONG_S)
        with pytest.raises(ConnectionLost):
            connection.inbox.receive(timeout_s=LONG_S)


def test_a_stopped_node_costs_no_more_than_the_deadline(plain_node: PlainNodes) -> None:
    """SIGSTOP keeps the socket open and answers nothing: the deadline counts, also for megabytes."""
    node = plain_node()
    with node.connect() as connection:
        node.stop()
        begun = time.monotonic()
        with pytest.raises(CallTimedOut):
            connection.call("erlang", "node", timeout_s=0.5)
        with pytest.raises(CallTimedOut):
            connection.call("erlang", "byte_size", [bytes(8_000_000)], timeout_s=0.5)
        assert time.monotonic() - begun < 30
        node.go_on()
        assert connection.call("erlang", "abs", [-1], timeout_s=LONG_S) == 1


def test_a_stopped_node_is_not_waited_for_when_connecting(plain_node: PlainNodes) -> None:
    """The listener of a stopped node still takes connections; the deadline holds there too."""
    node = plain_node()
    node.stop()
    begun = time.monotonic()
    with pytest.raises(CallTimedOut, match="says nothing"):
        node.connect(timeout_s=0.5)
    assert time.monotonic() - begun < 30
    node.go_on()


def test_we_stay_connected_while_idle_and_while_waiting(
    plain_node: PlainNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node with a tick time of 8 s keeps us through 11 s of silence and a call of 11 s: its ticks are answered."""
    monkeypatch.setattr("engine.node.wire._TICK_INTERVAL_S", LONG_S)  # those of our own would do
    node = plain_node("-kernel", "net_ticktime", "8")  # silence is noticed after 6 to 10 s
    with node.connect() as connection:
        time.sleep(11)
        assert connection.call("timer", "sleep", [11_000], timeout_s=LONG_S) == "ok"


def test_a_wrong_cookie_is_told(shared_node: PlainNode) -> None:
    """The node hangs up on our proof: WrongCookie, and neither cookie stands in the text."""
    with pytest.raises(WrongCookie) as caught:
        shared_node.connect(cookie="not-the-cookie")
    assert COOKIE not in str(caught.value)
    assert "not-the-cookie" not in f"{caught.value} {caught.value.next}"


def test_another_node_at_the_address_is_refused(shared_node: PlainNode) -> None:
    """A node of another name at the same port is named and not used."""
    other = PlainNode("other@127.0.0.1", shared_node.port, shared_node.process)
    with pytest.raises(HandshakeRefused, match=shared_node.name):
        other.connect()


def test_nobody_at_the_port_is_node_down(shared_node: PlainNode) -> None:
    """A refused connection says where was asked."""
    nobody = PlainNode("nobody@127.0.0.1", 9, shared_node.process)
    with pytest.raises(NodeDown, match=r"127\.0\.0\.1:9"):
        nobody.connect()


def test_a_node_with_a_short_name_takes_us(plain_node: PlainNodes) -> None:
    """-sname nodes have hosts without a dot; the name we ask for has none either."""
    node = plain_node(name="short@localhost")
    with node.connect() as connection:
        assert connection.call("erlang", "node", timeout_s=LONG_S) == "short@localhost"


def _used_again(node: Any, seen: str) -> tuple[Any, Any]:
    """What the node held before and after twenty connections with fifty calls each."""
    with node.connect() as first:
        before = evaluated(first, seen)
    for _ in range(20):
        with node.connect() as again:
            for number in range(50):
                again.call("erlang", "abs", [-number], timeout_s=LONG_S)
    with node.connect() as last:
        until = time.monotonic() + 20
        while (after := evaluated(last, seen)) != before and time.monotonic() < until:
            time.sleep(0.1)
    return before, after


def test_we_are_hidden_and_leave_nothing_behind(plain_node: PlainNodes) -> None:
    """Nodes of the cluster are not told of us; processes, monitors and atoms do not grow with calls.

    The VM may make something of its own meanwhile; what we left would show in every round.
    """
    node = plain_node()
    seen = """{length(erlang:processes()), erlang:system_info(atom_count), length(ets:all()),
               length(erlang:ports()), length(code:all_loaded())}"""
    with node.connect() as first:
        evaluated(first, seen)
        assert evaluated(first, "{nodes(), length(nodes(hidden))}") == ([], 1)
    rounds = []
    for _ in range(3):
        before, after = _used_again(node, seen)
        if after == before:
            return
        rounds.append((before, after))
    raise AssertionError(f"every round left something behind: {rounds}")


def test_what_a_function_prints_goes_to_the_node(plain_node: PlainNodes) -> None:
    """The group leader of a call is the node's own `user`, not us."""
    with plain_node().connect() as connection:
        user = connection.call("erlang", "whereis", [Atom("user")], timeout_s=LONG_S)
        assert connection.call("erlang", "group_leader", timeout_s=LONG_S) == user
        assert connection.call("io", "format", [charlist("printed~n")], timeout_s=LONG_S) == "ok"


def test_without_a_user_process_printing_is_refused_not_waited_for(plain_node: PlainNodes) -> None:
    """A node without `user` makes us the group leader; an io request to us is answered at once."""
    node = plain_node("-eval", "unregister(user).")
    with node.connect() as connection:
        assert connection.call("erlang", "group_leader", timeout_s=LONG_S) == connection.pid
        with pytest.raises(RemoteException):
            connection.call("io", "format", [charlist("printed~n")], timeout_s=LONG_S)


def test_messages_to_our_pid_are_received(connection: Connection) -> None:
    """What the node sends to a pid of ours waits in its mailbox, and only there."""
    with connection.mailbox() as mailbox:
        connection.call("erlang", "send", [mailbox.pid, (Atom("hello"), 1)], timeout_s=LONG_S)
        assert mailbox.receive(timeout_s=LONG_S) == ("hello", 1)
        assert mailbox.receive(timeout_s=0.05) is None
        assert connection.inbox.receive(timeout_s=0.05) is None


def test_messages_during_a_call_are_handed_over(connection: Connection) -> None:
    """`on_message` gets each message in order, in the calling thread, before the call returns."""
    got: list[tuple[Term, int]] = []
    expressions = "[begin Pid ! N, timer:sleep(20) end || N <- lists:seq(1, 5)], done"
    scanned = connection.call("erl_scan", "string", [charlist(expressions + ".")], timeout_s=LONG_S)
    assert isinstance(scanned, tuple)
    parsed = connection.call("erl_parse", "parse_exprs", [scanned[1]], timeout_s=LONG_S)
    assert isinstance(parsed, tuple)
    with connection.mailbox() as mailbox:
        connection.call(
            "erl_eval",
            "exprs",
            [parsed[1], [(Atom("Pid"), mailbox.pid)]],
            timeout_s=LONG_S,
            mailbox=mailbox,
            on_message=lambda term: got.append((term, threading.get_ident())),
        )
    assert got == [(number, threading.get_ident()) for number in range(1, 6)]


def test_a_message_can_be_sent_to_a_process_and_to_a_name(connection: Connection) -> None:
    """`send` reaches a pid and a registered name; the process says so by dying of it."""
    for name in (None, "relup_test_receiver"):
        pid = evaluated(connection, "spawn(fun() -> receive {bye, Why} -> exit(Why) end end)")
        assert isinstance(pid, Pid)
        if name:
            connection.call("erlang", "register", [Atom(name), pid], timeout_s=LONG_S)
        reference = connection.monitor(pid)
        connection.send(name or pid, (Atom("bye"), Atom("told")))
        down = connection.inbox.receive(timeout_s=LONG_S)
        assert down == ("DOWN", reference, "process", pid, "told")


def test_a_monitor_of_nobody_is_down_at_once(connection: Connection) -> None:
    """A name that nobody holds gives noproc."""
    reference = connection.monitor("nobody_of_that_name")
    down = connection.inbox.receive(timeout_s=LONG_S)
    assert down == ("DOWN", reference, "process", "nobody_of_that_name", "noproc")


def test_a_monitor_that_was_taken_away_is_silent(connection: Connection) -> None:
    """After `demonitor` the end of the process is not told."""
    pid = evaluated(connection, "spawn(fun() -> receive bye -> ok end end)")
    assert isinstance(pid, Pid)
    reference = connection.monitor(pid)
    connection.demonitor(reference, watched=pid)
    connection.send(pid, Atom("bye"))
    assert connection.inbox.receive(timeout_s=0.3) is None


def test_who_watches_our_mailbox_learns_that_it_is_closed(connection: Connection) -> None:
    """A process that monitors a pid of ours gets DOWN when the mailbox closes, noproc when it is gone."""
    watcher = """Watch = fun(Us, Tell) ->
                     spawn(fun() -> R = monitor(process, Us), Tell ! watching,
                                    receive {'DOWN', R, _, _, Why} -> Tell ! {down, Why} end end) end"""
    mailbox = connection.mailbox()
    scanned = connection.call(
        "erl_scan", "string", [charlist(f"{watcher}, Watch(Us, Tell).")], timeout_s=LONG_S
    )
    assert isinstance(scanned, tuple)
    parsed = connection.call("erl_parse", "parse_exprs", [scanned[1]], timeout_s=LONG_S)
    assert isinstance(parsed, tuple)
    bindings = [(Atom("Tell"), connection.pid), (Atom("Us"), mailbox.pid)]
    connection.call("erl_eval", "exprs", [parsed[1], bindings], timeout_s=LONG_S)
    assert connection.inbox.receive(timeout_s=LONG_S) == "watching"
    connection.call("erlang", "node", timeout_s=LONG_S)
    mailbox.close()
    assert connection.inbox.receive(timeout_s=LONG_S) == ("down", "normal")
    connection.call("erl_eval", "exprs", [parsed[1], bindings], timeout_s=LONG_S)
    assert [connection.inbox.receive(timeout_s=LONG_S) for _ in "ab"] == ["watching", ("down", "noproc")]


def test_close_ends_what_waits(shared_node: PlainNode) -> None:
    """Closing from another thread ends a waiting call at once; closing twice is harmless."""
    connection = shared_node.connect()
    closing = threading.Thread(target=connection.close)
    begun = time.monotonic()
    with pytest.raises(ConnectionLost, match="closed by us"):
        evaluated(connection, WAITING, on_message=lambda _: closing.start())
    assert time.monotonic() - begun < LONG_S / 2
    closing.join()
    connection.close()


def test_the_node_forgets_us_when_we_hang_up(plain_node: PlainNodes) -> None:
    """After `close` the node has no connection to us any more."""
    node = plain_node()
    with node.connect() as watcher:
        with node.connect():
            assert len(evaluated_list(watcher, "nodes(hidden)")) == 2
        until = time.monotonic() + 20
        while len(evaluated_list(watcher, "nodes(hidden)")) > 1 and time.monotonic() < until:
            time.sleep(0.05)
        assert evaluated_list(watcher, "nodes(hidden)") == [watcher.peer.own_name]


def evaluated_list(connection: Connection, expressions: str) -> list[Term]:
    value = evaluated(connection, expressions)
    assert isinstance(value, list)
    return value


def test_a_callback_that_raises_leaves_the_connection_usable(connection: Connection) -> None:
    """An exception of `on_message` reaches the caller, and the next call works."""

    def refuse(_: Term) -> None:
        raise LookupError

    connection.call("erlang", "send", [connection.pid, 1], timeout_s=LONG_S)
    with pytest.raises(LookupError):
        connection.call("timer", "sleep", [100], timeout_s=LONG_S, on_message=refuse)
    assert connection.call("erlang", "abs", [-1], timeout_s=LONG_S) == 1


def test_references_of_ours_are_never_equal(connection: Connection) -> None:
    """Each monitor has a reference of its own."""
    references = {connection.monitor("nobody_of_that_name") for _ in range(50)}
    assert len(references) == 50
    assert all(isinstance(reference, Reference) for reference in references)
