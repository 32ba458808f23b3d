"""The control messages that two connected nodes exchange, as frames. Pure.

A frame is `p`, a control tuple and, for some, a second term. Only what a client needs is named; the rest is
read and left alone. Source: ERTS User's Guide, "Distribution Protocol".
"""

from enum import IntEnum
from typing import Any

from engine.node import tags
from engine.node.decoding import decode_next
from engine.node.encoding import encode
from engine.node.errors import ProtocolViolation
from engine.term import Atom, Pid, Reference, Term

_PASS_THROUGH = ord("p")
_NO_COOKIE = Atom("")


class Operation(IntEnum):
    """First element of a control tuple."""

    SEND = 2
    REG_SEND = 6
    EXIT2 = 8
    MONITOR_P = 19
    DEMONITOR_P = 20
    MONITOR_P_EXIT = 21
    SPAWN_REQUEST = 29
    SPAWN_REPLY = 31
    UNLINK_ID = 35
    UNLINK_ID_ACK = 36


def parsed(frame: bytes) -> tuple[tuple[Any, ...], Term | None]:
    """The control tuple of a frame, and the message that follows it where one does.

    Raises:
        ProtocolViolation: It is no such frame.
    """
    if frame[0] != _PASS_THROUGH:
        raise _violation(f"a message of type {frame[0]}")
    control, end = decode_next(frame, 1)
    if not isinstance(control, tuple) or not control or not isinstance(control[0], int):
        raise _violation("a message without a control tuple")
    if end == len(frame):
        return control, None
    message, end = decode_next(frame, end)
    if end != len(frame):
        raise _violation("a message with something behind it")
    return control, message


def sent(to: Pid, message: Term) -> bytes:
    """Frame: a message to a process."""
    return _frame((int(Operation.SEND), _NO_COOKIE, to), message)


def sent_to_name(name: str, message: Term, *, sender: Pid) -> bytes:
    """Frame: a message to a registered name; without such a name the node drops it."""
    return _frame((int(Operation.REG_SEND), sender, _NO_COOKIE, Atom(name)), message)


def monitored(watched: Pid | Atom, *, watcher: Pid, reference: Reference) -> bytes:
    """Frame: tell us when a process, or the holder of a name, ends."""
    return _frame((int(Operation.MONITOR_P), watcher, watched, reference))


def demonitored(watched: Pid | Atom, *, watcher: Pid, reference: Reference) -> bytes:
    """Frame: tell us no more."""
    return _frame((int(Operation.DEMONITOR_P), watcher, watched, reference))


def down(watcher: Pid, *, watched: Pid | Atom, reference: Reference, reason: Term) -> bytes:
    """Frame: a process of ours that the node watched has ended."""
    return _frame((int(Operation.MONITOR_P_EXIT), watched, watcher, reference, reason))


def unlinked(link_id: int, *, ours: Pid, theirs: Pid) -> bytes:
    """Frame: the answer to UNLINK_ID, without which the node keeps the link's remains."""
    return _frame((int(Operation.UNLINK_ID_ACK), link_id, ours, theirs))


class SpawnRequest:
    """Frames that run one function in a process of its own; MONITOR_P_EXIT tells how it ended.

    Only the reference and the arguments change from call to call; the rest is encoded once.
    """

    def __init__(self, function: tuple[str, str], arity: int, *, parent: Pid, group_leader: Pid) -> None:
        entry = (Atom(function[0]), Atom(function[1]), arity)
        self._head = b"p" + bytes((tags.VERSION, tags.SMALL_TUPLE, 6)) + _inner(int(Operation.SPAWN_REQUEST))
        options = [Atom("monitor")]
        self._tail = b"".join(_inner(term) for term in (parent, group_leader, entry, options))

    def frame(self, arguments: list[Any], *, reference: Reference) -> bytes:
        """The request whose end is told under `reference`."""
        return b"".join((self._head, _inner(reference), self._tail, encode(arguments)))


_BEGUN = bytes((_PASS_THROUGH, tags.VERSION, tags.SMALL_TUPLE, 5, tags.SMALL_INTEGER, Operation.SPAWN_REPLY))


def is_begun(frame: bytes) -> bool:
    """Whether it only says that a spawned process began: every call brings one, and nobody waits for it.

    Told without decoding: `{31, Reference, Pid, Flags, Result}`, Result a pid (an atom when it failed).
    """
    if not frame.startswith(_BEGUN):
        return False
    try:
        offset = len(_BEGUN)
        words = frame[offset + 2]
        offset += 3  # tag, count; then node, creation and words
        offset += 2 + frame[offset + 1] + 4 + 4 * words
        offset += 1  # tag; then node, id, serial and creation
        offset += 2 + frame[offset + 1] + 12
        return frame[offset] == tags.SMALL_INTEGER and frame[offset + 2] == tags.NEW_PID
    except IndexError:
        return False


def _inner(term: Term) -> bytes:
    """A term to stand inside another one: without its version byte."""
    return encode(term)[1:]


def _frame(control: tuple[Any, ...], *message: Term) -> bytes:
    return b"p" + encode(control) + b"".join(map(encode, message))


def _violation(what: str) -> ProtocolViolation:
    return ProtocolViolation(
        f"The node sent {what}.",
        next="This is a fault of relup or of the node; report it.",
    )
