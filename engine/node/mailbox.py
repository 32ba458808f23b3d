"""Where messages of the node wait for a thread of ours, and who gets which.

One `Router` per connection, fed by one reading thread at a time. It touches no socket: what it has to answer
it hands to `answer`, a frame at a time.
"""

import time
from collections.abc import Callable
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import msgspec

from engine.errors import NodeUnreachable
from engine.node import control
from engine.node.control import Operation
from engine.node.handshake import Peer
from engine.term import Atom, Pid, Reference, Term

_WORD = 0xFFFF_FFFF
_LOW_WORD = 0x3_FFFF
"""A reference's first word has 18 bits on older nodes."""


class Message(msgspec.Struct, frozen=True):
    """A term that the node sent to one of our pids."""

    term: Term


class Ended(msgspec.Struct, frozen=True):
    """The process of a spawn request ended, or never began."""

    reference: Reference
    reason: Term


class Lost(msgspec.Struct, frozen=True):
    """The connection is gone; nothing more will come."""

    error: NodeUnreachable


Event = Message | Ended | Lost


class Pump(Protocol):
    """Reads the connection in the calling thread until `is_done` or the deadline; may return early."""

    def __call__(self, is_done: Callable[[], bool], *, deadline: float) -> None: ...


class Mailbox:
    """The messages to one pid of ours. One thread reads it at a time.

    Ended processes that were watched with `Connection.monitor` come as
    `{'DOWN', Reference, process, PidOrName, Reason}`.
    """

    def __init__(self, pid: Pid, *, pump: Pump, close: Callable[["Mailbox"], None]) -> None:
        self.pid = pid
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.watchers: dict[Reference, tuple[Pid, Pid | Atom]] = {}
        """Processes of the node that watch this pid, each with what it called the pid."""
        self._pump = pump
        self._close = close

    def receive(self, *, timeout_s: float) -> Term | None:
        """The next message; None when there was none in time.

        Raises:
            ConnectionLost: The connection broke, and every message before that has been received.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            event = self.next_event(deadline)
            match event:
                case Message():
                    return event.term
                case Lost():
                    self.events.put(event)
                    raise event.error
                case None:
                    return None

    def next_event(self, deadline: float) -> Event | None:
        """The next event of any kind; None at the deadline (monotonic seconds)."""
        if self.events.empty():
            self._pump(lambda: not self.events.empty(), deadline=deadline)
        try:
            return self.events.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            return None

    def close(self) -> None:
        """Give the pid up: later messages to it are dropped, processes watching it are told."""
        self._close(self)

    def __enter__(self) -> "Mailbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Router:
    """Names our pids and references, and takes each frame of the node to whom it is for."""

    def __init__(self, peer: Peer, *, answer: Callable[[bytes], None], pump: Pump) -> None:
        self._node = Atom(peer.own_name)
        self._creation = peer.own_creation
        self._answer = answer
        self._pump = pump
        self._pid_numbers = count(1)
        self._reference_numbers = count(1)
        self._mailboxes: dict[Pid, Mailbox] = {}
        self._spawned: dict[Reference, SimpleQueue[Event]] = {}
        self._monitors: dict[Reference, Mailbox] = {}
        self._lost: Lost | None = None

    def mailbox(self) -> Mailbox:
        """A mailbox with a pid of its own."""
        pid = Pid(self._node, next(self._pid_numbers), 0, self._creation)
        mailbox = Mailbox(pid, pump=self._pump, close=self._forget)
        self._mailboxes[pid] = mailbox
        self._tell_if_lost(mailbox.events)
        return mailbox

    def waiting_place(self) -> Mailbox:
        """A mailbox without a pid that messages could reach: for the end of one spawned process."""
        return Mailbox(Pid(self._node, 0, 0, self._creation), pump=self._pump, close=lambda _: None)

    def reference(self) -> Reference:
        """A reference of ours that was not used before."""
        number = next(self._reference_numbers)
        words = (number & _LOW_WORD, number >> 18 & _WORD, 0)
        return Reference(self._node, self._creation, words)

    def expect_end(self, reference: Reference, events: "SimpleQueue[Event]") -> None:
        """Have the end of a spawn request put into `events`."""
        self._spawned[reference] = events
        self._tell_if_lost(events)

    def forget_end(self, reference: Reference) -> None:
        """Nobody waits for this end any more."""
        self._spawned.pop(reference, None)

    def expect_down(self, reference: Reference, mailbox: Mailbox) -> None:
        """Have the end of a watched process put into `mailbox`."""
        self._monitors[reference] = mailbox

    def forget_down(self, reference: Reference) -> None:
        """The monitor was taken away."""
        self._monitors.pop(reference, None)

    def lose(self, error: NodeUnreachable) -> None:
        """Tell everybody who waits, or will wait, that nothing more comes."""
        self._lost = Lost(error)
        waiting = [*self._spawned.values(), *(mailbox.events for mailbox in list(self._mailboxes.values()))]
        for events in waiting:
            events.put(self._lost)

    def _tell_if_lost(self, events: "SimpleQueue[Event]") -> None:
        if self._lost is not None:
            events.put(self._lost)

    def route(self, frame: bytes) -> None:
        """Take one frame (no tick) to whom it is for."""
        if control.is_begun(frame):
            return
        operation, message = control.parsed(frame)
        match operation:
            case (Operation.SEND, _, Pid() as to):
                self._deliver(to, message)
            case (Operation.MONITOR_P_EXIT, watched, _, Reference() as reference, reason):
                self._end(reference, watched, reason)
            case (Operation.SPAWN_REPLY, Reference() as reference, _, _, Atom() as reason):
                self._end(reference, None, reason)
            case (Operation.MONITOR_P, Pid() as watcher, watched, Reference() as reference):
                self._watch(watcher, watched, reference)
            case (Operation.DEMONITOR_P, _, Pid() as watched, Reference() as reference):
                if watched in self._mailboxes:
                    self._mailboxes[watched].watchers.pop(reference, None)
            case (Operation.UNLINK_ID, int() as link_id, Pid() as theirs, Pid() as ours):
                self._answer(control.unlinked(link_id, ours=ours, theirs=theirs))
            case _:
                pass  # links, exits, group leaders, names: a client has none of them

    def _deliver(self, to: Pid, message: Any) -> None:
        match message:
            case (Atom("io_request"), Pid() as asker, reply_as, _):
                # Output of functions whose group leader we are; only where the node has no `user`.
                refusal = (Atom("error"), Atom("enotsup"))
                self._answer(control.sent(asker, (Atom("io_reply"), reply_as, refusal)))
            case _ if to in self._mailboxes:
                self._mailboxes[to].events.put(Message(message))

    def _end(self, reference: Reference, watched: Any, reason: Any) -> None:
        events = self._spawned.pop(reference, None)
        if events is not None:
            events.put(Ended(reference, reason))
            return
        mailbox = self._monitors.pop(reference, None)
        if mailbox is not None:
            mailbox.events.put(Message((Atom("DOWN"), reference, Atom("process"), watched, reason)))

    def _watch(self, watcher: Pid, watched: Any, reference: Reference) -> None:
        mailbox = self._mailboxes.get(watched)
        if mailbox is None:
            noproc = Atom("noproc")
            self._answer(control.down(watcher, watched=watched, reference=reference, reason=noproc))
        else:
            mailbox.watchers[reference] = (watcher, watched)

    def _forget(self, mailbox: Mailbox) -> None:
        self._mailboxes.pop(mailbox.pid, None)
        for reference, (watcher, watched) in list(mailbox.watchers.items()):
            normal = Atom("normal")
            self._answer(control.down(watcher, watched=watched, reference=reference, reason=normal))
