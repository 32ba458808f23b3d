"""A connection to one node: calls with deadlines, messages both ways, monitors.

Any thread may use it; one I/O thread (`engine.node.wire`) does the reading. A call is one process in the
node, spawned there by our request and watched by us: nothing of it remains when it ends, no process of the
node stands between, and its end carries the result. Source: ERTS User's Guide, "Distribution Protocol",
SPAWN_REQUEST; the called helper is OTP's own `erpc:execute_call/4` (OTP 23 and newer).
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.errors import NodeUnreachable
from engine.node import control
from engine.node.address import Address
from engine.node.control import SpawnRequest
from engine.node.cookie import Cookie
from engine.node.errors import CallTimedOut, RemoteException
from engine.node.mailbox import Ended, Lost, Mailbox, Message, Router
from engine.node.transport import opened
from engine.node.wire import Wire
from engine.term import Atom, Pid, Reference, Term

if TYPE_CHECKING:
    import ssl

_EXECUTE = ("erpc", "execute_call")


class Connection:
    """An open connection. Make one with `connect`; end it with `close` or `with`.

    Attributes:
        peer: The node's name, creation (its life) and the name it gave us.
        inbox: The mailbox of our first pid.
    """

    def __init__(
        self, address: Address, *, cookie: Cookie, tls: "ssl.SSLContext | None" = None, timeout_s: float = 5.0
    ) -> None:
        deadline = time.monotonic() + timeout_s
        connected, reader, self.peer = opened(address, cookie=cookie, tls=tls, timeout_s=timeout_s)
        self._router = Router(self.peer, answer=self._answer, pump=self._pump)
        self.inbox = self._router.mailbox()
        self._execute = SpawnRequest(_EXECUTE, 4, parent=self.inbox.pid, group_leader=self.inbox.pid)
        self._wire = Wire(
            connected,
            reader=reader,
            on_frame=self._router.route,
            on_lost=self._router.lose,
            node=self.peer.node,
            is_tls=tls is not None,
        )
        self._wire.start()
        try:
            user = self._user_process(deadline)
        except BaseException:
            self.close()
            raise
        self._execute = SpawnRequest(_EXECUTE, 4, parent=self.inbox.pid, group_leader=user)

    @property
    def pid(self) -> Pid:
        """Our first pid: what is sent to it comes into `inbox`."""
        return self.inbox.pid

    def call(
        self,
        module: str,
        function: str,
        args: Sequence[Term] = (),
        *,
        timeout_s: float,
        on_message: Callable[[Term], None] | None = None,
        mailbox: Mailbox | None = None,
    ) -> Term:
        """What `module:function(args…)` returns in the node.

        Args:
            module: Must be an atom the node knows, as must `function`; else an atom is made there.
            on_message: Called in this thread with each message that comes to `mailbox` meanwhile.
            mailbox: Whose messages `on_message` gets; `inbox` when not given.
            timeout_s: After it the function may still be running in the node.

        Raises:
            RemoteException: The function raised.
            CallTimedOut: No answer in time; whether it ran is unknown.
            ConnectionLost: The connection broke; whether it ran is unknown.
        """
        deadline = time.monotonic() + timeout_s
        called = f"{module}:{function}/{len(args)}"
        reference = self._router.reference()
        source = mailbox or self.inbox
        waiting = source if on_message is not None else self._router.waiting_place()
        self._router.expect_end(reference, waiting.events)
        try:
            arguments = [reference, Atom(module), Atom(function), list(args)]
            request = self._execute.frame(arguments, reference=reference)
            self._wire.ask(request, lambda: not waiting.events.empty(), deadline=deadline)
            reason = self._end_of(reference, waiting, deadline=deadline, on_message=on_message)
        finally:
            self._router.forget_end(reference)
        if reason is None:
            raise CallTimedOut(
                f"Node {self.peer.node} did not answer {called} within {timeout_s:g} s; "
                "whether it ran, or still runs, is unknown.",
                next="See whether the node is stopped or overloaded, then ask again.",
            )
        return _result(reason[0], reference, called=called)

    def send(self, to: Pid | str, message: Term) -> None:
        """Send a message to a process, or to the holder of a registered name; no answer, no error.

        Raises:
            ConnectionLost: The connection is gone.
        """
        if isinstance(to, Pid):
            self._wire.send(control.sent(to, message))
        else:
            self._wire.send(control.sent_to_name(to, message, sender=self.inbox.pid))

    def mailbox(self) -> Mailbox:
        """A mailbox with a pid of its own, for one conversation."""
        return self._router.mailbox()

    def monitor(self, watched: Pid | str, *, mailbox: Mailbox | None = None) -> Reference:
        """Have `{'DOWN', Reference, process, watched, Reason}` put into a mailbox when the process ends.

        At once, with reason noproc, when there is none.
        """
        target = watched if isinstance(watched, Pid) else Atom(watched)
        reference = self._router.reference()
        mailbox = mailbox or self.inbox
        self._router.expect_down(reference, mailbox)
        self._wire.send(control.monitored(target, watcher=mailbox.pid, reference=reference))
        return reference

    def demonitor(self, reference: Reference, *, watched: Pid | str, mailbox: Mailbox | None = None) -> None:
        """Undo `monitor`; a DOWN that is already there stays."""
        target = watched if isinstance(watched, Pid) else Atom(watched)
        self._router.forget_down(reference)
        watcher = (mailbox or self.inbox).pid
        self._wire.send(control.demonitored(target, watcher=watcher, reference=reference))

    def close(self) -> None:
        """Hang up. The node tells those who watch our pids."""
        self._wire.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end_of(
        self,
        reference: Reference,
        waiting: Mailbox,
        *,
        deadline: float,
        on_message: Callable[[Term], None] | None,
    ) -> tuple[Term] | None:
        """The reason with which the spawned process ended, in a tuple; None at the deadline."""
        while True:
            event = waiting.next_event(deadline)
            match event:
                case Ended() if event.reference == reference:
                    return (event.reason,)
                case Message() if on_message is not None:
                    on_message(event.term)
                case Lost():
                    waiting.events.put(event)
                    raise event.error
                case None:
                    return None

    def _user_process(self, deadline: float) -> Pid:
        """The node's own `user` as group leader: what called functions print goes to its console, and
        processes they start do not depend on us. Ourselves where there is none.
        """
        user = self.call("erlang", "whereis", [Atom("user")], timeout_s=deadline - time.monotonic())
        return user if isinstance(user, Pid) else self.inbox.pid

    def _pump(self, is_done: Callable[[], bool], *, deadline: float) -> None:
        self._wire.pump(is_done, deadline=deadline)

    def _answer(self, frame: bytes) -> None:
        try:
            self._wire.send(frame)
        except NodeUnreachable:
            return  # nobody is left to be answered; whoever waits is told by the wire


def _result(reason: Term, reference: Reference, *, called: str) -> Term:
    """What `erpc:execute_call/4` ended with: `{Reference, return | throw | exit | error, …}`."""
    match reason:
        case (marker, Atom("return"), value) if marker == reference:
            found: Term = value
            return found
        case (marker, Atom() as kind, raised, *stack) if marker == reference:
            raise RemoteException(kind, raised, stack[0] if stack else [], called=called)
        case _:
            raise RemoteException("exit", reason, [], called=called)
